"""The embedded data set on disk, laid out like NATOPS: gesture01/g01s01r01.mp4.

It is rendered on demand, and completed if a run was interrupted.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from preprocess.datasets.gestures.render import RenderOptions, render_clip
from shared.console import Progress
from shared.errors import UserError

RECORD_NAME = "render.json"
# More of these only adds videos; every other option changes those already there.
_GROWING = ("subjects", "repetitions")

Video = tuple[int, int, int]


@dataclass(frozen=True)
class RenderSummary:
    """Videos asked for, rendered now and found on disk, and the wall-clock seconds of a run."""

    videos: int
    rendered: int
    skipped: int
    seconds: float


def render(root: Path, given: dict[str, Any], workers: int, progress: Progress) -> RenderSummary:
    """Render the missing videos, with a progress bar and messages for the user.

    Args:
        root: folder of the data set.
        given: `RenderOptions` by name.
        workers: processes.
        progress: shows the progress.

    Raises:
        UserError: an option is out of bounds, or the folder holds videos of other options.
    """
    try:
        options = RenderOptions(**given)
        missing = sum(not video_path(root, *video).exists() for video in _videos(options))
        if not missing:
            return render_dataset(root, options)
        with progress.bar("Rendering gestures", missing, "videos") as advance:
            return render_dataset(root, options, workers, lambda count: advance(1))
    except ValueError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"cannot write videos to {root}: {error.strerror or error}") from error


def ensure_rendered(root: Path, workers: int, progress: Progress) -> RenderSummary | None:
    """Render the default data set if there is none, or complete an interrupted run.

    Returns:
        Summary, or None if the folder holds videos that `render` did not make.
    """
    record = root / RECORD_NAME
    if not record.exists():
        if root.exists() and any(root.iterdir()):
            return None
        return render(root, {}, workers, progress)
    known = {field.name for field in fields(RenderOptions)}
    try:
        recorded = {
            name: value for name, value in json.loads(record.read_bytes()).items() if name in known
        }
    except (json.JSONDecodeError, AttributeError):
        raise UserError(f"{record} is malformed; delete {root} and render again") from None
    if recorded.get("gestures") is not None:
        recorded["gestures"] = tuple(recorded["gestures"])
    return render(root, recorded, workers, progress)


def video_path(root: Path, gesture: int, subject: int, repetition: int) -> Path:
    """Path of a video; numbers count from 1 and have at least two digits."""
    name = f"g{gesture:02d}s{subject:02d}r{repetition:02d}.mp4"
    return root / f"gesture{gesture:02d}" / name


def render_dataset(
    root: Path,
    options: RenderOptions,
    workers: int = 1,
    on_video: Callable[[int], None] | None = None,
) -> RenderSummary:
    """Render the videos that are not yet under `root`, and the options to `root/render.json`.

    The files do not depend on `workers` (processes). `on_video` is called after each video with the
    number rendered so far. Raises ValueError if `root` holds videos of other options; more
    subjects or repetitions are allowed.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; allowed is 1 or more: give at least 1")
    start = time.perf_counter()
    _record_options(root, options)
    videos = _videos(options)
    missing = [video for video in videos if not video_path(root, *video).exists()]
    with _mapper(min(workers, len(missing))) as mapped:
        for count, _ in enumerate(mapped(partial(_render_video, root, options), missing), start=1):
            if on_video is not None:
                on_video(count)
    skipped = len(videos) - len(missing)
    return RenderSummary(len(videos), len(missing), skipped, time.perf_counter() - start)


def _videos(options: RenderOptions) -> list[Video]:
    return [
        (gesture, subject, repetition)
        for gesture in options.gesture_numbers
        for subject in range(1, options.subjects + 1)
        for repetition in range(1, options.repetitions + 1)
    ]


def _render_video(root: Path, options: RenderOptions, video: Video) -> None:
    frames = render_clip(*video, options)
    write_video(video_path(root, *video), frames, options.fps, options.crf)


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Any]]:
    """Function like `map`, in this process or, with several workers, in spawned ones."""
    if workers <= 1:
        yield map
        return
    # Forked children could inherit locks that threads of the caller hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield partial(pool.map, chunksize=4)


def _record_options(root: Path, options: RenderOptions) -> None:
    record = root / RECORD_NAME
    # Through JSON, so that tuples compare as the lists they are stored as.
    wanted = json.loads(json.dumps(asdict(options)))
    if record.exists():
        # Completed, because a data set may be older than an option.
        there = json.loads(json.dumps(asdict(RenderOptions()))) | json.loads(record.read_bytes())
        _check_same(record, there, wanted)
    root.mkdir(parents=True, exist_ok=True)
    aside = record.with_suffix(".part")
    aside.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    aside.replace(record)


def _check_same(record: Path, existing: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = [
        f"{name} (there {existing.get(name)}, wanted {wanted.get(name)})"
        for name in sorted(existing.keys() | wanted.keys())
        if name not in _GROWING and existing.get(name) != wanted.get(name)
    ]
    if differing:
        raise ValueError(
            f"{record.parent} holds videos of other options: {', '.join(differing)}; allowed to "
            f"differ are {' and '.join(_GROWING)}: use its {record.name} or an empty folder"
        )


def write_video(path: Path, frames: NDArray[np.uint8], fps: int, crf: int) -> None:
    """Encode (T, H, W, 3) uint8 RGB frames as H.264 yuv420p mp4, written aside, then renamed.

    One encoder thread, so that the bytes depend on nothing but the arguments. Raises ValueError on
    an odd height or width.
    """
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(
            f"frames are {width}x{height}; H.264 in yuv420p needs even sides: crop or pad by one"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _encode(aside, frames, fps, crf)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _encode(path: Path, frames: NDArray[np.uint8], fps: int, crf: int) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"crf": str(crf), "threads": "1", "preset": "fast"}
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
