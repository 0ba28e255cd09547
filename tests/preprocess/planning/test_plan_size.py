"""Planning many clips stays a matter of megabytes, and tasks stay small."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess.planning.plan import make_plan
from preprocess.records import Probe, Video
from preprocess.steps.extract import PartitionTask
from shared.schema import CodecOptions, StoreAttributes

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "plan_million.py"


def test_a_task_does_not_grow_with_the_data_set() -> None:
    def largest(videos: int) -> int:
        named = [Video(f"v{i:06d}.mp4", "label", None, 1, 1) for i in range(videos)]
        plan = make_plan(named, {v.path: Probe(160, 64, 64) for v in named}, CodecOptions())
        attributes = StoreAttributes(
            dataset="folder",
            manifest_hash="m",
            options=CodecOptions(),
            clips=len(plan.clips),
            shard_clips=plan.shard_clips,
            plan_hash=plan.hash,
        )
        tasks = [
            PartitionTask("/store", "/root", p, plan.partition(p), attributes)
            for p in range(attributes.partitions)
        ]
        return max(len(pickle.dumps(task)) for task in tasks)

    assert largest(2000) < 1.1 * largest(20) < 20_000


@pytest.mark.slow
def test_a_million_clips() -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARK],
        capture_output=True,
        text=True,
        check=True,
        cwd=BENCHMARK.parents[1],
    )
    figures = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()[1:]}
    assert figures["memory"] < 600
