from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.train.stores import OPTIONS, make_store
from train.data.clips import Clips
from train.evaluate.metrics.classifier import ClipClassifier, classify, train_classifier

CPU = torch.device("cpu")


def separable_clip(label: int, seed: int) -> NDArray[np.uint8]:
    """Label 0 grows brighter, label 1 darker, over a picture of its own."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(80, 150, (3, OPTIONS.size, OPTIONS.size))
    change = np.arange(OPTIONS.frames)[:, None, None, None] * (20 if label == 0 else -20)
    return (picture + change).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    subjects = tuple("abcdefgh")
    films = [separable_clip(k % 2, k) for k in range(2 * len(subjects))]
    path = tmp_path_factory.mktemp("separable") / "store"
    return Clips(make_store(path, labels=("up", "down"), subjects=subjects, clips=films), None)


def test_it_learns_what_is_easy_and_generalises(clips: Clips, tmp_path: Path) -> None:
    network = train_classifier(clips, 2, tmp_path / "c", seconds=None, steps=80, seed=0, device=CPU)
    frames = clips.frames(clips.batch(clips.test, CPU))
    assert len(clips.test) >= 4
    assert classify(network, frames, CPU).tolist() == clips.label[clips.test].tolist()
    assert (tmp_path / "c" / "config.json").is_file()


def test_it_judges_change_not_pictures(clips: Clips) -> None:
    """Without motion all clips look alike, whatever they show."""
    torch.manual_seed(0)
    network = ClipClassifier(2).eval()
    still = clips.frames(clips.batch(clips.train, CPU))[:, :1].expand(-1, 4, -1, -1, -1)
    with torch.no_grad():
        logits = network(still)
    assert logits.shape == (len(clips.train), 2)
    assert torch.allclose(logits, logits[:1].expand_as(logits), atol=1e-5)


def test_classes_come_in_the_order_of_the_clips(clips: Clips) -> None:
    torch.manual_seed(0)
    network = ClipClassifier(2).eval()
    frames = clips.frames(clips.batch(np.resize(clips.train, 40), CPU))
    classes = classify(network, frames, CPU)
    assert classes.shape == (40,)
    with torch.no_grad():
        assert classes[35] == int(network(frames[35:36]).argmax())
