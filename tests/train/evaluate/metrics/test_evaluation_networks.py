"""The classifier and the subject encoder learn what is easy, and read what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared.errors import UserError
from tests.train.stores import OPTIONS, make_store
from train.data.clips import Clips
from train.evaluate.metrics.evaluation_networks import (
    ClipClassifier,
    EvaluationNetworkOptions,
    Gallery,
    subject_features,
    train_classifier,
    train_evaluation_networks,
    train_subject_encoder,
)

CPU = torch.device("cpu")
SUBJECTS = tuple("abcdefgh")
TRAINING = EvaluationNetworkOptions(gesture_steps=40, subject_steps=30)


def separable_clip(label: int, seed: int) -> NDArray[np.uint8]:
    """Label 0 grows brighter, label 1 darker, over a picture of its own."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(80, 150, (3, *OPTIONS.size))
    change = np.arange(OPTIONS.frames)[:, None, None, None] * (20 if label == 0 else -20)
    return (picture + change).astype(np.uint8)


def coloured_clip(subject: int, seed: int) -> NDArray[np.uint8]:
    """Everybody has a colour; what moves over it is everybody's."""
    colour = np.random.default_rng(subject).integers(0, 256, (3, 1, 1))
    rng = np.random.default_rng([7, seed])
    noise = rng.integers(-15, 16, (OPTIONS.frames, 3, *OPTIONS.size))
    return (colour + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def separable(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    films = [separable_clip(k % 2, k) for k in range(2 * len(SUBJECTS))]
    path = tmp_path_factory.mktemp("separable") / "store"
    return Clips(make_store(path, labels=("up", "down"), subjects=SUBJECTS, clips=films), None)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Four clips of each of eight people, two of whom are in the test split alone."""
    films = [coloured_clip(k // 4, k) for k in range(4 * len(SUBJECTS))]
    path = tmp_path_factory.mktemp("coloured") / "store"
    return Clips(make_store(path, subjects=SUBJECTS, clips=films), None)


def frames(clips: Clips, indices: NDArray[np.int64]) -> torch.Tensor:
    return clips.frames(clips.batch(indices, CPU))


def test_the_classifier_learns_what_is_easy_and_generalises(
    separable: Clips, tmp_path: Path
) -> None:
    network = train_classifier(separable, tmp_path / "c", CPU, TRAINING)
    assert len(separable.test) >= 4
    with torch.no_grad():
        read = network(frames(separable, separable.test)).argmax(1)
    assert read.tolist() == separable.label[separable.test].tolist()
    assert (tmp_path / "c" / "config.json").is_file()


def test_the_classifier_sees_change_not_pictures(separable: Clips) -> None:
    """Without motion all clips look alike, whatever they show."""
    torch.manual_seed(0)
    network = ClipClassifier(2).eval()
    still = frames(separable, separable.train)[:, :1].expand(-1, 4, -1, -1, -1)
    with torch.no_grad():
        logits = network(still)
    assert logits.shape == (len(separable.train), 2)
    assert torch.allclose(logits, logits[:1].expand_as(logits), atol=1e-5)


def test_the_subject_encoder_distinguishes_people_it_never_saw(
    coloured: Clips, tmp_path: Path
) -> None:
    network = train_subject_encoder(coloured, tmp_path / "s", CPU, TRAINING)
    subject, test = coloured.store.column("subject").astype(np.int64), coloured.test
    assert not set(subject[test].tolist()) & set(subject[coloured.train].tolist())
    assert network.output.out_features == len(SUBJECTS) - 2
    features = subject_features(network, frames(coloured, test), CPU).numpy()
    gallery = Gallery(test, subject[test], features)
    assert gallery.match(features, test).tolist() == subject[test].tolist()
    # Everybody in the other's clothes is taken for the other.
    assert not (gallery.match(features[::-1], test) == subject[test]).any()


def test_a_clip_is_not_matched_with_itself() -> None:
    """Clip 0 of person 5 looks like person 6's; only by itself would it be matched right."""
    features = np.array([[10.0], [0.0], [0.2], [10.1], [9.9]])
    gallery = Gallery(np.array([0, 1, 2, 3, 4]), np.array([5, 5, 5, 6, 6]), features)
    assert gallery.match(features[:1], np.array([0])).tolist() == [6]
    assert gallery.match(np.array([[0.1]]), np.array([1])).tolist() == [5]
    assert gallery.match(np.array([[9.0]]), np.array([77])).tolist() == [6]


def test_the_only_clip_of_a_person_cannot_be_matched() -> None:
    gallery = Gallery(np.array([0, 1, 2]), np.array([3, 4, 4]), np.array([[0.0], [1.0], [1.0]]))
    assert gallery.match(np.array([[0.0], [1.0]]), np.array([0, 1])).tolist() == [-1, 4]


def test_networks_are_trained_once_and_alike_everywhere(coloured: Clips, tmp_path: Path) -> None:
    short = EvaluationNetworkOptions(gesture_steps=3, subject_steps=3)
    first, again, anew = (
        train_evaluation_networks(coloured, tmp_path / folder, CPU, short)
        for folder in ("first", "first", "anew")
    )
    assert first.identity == again.identity == anew.identity
    other = EvaluationNetworkOptions(gesture_steps=3, subject_steps=3, seed=1)
    networks = train_evaluation_networks(coloured, tmp_path / "other", CPU, other)
    assert networks.identity != first.identity
    with pytest.raises(UserError, match="another clips"):
        train_evaluation_networks(Clips(coloured.store, "videos"), tmp_path / "first", CPU, short)
