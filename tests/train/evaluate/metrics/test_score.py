"""Scores of clips whose scores are known: the real ones, still ones, swapped ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared.errors import UserError
from shared.schema import CodecOptions
from tests.train.stores import make_store
from train.data.clips import Clips
from train.evaluate.metrics.classifier import JudgeOptions, Judges, train_judges
from train.evaluate.metrics.score import Reference, measure_reference, score_clips

CPU = torch.device("cpu")
OPTIONS = CodecOptions(size=16, frames=4, block=4, search_range=3, reference="first")
SUBJECTS = tuple("abcdefgh")
JUDGES = JudgeOptions(gesture_steps=80, subject_steps=60)


def telling_clip(label: int, subject: int, seed: int) -> NDArray[np.uint8]:
    """Everybody has a colour; every label brightens or darkens another half of the picture."""
    colour = np.random.default_rng(subject).integers(80, 170, (3, 1, 1))
    noise = np.random.default_rng([9, seed]).integers(-8, 9, (OPTIONS.frames, 3, 16, 16))
    change = np.zeros((OPTIONS.frames, 1, 16, 16), np.int64)
    half = np.s_[:8] if label < 2 else np.s_[8:]
    change[:, :, half] = np.arange(OPTIONS.frames)[:, None, None, None] * (20, -20)[label % 2]
    return (colour + noise + change).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    films = [telling_clip(k % 4, k // 4, k) for k in range(4 * len(SUBJECTS))]
    path = tmp_path_factory.mktemp("telling") / "store"
    return Clips(make_store(path, options=OPTIONS, subjects=SUBJECTS, clips=films), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judges")


@pytest.fixture(scope="module")
def judges(clips: Clips, folder: Path) -> Judges:
    return train_judges(clips, folder, CPU, JUDGES)


@pytest.fixture(scope="module")
def reference(clips: Clips, judges: Judges) -> Reference:
    return measure_reference(clips, judges, CPU)


def real(clips: Clips) -> torch.Tensor:
    return clips.frames(clips.batch(clips.test, CPU))


def test_real_clips_are_their_own_ceiling(
    clips: Clips, judges: Judges, reference: Reference
) -> None:
    scores = score_clips(real(clips), clips.test, clips, judges, reference, CPU)
    assert scores.clips == len(clips.test) == 8
    assert scores.psnr == scores.psnr_over_clip == 100
    assert scores.psnr_by_frame == [100] * 3
    assert scores.ssim == pytest.approx(1, abs=1e-5)
    assert scores.gesture_accuracy == scores.gesture_accuracy_real == 1
    assert scores.subject_accuracy == scores.subject_accuracy_real == 1
    assert scores.subject_accuracy_chance == 0.5
    assert scores.warping_error == pytest.approx(scores.warping_error_real)
    assert scores.motion_ratio == pytest.approx(1)
    assert json.loads(json.dumps(asdict(scores))) == asdict(scores)


def test_another_label_or_person_is_noticed(
    clips: Clips, judges: Judges, reference: Reference
) -> None:
    """Test clips are ordered by person, then by label."""
    films = real(clips)
    scores = score_clips(films.roll(1, 0), clips.test, clips, judges, reference, CPU)
    assert scores.gesture_accuracy == 0
    assert scores.subject_accuracy == 6 / 8  # the first of each person is the other's last
    swapped = score_clips(films.roll(4, 0), clips.test, clips, judges, reference, CPU)
    assert swapped.gesture_accuracy == 1
    assert swapped.subject_accuracy == 0


def test_a_still_clip_scores_as_one(clips: Clips, judges: Judges, reference: Reference) -> None:
    films = real(clips)
    scores = score_clips(films[:, :1].expand_as(films), clips.test, clips, judges, reference, CPU)
    assert scores.motion_ratio == 0
    assert scores.warping_error == 0
    assert scores.gesture_accuracy <= 0.5
    error = (films[:, :1].double() - films[:, 1:].double()).square().mean(dim=(2, 3, 4))
    decibels = 10 * torch.log10(255**2 / error)
    assert scores.psnr == pytest.approx(float(decibels.mean()), abs=1e-4)
    assert scores.psnr_by_frame == pytest.approx(decibels.mean(dim=0).tolist(), abs=1e-4)
    pooled = 10 * torch.log10(255**2 / error.mean(dim=1))
    assert scores.psnr_over_clip == pytest.approx(float(pooled.mean()), abs=1e-4)


def test_what_cannot_be_computed_says_why(
    clips: Clips, judges: Judges, reference: Reference
) -> None:
    scores = score_clips(real(clips), clips.test, clips, judges, reference, CPU)
    assert str(scores.frechet_gesture_features).startswith(
        "not computed: generated: 8 clips for 32 features"
    )
    assert "LPIPS" in str(scores.lpips)
    assert scores.lpips_by_frame == []


def test_the_distance_is_that_of_the_features(
    clips: Clips, judges: Judges, reference: Reference
) -> None:
    """With enough clips: nothing between a set and itself; more when labels are left out."""
    many = np.tile(np.arange(len(clips.label)), 2)
    whole = measure_reference(clips, judges, CPU, many)
    films = clips.frames(clips.batch(many, CPU))
    same = score_clips(films, many, clips, judges, whole, CPU)
    assert same.frechet_gesture_features == pytest.approx(0, abs=0.05)
    one_label = np.resize(np.flatnonzero(clips.label == 0), len(many))
    films = clips.frames(clips.batch(one_label, CPU))
    other = score_clips(films, one_label, clips, judges, whole, CPU)
    assert isinstance(other.frechet_gesture_features, float)
    assert other.frechet_gesture_features > 1


def test_judges_are_trained_once_and_alike_everywhere(
    clips: Clips, judges: Judges, folder: Path, tmp_path: Path
) -> None:
    assert train_judges(clips, folder, CPU, JUDGES).identity == judges.identity
    assert train_judges(clips, tmp_path / "anew", CPU, JUDGES).identity == judges.identity
    other = JudgeOptions(gesture_steps=2, subject_steps=2, seed=1)
    assert train_judges(clips, tmp_path / "other", CPU, other).identity != judges.identity


def test_judges_of_another_split_are_refused(clips: Clips, folder: Path, judges: Judges) -> None:
    with pytest.raises(UserError, match="another clips"):
        train_judges(Clips(clips.store, "videos"), folder, CPU, JUDGES)


def test_without_labels_and_subjects_the_rest_is_scored(tmp_path: Path) -> None:
    clips = Clips(make_store(tmp_path / "store", labels=(), subjects=("a", "c")), None)
    none = train_judges(clips, tmp_path / "judges", CPU, JUDGES)
    assert none == Judges(None, None)
    films = real(clips)
    reference = measure_reference(clips, none, CPU)
    scores = score_clips(films, clips.test, clips, none, reference, CPU)
    for name in ("gesture_accuracy", "subject_accuracy", "frechet_gesture_features"):
        assert str(getattr(scores, name)).startswith("not computed: ")
    assert scores.psnr == 100
