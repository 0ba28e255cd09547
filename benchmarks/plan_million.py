"""CPU seconds and memory to plan a data set, before any frame is decoded.

    python benchmarks/plan_million.py

Videos and probes are made up, as discovery and probing would leave them; planning, the store's
attributes and all tasks, pickled as for a cluster, are the real code.
"""

from __future__ import annotations

import argparse
import pickle
import resource
import time
from pathlib import Path

from preprocess.executor import ExecutorOptions
from preprocess.pipeline import Extraction, partition_job, plan_attributes
from preprocess.planning.plan import make_plan
from preprocess.planning.splits import sides
from preprocess.records import Probe, Video
from shared.manifest import load_manifest
from shared.schema import CodecOptions


def main() -> None:
    """Plan and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--clips-a-video", type=int, default=10)
    given = parser.parse_args()
    options = CodecOptions()
    videos = [
        Video(
            f"label{i % 101:03d}/subject{i % 40:02d}/video{i:07d}.mp4",
            f"label {i % 101}",
            f"{i % 40}",
            10**6 + i,
            i,
        )
        for i in range(given.clips // given.clips_a_video)
    ]
    probes = {v.path: Probe(given.clips_a_video * options.frames, 320, 240) for v in videos}
    before = _peak_mb()
    start = time.process_time()
    splits = load_manifest("folder").splits
    plan = make_plan(videos, probes, options, lambda performances: sides(performances, splits, {}))
    planned = time.process_time()
    extraction = Extraction(
        load_manifest("folder"), Path("videos"), Path("store"), options, ExecutorOptions()
    )
    attributes = plan_attributes(extraction, splits, plan)
    job = partition_job(extraction, attributes, plan, [])
    tasks = [job.task(p) for p in range(attributes.partitions)]
    pickled = sum(len(pickle.dumps(task)) for task in tasks)
    done = time.process_time()
    print(f"{attributes.clips:,} clips of {len(videos):,} videos, {len(tasks):,} tasks")
    print(f"plan    {planned - start:6.1f} s")
    print(f"tasks   {done - planned:6.1f} s, {pickled / 1e6:.0f} MB pickled in all")
    print(f"memory  {_peak_mb() - before:6.0f} MB more than the list of videos")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
