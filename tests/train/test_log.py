from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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


def test_a_line_that_a_kill_tore_is_dropped(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.scalars(1, {"loss": 1.0})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    log = RunLog(tmp_path, 1)
    log.scalars(2, {"loss": 2.0})
    log.close()
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}]


def test_tensorboard_shows_each_step_of_a_resumed_run_once(tmp_path: Path) -> None:
    for done, steps in ((0, (1, 2, 3)), (1, (2, 3, 4))):
        log = RunLog(tmp_path, done)
        for step in steps:
            log.scalars(step, {"loss": step + done / 10})
        log.close()
        time.sleep(1.1)  # event files are ordered by the second they were begun in
    shown = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(event.step, round(event.value, 1)) for event in shown] == [
        (1, 1.0), (2, 2.1), (3, 3.1), (4, 4.1),
    ]  # fmt: skip


def test_videos_go_to_tensorboard_and_move(tmp_path: Path) -> None:
    clip = np.zeros((3, 3, 16, 24), np.uint8)
    clip[1:, 0] = 200
    log = RunLog(tmp_path)
    log.video(5, "clip", clip)
    log.close()
    (event,) = EventAccumulator(str(tmp_path)).Reload().Images("clip")
    assert event.step == 5
    picture = Image.open(io.BytesIO(event.encoded_image_string))
    assert (picture.format, picture.size) == ("GIF", (24, 16))
    reds = [np.asarray(frame.convert("RGB"))[0, 0, 0] for frame in ImageSequence.Iterator(picture)]
    assert (reds[0], reds[-1]) == (0, 200)


def test_no_log_is_empty(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_pictures_go_to_tensorboard(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.picture(1, "sheet", np.zeros((64, 64, 3), np.uint8))
    log.close()
    events = b"".join(path.read_bytes() for path in tmp_path.glob("events.out.tfevents.*"))
    assert b"sheet" in events
    assert b"PNG" in events
