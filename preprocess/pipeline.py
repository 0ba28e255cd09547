"""`run`: discover, probe, plan, extract, finalise."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocess.discover import Discovery, discover
from preprocess.executor import run_tasks
from preprocess.extract import PartitionTask, extract_partition
from preprocess.finalise import finalise, no_clips
from preprocess.lock import hold
from preprocess.motion import search
from preprocess.plan import Plan, make_plan
from preprocess.probe import probe_many
from preprocess.resume import is_complete
from preprocess.videos import Probe, Reject, Video
from shared.console import Progress, errors
from shared.errors import UserError
from shared.manifest import Manifest
from shared.schema import CodecOptions, StoreAttributes
from shared.store import Marker, create_store, read_marker, remove_leftovers

_PROBES_A_TASK = 64


@dataclass(frozen=True)
class Extraction:
    """What one run is to do.

    Attributes:
        manifest: of the data set.
        root: where the videos lie.
        store: where the result goes.
        options: shape the stored bytes.
        workers: processes.
        limit: at most so many videos, spread evenly over all; None takes them all.
    """

    manifest: Manifest
    root: Path
    store: Path
    options: CodecOptions
    workers: int
    limit: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What one run did.

    Attributes:
        videos: files that follow the layout, after the limit.
        made: clips made now, not counting those of an earlier run.
        seconds: that making them took.
        already_complete: whether the store was sealed before.
    """

    videos: int
    made: int
    seconds: float
    already_complete: bool

    @property
    def clips_a_second(self) -> float:
        """Speed of this run; 0 where it made none."""
        return self.made / self.seconds if self.made else 0.0


def run(extraction: Extraction, progress: Progress) -> Outcome:
    """Make a sealed store, or finish one that an earlier run of the same command began.

    Raises:
        UserError: nothing to do, or the store at hand was made otherwise.
    """
    discovery = discover(extraction.root, extraction.manifest)
    videos = _spread(discovery.videos, extraction.limit)
    probes, unfit = _probe_all(extraction, videos, progress)
    plan = make_plan([v for v in videos if v.path in probes], probes, extraction.options)
    earlier = [*discovery.rejects, *unfit]
    if not plan.clips:
        raise no_clips([*earlier, *plan.rejects])
    attributes = plan_attributes(extraction, discovery, plan)
    # Asked before locking, so that a finished store may lie where nothing can be written.
    complete = is_complete(extraction.store, attributes)
    start = time.perf_counter()
    made = 0 if complete else _extract_all(extraction, attributes, plan, earlier, progress)
    return Outcome(len(videos), made, time.perf_counter() - start, complete)


def plan_attributes(extraction: Extraction, discovery: Discovery, plan: Plan) -> StoreAttributes:
    """The store's attributes, which follow from manifest, options and plan alone."""
    manifest = extraction.manifest
    # All of a manifest's labels, used or not: their indices are then the same in every store.
    labels = manifest.labels.values() or sorted(
        {c.label for c in plan.clips if c.label is not None}
    )
    subjects = sorted({clip.subject for clip in plan.clips if clip.subject is not None})
    for kind, count in (("labels", len(labels)), ("subjects", len(subjects))):
        if count > np.iinfo(np.int16).max:
            raise UserError(f"{count} {kind}; a store holds at most {np.iinfo(np.int16).max}")
    return StoreAttributes(
        dataset=manifest.name,
        manifest_hash=manifest.hash,
        options=extraction.options,
        labels=tuple(dict.fromkeys(labels)),
        subjects=tuple(subjects),
        splits={name: split.model_dump() for name, split in manifest.splits.items()},
        clips=len(plan.clips),
        shard_clips=plan.shard_clips,
        plan_hash=plan.hash,
    )


def _spread(videos: Sequence[Video], limit: int | None) -> list[Video]:
    if limit is None or limit >= len(videos):
        return list(videos)
    return [videos[i * len(videos) // limit] for i in range(limit)]


def _probe_all(
    extraction: Extraction, videos: Sequence[Video], progress: Progress
) -> tuple[dict[str, Probe], list[Reject]]:
    paths = [video.path for video in videos]
    tasks = [
        (str(extraction.root), tuple(paths[i : i + _PROBES_A_TASK]), extraction.options.size)
        for i in range(0, len(paths), _PROBES_A_TASK)
    ]
    # Reading packets is quick: processes start only where they pay.
    workers = extraction.workers if len(tasks) > 8 else 1
    with progress.bar("Looking into files", len(paths), "files") as advance:
        found = run_tasks(probe_many, tasks, workers, lambda answers: advance(len(answers)))
    answers = dict(zip(paths, (answer for part in found for answer in part), strict=True))
    good = {path: answer for path, answer in answers.items() if isinstance(answer, Probe)}
    bad = [Reject(path, why, "probe") for path, why in answers.items() if isinstance(why, str)]
    return good, bad


def _extract_all(
    extraction: Extraction,
    attributes: StoreAttributes,
    plan: Plan,
    earlier: Sequence[Reject],
    progress: Progress,
) -> int:
    store = extraction.store
    try:
        with hold(store) as held:
            if is_complete(store, attributes):  # by now
                return 0
            if held:
                remove_leftovers(store)
            else:
                errors.print(f"{store}: no locks here; do not run the same command twice at once")
            return _fill_store(extraction, attributes, plan, earlier, progress)
    except OSError as error:
        raise _unwritable(store, error) from error


def _fill_store(
    extraction: Extraction,
    attributes: StoreAttributes,
    plan: Plan,
    earlier: Sequence[Reject],
    progress: Progress,
) -> int:
    store = extraction.store
    create_store(store, attributes)
    done = [read_marker(store, p) for p in range(attributes.partitions)]
    tasks = [
        PartitionTask(str(store.absolute()), str(extraction.root.absolute()), p, clips, attributes)
        for p, clips in enumerate(plan.partitions())
        if done[p] is None
    ]
    made = _run_partitions(tasks, len(plan.clips), extraction.workers, progress)
    markers = {m.partition: m for m in [*made, *done] if m is not None}
    finalise(store, plan, earlier, [markers[p] for p in sorted(markers)])
    return sum(marker.valid for marker in made)


def _run_partitions(
    tasks: list[PartitionTask], clips: int, workers: int, progress: Progress
) -> list[Marker]:
    sizes = {task.partition: len(task.clips) for task in tasks}
    # Compiled here once: worker processes then read it from disk instead of racing for it.
    search(np.zeros((2, 32, 32), np.uint8), block=16, search_range=1)
    search(np.zeros((2, 32, 32), np.uint8), block=32, search_range=1)
    with progress.bar("Extracting", clips, "clips", done=clips - sum(sizes.values())) as advance:
        return run_tasks(
            extract_partition, tasks, workers, lambda marker: advance(sizes[marker.partition])
        )


def _unwritable(store: Path, error: OSError) -> UserError:
    reason = error.strerror or str(error)
    remedy = (
        "free some space and run the same command again: what is done is kept"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "choose another --out, or mend the permissions and run the same command again"
    )
    return UserError(f"cannot write the store {store}: {reason}; {remedy}")
