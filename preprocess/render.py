"""The embedded data set on disk: rendered on demand, completed when a run was interrupted."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.console import Progress
from shared.errors import UserError

if TYPE_CHECKING:
    from preprocess.datasets.gestures import RenderSummary

_RECORD = "render.json"


def render(root: Path, given: dict[str, Any], workers: int, progress: Progress) -> RenderSummary:
    """Render the videos that are not there yet.

    Args:
        root: folder of the data set.
        given: `RenderOptions` by name.
        workers: processes.
        progress: shows how far it is.

    Raises:
        UserError: an option is out of bounds, or the folder holds videos of other options.
    """
    from preprocess.datasets.gestures import RenderOptions, render_dataset, video_path

    try:
        options = RenderOptions(**given)
        missing = sum(
            not video_path(root, gesture, subject, repetition).exists()
            for gesture in options.gesture_numbers
            for subject in range(1, options.subjects + 1)
            for repetition in range(1, options.repetitions + 1)
        )
        if not missing:
            return render_dataset(root, options)
        with progress.bar("Rendering gestures", missing, "videos") as advance:
            return render_dataset(root, options, workers, lambda count: advance(1))
    except ValueError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"cannot write videos to {root}: {error.strerror or error}") from error


def ensure_rendered(root: Path, workers: int, progress: Progress) -> RenderSummary | None:
    """Render the default data set where there is none, or what an interrupted run left out.

    Returns:
        What was done, or None where the folder holds videos that `render` did not make.
    """
    from preprocess.datasets.gestures import RenderOptions

    record = root / _RECORD
    if not record.exists():
        if root.exists() and any(root.iterdir()):
            return None
        return render(root, {}, workers, progress)
    known = {field.name for field in fields(RenderOptions)}
    try:
        held = {
            name: value for name, value in json.loads(record.read_text()).items() if name in known
        }
    except (json.JSONDecodeError, AttributeError):
        raise UserError(f"{record} is malformed; delete {root} and render again") from None
    if held.get("gestures") is not None:
        held["gestures"] = tuple(held["gestures"])
    return render(root, held, workers, progress)
