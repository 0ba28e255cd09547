from __future__ import annotations

from pathlib import Path

import numpy as np

from train.log import RunLog, read_metrics


def test_the_last_line_of_a_repeated_step_counts(tmp_path: Path) -> None:
    for steps in ((1, 2, 3), (2, 3, 4)):
        log = RunLog(tmp_path / "stage")
        for step in steps:
            log.scalars(step, {"loss": step + steps[0] / 10})
        log.close()
    assert read_metrics(tmp_path / "stage") == [
        {"step": 1, "loss": 1.1},
        {"step": 2, "loss": 2.2},
        {"step": 3, "loss": 3.2},
        {"step": 4, "loss": 4.2},
    ]


def test_no_log_is_empty(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_pictures_go_to_tensorboard(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.picture(1, "sheet", np.zeros((64, 64, 3), np.uint8))
    log.close()
    events = b"".join(path.read_bytes() for path in tmp_path.glob("events.out.tfevents.*"))
    assert b"sheet" in events
    assert b"PNG" in events
