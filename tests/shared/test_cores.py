"""Numbers of cores, by control groups as files like those of Linux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.cores import usable_cores

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"


def limited(cores: float) -> str:
    return f"{int(cores * 100_000)} 100000\n"


def kernel(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A folder with `proc/self/cgroup` and files of `sys/fs/cgroup` as Linux writes them."""
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, 64),
        ("0::/\n", {}, 64),
        ("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {f"{V2}/cpu.max": limited(4)}, 4),
        ("0::/\n", {f"{V2}/cpu.max": limited(3.1)}, 4),
        ("0::/\n", {f"{V2}/cpu.max": limited(0.1)}, 1),
        ("0::/\n", {f"{V2}/cpu.max": limited(96)}, 64),
        # The limit is that of a pod, which holds the container.
        (
            "0::/pod/box\n",
            {f"{V2}/pod/box/cpu.max": "max 100000\n", f"{V2}/pod/cpu.max": limited(2)},
            2,
        ),
        # Docker with control groups of version 1: the path is the host's, the files are not.
        (
            "3:memory:/docker/a1\n2:cpu,cpuacct:/docker/a1\n0::/system\n",
            {f"{V1}/cpu.cfs_quota_us": "250000\n", f"{V1}/cpu.cfs_period_us": "50000\n"},
            5,
        ),
        (
            "2:cpu,cpuacct:/\n",
            {f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"},
            64,
        ),
    ],
)
def test_no_more_cores_than_the_container_has_the_time_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    groups: str,
    files: dict[str, str],
    expected: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    assert usable_cores(kernel(tmp_path, groups, files)) == expected


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == HERE
