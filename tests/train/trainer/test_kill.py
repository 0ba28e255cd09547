"""Trainings in processes that are killed, and resumed bit for bit."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from tests.train.toy import EXACT, OPTIONS, start, train
from train.trainer.checkpoint import checkpoints
from train.trainer.monitor import read_metrics
from train.trainer.schedule import OptimiserName

_KILLS = 3


@pytest.mark.parametrize("optimiser", get_args(OptimiserName))
def test_a_killed_run_resumes_as_if_nothing_had_happened(
    tmp_path: Path, optimiser: OptimiserName
) -> None:
    """Killed at random moments, in the middle of epochs, steps, lines and checkpoints."""
    options = replace(
        OPTIONS, optimiser=optimiser, steps=90, batch=4, checkpoint_every=4, log_every=3, keep=1
    )
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, options)
    for _ in range(_KILLS):
        before = checkpoints(cut)
        (process,) = start(cut, options, step_seconds=0.01)
        while checkpoints(cut) == before:
            assert process.is_alive()
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert checkpoints(cut)
    (process,) = start(cut, options)
    process.join()
    assert process.exitcode == 0
    lines = [[(line["step"], *(line[name] for name in EXACT)) for line in read_metrics(folder)]
             for folder in (whole, cut)]  # fmt: skip
    assert lines[0] == lines[1]
    assert (whole / "weights-0.json").read_bytes() == (cut / "weights-0.json").read_bytes()
    last = checkpoints(whole)[-1]
    for file in last.glob("*.safetensors"):
        assert file.read_bytes() == (cut / last.name / file.name).read_bytes()
    assert [path.name for path in cut.glob(".step-*")] == []
