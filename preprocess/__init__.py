"""From video files to a store of first frames, motion vectors and residuals; CPU only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dvdm import require_own

if TYPE_CHECKING:
    from preprocess.pipeline import Outcome

require_own("shared")


def extract(
    videos: str,
    out: str | None = None,
    *,
    root: str | None = None,
    workers: int | None = None,
    limit: int | None = None,
    any_name: bool = False,
    **options: Any,
) -> Outcome:
    """Make a store of videos, or finish one that was interrupted: `dvdm-preprocess run`.

    Args:
        videos: a folder of videos, whose first sub-folder is the label; or a data set's name, or
            the path of a manifest.
        out: the store to make; None: stores/DATASET with the options in its name.
        root: folder of a named data set's videos; None: data/DATASET.
        workers: processes; None: all CPUs.
        limit: use only so many videos, evenly spaced.
        any_name: take every file for a video, whatever its ending.
        options: those of the command, by name: size=64, block=8, search_range=24...

    Returns:
        The store's place, how many clips were made, and what was left out.

    Raises:
        UserError: an option is wrong, the store was made in another way, or no clip can be made.
    """
    from pathlib import Path

    from preprocess.executor import ExecutorOptions
    from preprocess.options import CLIP_OPTIONS, SEARCH_OPTIONS
    from preprocess.pipeline import extract
    from shared.console import Progress
    from shared.cores import usable_cores
    from shared.errors import UserError

    known = CLIP_OPTIONS | SEARCH_OPTIONS
    if unknown := [name for name in options if name not in known]:
        raise UserError(f"{unknown[0]}: no option; there are {', '.join(known)}")
    if root is None and Path(videos).is_dir():
        videos, root = "folder", str(videos)
    executor = ExecutorOptions(workers or usable_cores())
    return extract(
        str(videos), None if out is None else str(out), options, root=root, executor=executor,
        limit=limit, any_name=any_name, progress=Progress(),
    )  # fmt: skip
