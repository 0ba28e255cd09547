"""Make a store from videos: discover, probe, plan, extract, finalise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.datasets.gestures.dataset import ensure_rendered
from preprocess.executor import ExecutorOptions, run_tasks
from preprocess.frames.area import warm_up
from preprocess.frames.geometry import Geometry
from preprocess.options import codec_options, default_store
from preprocess.planning.discover import discover
from preprocess.planning.plan import Plan, make_plan
from preprocess.planning.splits import read_lists, sides, usable_splits
from preprocess.records import Probe, Reject, Video, printable
from preprocess.sources import ProbeTask, ffmpeg, probe_many
from preprocess.steps.extract import PartitionTask, extract_partition
from preprocess.steps.fill import (
    PartitionJob,
    PartitionResult,
    fill_store,
    gather_rejects,
    no_clips,
)
from shared.console import Progress
from shared.errors import UserError
from shared.manifest import Manifest, Split, load_manifest
from shared.schema import CodecOptions, StoreAttributes
from shared.store.paths import Location, location, require_reachable

_PROBES_A_TASK = 64


@dataclass(frozen=True)
class Extraction:
    """Input of one run.

    Attributes:
        manifest: of the data set.
        root: folder of the videos.
        store: to make.
        options: that shape the stored bytes.
        executor: place where tasks run.
        limit: number of evenly spaced videos to use at most; None uses all.
        any_name: take every file for a video, whatever its name.
    """

    manifest: Manifest
    root: Location
    store: Location
    options: CodecOptions
    executor: ExecutorOptions
    limit: int | None = None
    any_name: bool = False


@dataclass(frozen=True)
class Outcome:
    """Results of one run.

    Attributes:
        root: folder of the videos.
        store: that was made.
        videos: number that follow the layout, after the limit.
        made: clips made by this run; None if the store was complete before.
        left_out: split protocols whose list files are missing.
        remarks: names of the videos that each remark holds for, see `Probe`.
        notes: heading and text of each kind of file that was not looked at.
    """

    root: Location
    store: Location
    videos: int
    made: PartitionResult | None
    left_out: tuple[str, ...] = ()
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[tuple[str, str], ...] = ()


def extract(
    dataset: str,
    out: str | None,
    given: Mapping[str, Any],
    *,
    root: str | None = None,
    executor: ExecutorOptions,
    limit: int | None = None,
    any_name: bool = False,
    progress: Progress,
) -> Outcome:
    """Make a store from a data set's videos, or finish one that was interrupted.

    Args:
        dataset: its name, or the path of a manifest.
        out: the store; None: named after the options, see `store_name`.
        given: options that shape the bytes, by name; None where the user gave none.
        root: folder of the videos; None: data/DATASET.
        executor: place where tasks run.
        limit: as of `Extraction`.
        any_name: likewise.
        progress: shows the stages.

    Raises:
        UserError: an option is wrong, a place cannot be reached, or see `run`.
    """
    manifest = load_manifest(dataset)
    options = codec_options(manifest, dict(given))
    if root is None and manifest.name == "folder":
        raise UserError("folder: name the folder of your videos with --root DIR")
    videos = _reachable(root or str(Path("data", manifest.name)))
    store = _reachable(out or str(store_name(manifest, given, limit, any_name=any_name)))
    if manifest.name == "gestures" and isinstance(videos, Path):
        ensure_rendered(videos, executor.workers, progress)
    extraction = Extraction(manifest, videos, store, options, executor, limit, any_name)
    return run(extraction, progress)


def store_name(
    manifest: Manifest, given: Mapping[str, Any], limit: int | None, *, any_name: bool
) -> Path:
    """Name of a store after its options."""
    usual = default_store(manifest, dict(given), limit)
    return usual.with_name(f"{usual.name}-anyname") if any_name else usual


def _reachable(text: str) -> Location:
    place = location(text)
    require_reachable(place)
    return place


def run(extraction: Extraction, progress: Progress) -> Outcome:
    """Make a sealed store, or finish one that an earlier run of the same command began.

    Raises:
        UserError: no clip can be made, or the existing store was made in another way.
    """
    if extraction.options.decoder == "ffmpeg":
        ffmpeg.check(extraction.options, extraction.root)
    discovery = discover(extraction.root, extraction.manifest, any_name=extraction.any_name)
    videos = discovery.videos
    if (limit := extraction.limit) is not None and limit < len(videos):
        videos = tuple(videos[i * len(videos) // limit] for i in range(limit))
    probes, unfit = _probe_all(extraction, videos, progress)
    splits = usable_splits(extraction.root, extraction.manifest)
    left_out = tuple(name for name in extraction.manifest.splits if name not in splits)
    lists = read_lists(extraction.root, splits)
    plan = make_plan(
        [video for video in videos if video.path in probes],
        probes,
        extraction.options,
        lambda performances: sides(performances, splits, lists),
    )
    earlier = [*discovery.rejects, *unfit]
    if not plan.clips:
        raise no_clips([*earlier, *plan.rejects])
    attributes = plan_attributes(extraction, splits, plan)
    job = partition_job(extraction, attributes, plan, earlier)
    made = fill_store(job, extraction.executor, progress)
    remarks: dict[str, tuple[str, ...]] = {}
    for name, probe in sorted(probes.items()):
        for remark in probe.remarks:
            remarks[remark] = (*remarks.get(remark, ()), printable(name))
    root, store = extraction.root, extraction.store
    return Outcome(root, store, len(videos), made, left_out, remarks, discovery.notes)


def plan_attributes(
    extraction: Extraction, splits: Mapping[str, Split], plan: Plan
) -> StoreAttributes:
    """Attributes of the store, which follow from manifest, options and plan alone."""
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
        source=manifest.source,
        options=extraction.options,
        labels=tuple(dict.fromkeys(labels)),
        subjects=tuple(subjects),
        splits={n: s.model_dump(mode="json", exclude_none=True) for n, s in splits.items()},
        clips=len(plan.clips),
        shard_clips=plan.shard_clips,
        plan_hash=plan.hash,
    )


def _probe_all(
    extraction: Extraction, videos: Sequence[Video], progress: Progress
) -> tuple[dict[str, Probe], list[Reject]]:
    paths = [video.path for video in videos]
    options, kind = extraction.options, extraction.manifest.source
    root, geometry, timed = str(extraction.root), Geometry.of(options), options.fps is not None
    tasks = [
        ProbeTask(kind, root, tuple(paths[i : i + _PROBES_A_TASK]), geometry, timed)
        for i in range(0, len(paths), _PROBES_A_TASK)
    ]
    # Reading packets is quick: processes start only if there are many files.
    executor = extraction.executor if len(tasks) > 8 else ExecutorOptions()
    with progress.bar("Probing files", len(paths), "files") as advance:
        found = run_tasks(probe_many, tasks, executor, lambda answers: advance(len(answers)))
    answers = dict(zip(paths, (answer for part in found for answer in part), strict=True))
    good = {path: answer for path, answer in answers.items() if isinstance(answer, Probe)}
    bad = [Reject(path, why, "probe") for path, why in answers.items() if isinstance(why, str)]
    return good, bad


def partition_job(
    extraction: Extraction, attributes: StoreAttributes, plan: Plan, earlier: Sequence[Reject]
) -> PartitionJob[PartitionTask]:
    """Job of filling the planned store."""
    root, store = str(extraction.root.absolute()), str(extraction.store.absolute())
    return PartitionJob(
        title="Extracting",
        store=extraction.store,
        attributes=attributes,
        source=extraction.root,
        function=extract_partition,
        task=lambda p: PartitionTask(store, root, p, plan.partition(p), attributes),
        rejects=lambda markers: gather_rejects(plan, earlier, markers),
        warm_up=warm_up if attributes.source == "video" else lambda: None,
    )
