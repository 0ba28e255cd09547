"""Logs and previews of the diffusion stage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.train.stores import OPTIONS
from train.trainer.monitor import read_metrics

BANDS = {"loss_t0-250", "loss_t250-500", "loss_t500-750", "loss_t750-1000"}
ALWAYS = {
    "loss", "gradient_norm", "lr", "seconds", "clips_per_second", "wait", "memory_gib",
}  # fmt: skip


def test_tensorboard_and_the_plain_log_hold_the_same_numbers(run: Path) -> None:
    lines = read_metrics(run / "diffusion")
    assert all(line.keys() - {"step"} - BANDS == ALWAYS for line in lines)
    assert BANDS & set().union(*lines), "a quarter without a drawn time has no number"
    shown = EventAccumulator(str(run / "diffusion")).Reload()
    assert set(shown.Tags()["scalars"]) == set().union(*lines) - {"step"}
    for name in ALWAYS:
        events = [(event.step, np.float32(event.value)) for event in shown.Scalars(name)]
        assert events == [(line["step"], np.float32(line[name])) for line in lines]


def test_tensorboard_shows_generated_clips_as_a_sheet_and_as_a_video(run: Path) -> None:
    shown = EventAccumulator(str(run / "diffusion")).Reload()
    assert set(shown.Tags()["images"]) == {"generated", "generated_video"}
    pictures = {}
    for name in ("generated", "generated_video"):
        (event,) = shown.Images(name)
        assert event.step == 4
        pictures[name] = Image.open(io.BytesIO(event.encoded_image_string))
    side, frames = OPTIONS.size.width, OPTIONS.frames
    # Four real clips and as many generated ones: below each other, and two by two.
    assert pictures["generated"].size == (frames * side + 2 * (frames - 1), 8 * side + 2 * 7)
    video = pictures["generated_video"]
    assert (video.format, video.size) == ("GIF", (4 * side, 2 * side))
    assert len(list(ImageSequence.Iterator(video))) == frames
