"""Extraction of growing data sets, by one process and by a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.growth import WORKERS, alone, by_cluster
from preprocess.datasets.gestures.dataset import render_dataset
from preprocess.datasets.gestures.render import RenderOptions


@pytest.mark.slow
def test_every_process_is_counted(tmp_path: Path) -> None:
    render_dataset(tmp_path / "rendered", RenderOptions(size=32, frames=8, subjects=1))
    (one,) = alone(tmp_path, 3)
    processes = by_cluster(tmp_path, 3)
    assert len(processes) == 1 + 1 + WORKERS
    assert all(used.cpu > 0 and used.memory > 10 for used in (one, *processes))
