from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.train.stores import OPTIONS, make_store
from train.data.clips import Clips
from train.evaluate.metrics.classifier import Gallery, subject_features, train_subject_encoder

CPU = torch.device("cpu")
SUBJECTS = tuple("abcdefgh")


def coloured_clip(subject: int, seed: int) -> NDArray[np.uint8]:
    """Everybody has a colour; what moves over it is everybody's."""
    colour = np.random.default_rng(subject).integers(0, 256, (3, 1, 1))
    rng = np.random.default_rng([7, seed])
    noise = rng.integers(-15, 16, (OPTIONS.frames, 3, OPTIONS.size, OPTIONS.size))
    return (colour + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Four clips of each of eight people, two of whom are in the test split alone."""
    films = [coloured_clip(k // 4, k) for k in range(4 * len(SUBJECTS))]
    path = tmp_path_factory.mktemp("coloured") / "store"
    return Clips(make_store(path, subjects=SUBJECTS, clips=films), None)


def test_it_tells_people_apart_that_it_never_saw(clips: Clips, tmp_path: Path) -> None:
    network = train_subject_encoder(
        clips, tmp_path / "s", steps=60, seconds=None, seed=0, device=CPU
    )
    subject = clips.store.column("subject").astype(np.int64)
    assert not set(subject[clips.test].tolist()) & set(subject[clips.train].tolist())
    assert network.output.out_features == len(SUBJECTS) - 2
    features = subject_features(network, clips.frames(clips.batch(clips.test, CPU)), CPU).numpy()
    gallery = Gallery(clips.test, subject[clips.test], features)
    assert gallery.match(features, clips.test).tolist() == subject[clips.test].tolist()
    # Everybody in the other's clothes is taken for the other.
    swapped = features[::-1]
    assert not (gallery.match(swapped, clips.test) == subject[clips.test]).any()


def test_a_clip_is_not_matched_with_itself() -> None:
    """Clip 0 of person 5 looks like person 6's; only by itself would it be matched right."""
    features = np.array([[10.0], [0.0], [0.2], [10.1], [9.9]])
    gallery = Gallery(np.array([0, 1, 2, 3, 4]), np.array([5, 5, 5, 6, 6]), features)
    assert gallery.match(features[:1], np.array([0])).tolist() == [6]
    assert gallery.match(np.array([[0.1]]), np.array([1])).tolist() == [5]
    assert gallery.match(np.array([[9.0]]), np.array([77])).tolist() == [6]


def test_who_has_one_clip_only_cannot_be_judged_by_it() -> None:
    gallery = Gallery(np.array([0, 1, 2]), np.array([3, 4, 4]), np.array([[0.0], [1.0], [1.0]]))
    assert gallery.match(np.array([[0.0], [1.0]]), np.array([0, 1])).tolist() == [-1, 4]
