"""Verify a sealed store by its checksums, schema, videos, and the slow search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from preprocess.frames.geometry import Geometry
from preprocess.motion import EXACT
from preprocess.motion.encode import find_motion
from preprocess.planning.plan import assemble
from preprocess.records import Reject, read_rejects
from preprocess.sources import source_of
from preprocess.summary import print_rejects
from shared.console import Progress
from shared.errors import UserError
from shared.motion_compensation import decode_clip
from shared.report.pictures import evenly_spaced
from shared.schema import ARRAYS
from shared.store.layout import open_group
from shared.store.paths import Location
from shared.store.store import Store, damaged_files

_FROM = {"h264": " from the choice of this build of x264"}


@dataclass
class Findings:
    """Results of a verification.

    Attributes:
        files: shard files whose checksum was compared.
        clips: clips compared with their videos.
        searched: clips searched again.
        not_searched: reason why the search was not repeated; empty if it was.
        wrong: one sentence for each difference; empty if there is none.
        rejects: files that gave fewer clips than planned.
    """

    files: int = 0
    clips: int = 0
    searched: int = 0
    not_searched: str = ""
    wrong: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


def verify_store(
    path: Location, root: Location | None, sample: int, progress: Progress
) -> Findings:
    """Check a store's bytes, its frames and its vectors.

    Args:
        path: a sealed store.
        root: folder of its videos; None means `data/<data set>`.
        sample: clips to search again: with the slow oracle if the method is exact, else with the
            method itself.
        progress: shows the progress.

    Raises:
        UserError: the store cannot be opened, or the folder of the videos is missing.
    """
    store = Store(path)
    root = root or Path("data", store.attributes.dataset)
    if not root.is_dir():
        raise UserError(f"no folder {root} to compare {path} with; name it with --root DIR")
    findings = Findings(rejects=read_rejects(path))
    _check_files(store, findings, progress)
    _check_metadata(store, findings)
    # The content of a damaged shard says no more than that it is damaged.
    if not findings.wrong:
        _check_frames(store, root, findings, progress)
        _check_vectors(store, sample, findings, progress)
    return findings


def print_findings(console: Console, findings: Findings) -> None:
    """Print a short table, the differences, and the rejects."""
    table = Table.grid(padding=(0, 2))
    table.add_row("checksums", f"{findings.files} files")
    table.add_row("decoded again", f"{findings.clips} clips, bit for bit")
    searched = f"{findings.searched} clips, bit for bit"
    table.add_row("searched again", findings.not_searched or searched)
    table.add_row("result", "WRONG" if findings.wrong else "all is well")
    console.print(table)
    for sentence in findings.wrong:
        console.print(Text(f"WRONG: {sentence}"))
    print_rejects(console, findings.rejects)


def _check_files(store: Store, findings: Findings, progress: Progress) -> None:
    total = store.attributes.partitions * len(ARRAYS)
    with progress.bar("Checksums", total, "files") as advance:
        damaged = damaged_files(store.path, lambda name: advance(1))
    findings.files = total
    findings.wrong += [f"{name} is damaged: its checksum differs" for name in damaged]


def _check_metadata(store: Store, findings: Findings) -> None:
    """Compare the metadata of arrays, which has no checksum of its own, with the schema."""
    group = open_group(store.path)
    for spec in ARRAYS:
        try:
            array = group[spec.name]
            assert isinstance(array, zarr.Array)
            dtype = np.asarray(array[:0]).dtype
        except Exception as error:  # zarr has no single error for damage
            findings.wrong.append(f"array `{spec.name}` does not open: {error}")
            continue
        shape = (store.attributes.clips, *spec.shape(store.attributes))
        if array.shape != shape or not spec.fits(dtype):
            findings.wrong.append(
                f"array `{spec.name}` is {dtype} {array.shape}; the schema says"
                f" {spec.dtype} {shape}"
            )


def _check_frames(store: Store, root: Location, findings: Findings, progress: Progress) -> None:
    videos, frames = store.column("video"), store.column("frame_index")
    with progress.bar("Decoding again", len(store), "clips") as advance:
        for video in dict.fromkeys(videos.tolist()):
            indices = np.flatnonzero(videos == video).tolist()
            missing = dict(zip(indices, frames[indices].tolist(), strict=True))
            for position, clip in _clips_again(store, root / video, list(missing.values())):
                index = indices[position]
                start = missing.pop(index)[0]
                findings.clips += 1
                if not np.array_equal(clip, _stored_clip(store, index)):
                    findings.wrong.append(f"{video!r}: the clip at frame {start} differs")
                advance(1)
            if missing:
                listed = ", ".join(str(indices[0]) for indices in missing.values())
                findings.wrong.append(f"{video!r} no longer gives the clips at frames {listed}")


def _clips_again(
    store: Store, path: Location, clips: list[list[int]]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    source, remaining = source_of(store.attributes.source, store.options), len(clips)
    frames = source.decode_independently(path, Geometry.of(store.options))
    for found in assemble(frames, clips):
        yield found
        remaining -= 1
        if not remaining:
            return


def _check_vectors(store: Store, sample: int, findings: Findings, progress: Progress) -> None:
    options = store.options
    if removed := options.removed_options:
        listed = ", ".join(f"{name} {value}" for name, value in removed.items())
        findings.not_searched = f"not repeated: this version has no {listed}"
        return
    chosen = evenly_spaced(len(store), sample)
    method = "naive" if options.method in EXACT else options.method
    with progress.bar("Searching again", len(chosen), "clips") as advance:
        for index in map(int, chosen):
            found = find_motion(_stored_clip(store, index), options, method)
            findings.searched += 1
            if not np.array_equal(found, store.clip("motion", index)):
                video = store.column("video")[index]
                start = store.column("start_frame")[index]
                findings.wrong.append(
                    f"{video!r}: vectors of the clip at frame {start} differ{_FROM.get(method, '')}"
                )
            advance(1)


def _stored_clip(store: Store, index: int) -> NDArray[np.uint8]:
    return decode_clip(
        store.clip("first_frame", index),
        store.clip("motion", index),
        store.clip("residual", index),
        store.options.codec,
    )
