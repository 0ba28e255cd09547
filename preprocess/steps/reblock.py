"""Make a store with other search options from a sealed store alone, without the videos.

First frame, motion and residual give back every frame bit for bit, so the result is the same store
that extraction from the videos with those options would make. If only the compensation changes,
vectors stay, and residuals alone are computed anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from preprocess.executor import ExecutorOptions
from preprocess.motion.encode import Encoded, clip_residual, encode, restore_clip
from preprocess.options import SUFFIXES, change_options, shown
from preprocess.records import read_rejects
from preprocess.steps.fill import PartitionJob, PartitionResult, fill_store
from shared.console import Progress
from shared.errors import UserError
from shared.schema import CodecOptions
from shared.store.partition import PartitionReader, PartitionWriter
from shared.store.paths import Location, location
from shared.store.store import Marker, Store, read_marker


@dataclass(frozen=True)
class ReblockTask:
    """Task of making one partition again: names and a number, never pixels."""

    source: str
    store: str
    partition: int


def reblock(
    source: Location,
    store: Location,
    given: dict[str, Any],
    executor: ExecutorOptions,
    progress: Progress,
) -> PartitionResult | None:
    """Make a sealed store from another one, or finish an interrupted run.

    Args:
        source: a sealed store.
        store: to make.
        given: search options by name; None where the user gave none.
        executor: place where tasks run.
        progress: shows the progress.

    Returns:
        Clips made; None if the store was complete before.

    Raises:
        UserError: the source cannot be used, or the existing store was made in another way.
    """
    existing = Store(source).attributes
    options = change_options(existing.options, given)
    if options == existing.options:
        raise UserError(
            f"{source} was made with exactly these options; give another --block, --search-range,"
            " --vector-unit, --reference, --compensation, --method or --motion-cost"
        )
    if source == store:
        raise UserError(f"--out {store} is the store itself; choose another")
    wanted = existing.model_copy(update={"options": options, "sealed": False})
    job = PartitionJob(
        title="Searching again",
        store=store,
        attributes=wanted,
        source=source,
        function=reblock_partition,
        task=partial(ReblockTask, str(source.absolute()), str(store.absolute())),
        rejects=lambda markers: read_rejects(source),
    )
    return fill_store(job, executor, progress)


def store_beside(source: Location, before: CodecOptions, given: dict[str, Any]) -> Location:
    """Name a store after its source, with a suffix for each option that changes."""
    after = change_options(before, given)
    parts = source.name.split("-")
    for name, value in before.removed_options.items():
        parts = [part for part in parts if part != name.replace("_", "") + shown(value)]
    for name, suffix in SUFFIXES.items():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            parts = [part for part in parts if part != suffix + shown(old)]
            parts.append(suffix + shown(new))
    return source.with_name("-".join(parts))


def reblock_partition(task: ReblockTask) -> Marker:
    """Make and write one partition, unless it is done already.

    Raises:
        StoreError: the source's partition is damaged.
    """
    source, store = location(task.source), location(task.store)
    done = read_marker(store, task.partition)
    if done is not None:
        return done
    reader, writer = PartitionReader(source, task.partition), PartitionWriter(store, task.partition)
    before, after = reader.attributes.options, writer.attributes.options
    same_vectors = after == before.model_copy(update={"compensation": after.compensation})
    columns = reader.columns()
    for slot in np.flatnonzero(columns["valid"]).tolist():
        motion = reader.entry("motion", slot)
        clip = restore_clip(
            reader.entry("first_frame", slot), motion, reader.entry("residual", slot), before.codec
        )
        if same_vectors:  # the search does not depend on the compensation
            encoded = Encoded(clip[0], motion, clip_residual(clip, motion, after.codec))
        else:
            encoded = encode(clip, after)
        writer.put(slot, **vars(encoded))
    return writer.write(columns, reader.marker.rejects)
