"""The page: pictures that can be decoded, words for every number, and no more than has room."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from train.evaluate import page as page_module
from train.evaluate.page import _FACTS, MEANINGS, evaluation_page

LABELS = ("Go <left>", "Halt")


def scores(**protocol: Any) -> dict[str, Any]:
    numbers = dict.fromkeys(MEANINGS, 0.5) | {"clips": 3, "lpips": "not computed: no torchvision"}
    return {
        "protocol": {
            "name": "dvdm", "follows": "somebody", "count": 3, "samples": 1, "shrunk": False,
            "reconstruct": False, "frame_clips": None, **protocol,
        },
        "distances": {"FVD": "not computed: no I3D"},
        "frames": numbers,
        "scores": numbers,
        "first_frame_repeated": numbers,
        "made": dict.fromkeys(_FACTS, "x") | {"generated_clips": 3, "command": "dvdm-train"},
    }  # fmt: skip


def shown_clips(count: int = 3) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, count, 4, 3, 16, 16), np.uint8)
    return {
        "real": torch.from_numpy(frames[0]),
        "frames": torch.from_numpy(frames[1]),
        "label": torch.tensor([0, 1, -1])[:count],
        "read_as": torch.tensor([0, 0, 0])[:count],
        "clip": torch.tensor([7, 8, 9])[:count],
    }


def pictures(text: str) -> list[Image.Image]:
    found = re.findall(r"data:image/webp;base64,([^\"']+)", text)
    return [Image.open(BytesIO(base64.b64decode(data))) for data in found]


def test_real_generated_and_difference_side_by_side() -> None:
    clips = shown_clips()
    text = evaluation_page(scores(), clips, LABELS)
    shown = pictures(text)
    assert len(shown) == 3
    for k, image in enumerate(shown):
        image.seek(2)
        pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(int)
        real, generated, difference = (pixels[:, :, x : x + 16] for x in (0, 18, 36))
        assert (real == clips["real"][k, 2].numpy()).all()
        assert (generated == clips["frames"][k, 2].numpy()).all()
        assert (difference == (128 + generated - real).clip(0, 255)).all()


def test_verdicts_numbers_and_reasons() -> None:
    text = evaluation_page(scores(), shown_clips(), LABELS)
    assert "Go &lt;left&gt;" in text
    assert "✓" in text
    assert "read as Go &lt;left&gt;" in text
    assert "clip 9" in text
    assert "not computed: no torchvision" in text
    assert "not computed: no I3D" in text
    assert "<script" not in text
    assert "Fewer clips" not in text
    assert "Fewer clips" in evaluation_page(scores(shrunk=True), shown_clips(), LABELS)


def test_it_shows_no_more_clips_than_a_page_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "_MAX_FILM_BYTES", 5_000)
    text = evaluation_page(scores(), shown_clips(), LABELS)
    assert 1 <= len(pictures(text)) < 3
    assert f"The first {len(pictures(text))} of 3 clips" in text
