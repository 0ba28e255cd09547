"""`verify`: hold a sealed store against its checksums, schema, videos, and the slow search."""

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
from preprocess.motion import EXACT, search
from preprocess.planning.clips import assemble
from preprocess.records import Reject, read_rejects
from preprocess.sources import SOURCES
from preprocess.summary import print_rejects
from shared.console import Progress
from shared.conventions import luma
from shared.errors import UserError
from shared.motion_compensation import decode_clip
from shared.report.pictures import evenly_spaced
from shared.schema import ARRAYS
from shared.store.layout import open_group
from shared.store.paths import Location
from shared.store.store import Store, damaged_files

_FROM = {"h264": " from what this build of x264 chooses"}


@dataclass
class Findings:
    """What verification did and what it found.

    Attributes:
        files: shard files whose checksum was compared.
        clips: clips compared with their videos.
        searched: clips searched again.
        wrong: one sentence for each thing that differs; empty where all is well.
        rejects: files that gave fewer clips than planned.
    """

    files: int = 0
    clips: int = 0
    searched: int = 0
    wrong: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


def verify_store(
    path: Location, root: Location | None, sample: int, progress: Progress
) -> Findings:
    """Check a store's bytes, its frames and its vectors.

    Args:
        path: a sealed store.
        root: where its videos lie; None means `data/<data set>`.
        sample: clips to search again: with the slow oracle where the method is exact, with the
            method itself where it is not.
        progress: shows how far it is.

    Raises:
        UserError: the store cannot be opened, or the videos' folder is not there.
    """
    store = Store(path)
    root = root or Path("data", store.attributes.dataset)
    if not root.is_dir():
        raise UserError(f"no folder {root} to compare {path} with; name it with --root DIR")
    findings = Findings(rejects=read_rejects(path))
    _check_files(store, findings, progress)
    _check_metadata(store, findings)
    # What a damaged shard decodes to says no more than that it is damaged.
    if not findings.wrong:
        _check_frames(store, root, findings, progress)
        _check_vectors(store, sample, findings, progress)
    return findings


def print_findings(console: Console, findings: Findings) -> None:
    """A short table, what differs, and the rejects."""
    table = Table.grid(padding=(0, 2))
    table.add_row("checksums", f"{findings.files} files")
    table.add_row("decoded again", f"{findings.clips} clips, bit for bit")
    table.add_row("searched again", f"{findings.searched} clips, bit for bit")
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
    """Array metadata has no checksum of its own: it must say what the schema says."""
    group = open_group(store.path)
    for spec in ARRAYS:
        try:
            array = group[spec.name]
            assert isinstance(array, zarr.Array)
            dtype = np.asarray(array[:0]).dtype
        except Exception as error:  # whatever zarr makes of damage
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
                listed = ", ".join(str(of_clip[0]) for of_clip in missing.values())
                findings.wrong.append(f"{video!r} no longer gives the clips at frames {listed}")


def _clips_again(
    store: Store, path: Location, clips: list[list[int]]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    source, remaining = SOURCES[store.attributes.source], len(clips)
    frames = source.recheck(path, Geometry.of(store.options))
    for found in assemble(frames, clips):
        yield found
        remaining -= 1
        if not remaining:
            return


def _check_vectors(store: Store, sample: int, findings: Findings, progress: Progress) -> None:
    chosen = evenly_spaced(len(store), sample)
    options = store.options
    method = "naive" if options.method in EXACT else options.method
    with progress.bar("Searching again", len(chosen), "clips") as advance:
        for index in map(int, chosen):
            found = search(
                luma(_stored_clip(store, index)),
                block=options.block,
                search_range=options.search_range,
                method=method,
                reference=options.reference,
                vector_unit=options.vector_unit,
                zero_bias=options.zero_bias,
                motion_cost=options.motion_cost,
                cost_from=options.cost_from,
            )
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
        block=store.options.block,
        reference=store.options.reference,
        vector_unit=store.options.vector_unit,
    )
