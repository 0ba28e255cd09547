"""The CPU cores that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> int:
    """Number of CPU cores that this process may use, by its affinity and by its container's limit.

    A container with the time of 4 cores (`docker run --cpus 4`, a limit of Kubernetes) sees all 64
    of its computer, and is halted whenever it has used up its share. A part of a core counts as 1.

    Args:
        root: folder where `proc` and `sys` are.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min([cores, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Cores that each control group around this process allows it, where there is a limit.

    Source: Linux, admin-guide/cgroup-v2 (`cpu.max`), scheduler/sched-bwc (v1, `cpu.cfs_quota_us`).
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for group in groups:  # hierarchy:controllers:/path
        _, controllers, path = group.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        inside = PurePosixPath(path.lstrip("/"))
        for place in (inside, *inside.parents):
            try:
                if controllers:
                    quota = (mount / place / "cpu.cfs_quota_us").read_text()
                    period = (mount / place / "cpu.cfs_period_us").read_text()
                else:
                    quota, period = (mount / place / "cpu.max").read_text().split()
            except OSError:  # a container does not see the groups around its own
                continue
            if quota.strip() not in ("max", "-1"):
                yield int(quota) / int(period)
