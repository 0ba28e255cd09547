"""Summaries of clips whose figures are known: real ones, still ones, swapped ones; FVD's names."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared.conventions import FrameSize
from shared.schema import CodecOptions
from tests.train.stores import make_store
from train.data.clips import Clips
from train.evaluate.clip_metrics import I3D_LOGITS, RealClips, real_clip_metrics
from train.evaluate.metrics.evaluation_networks import (
    EvaluationNetworkOptions,
    EvaluationNetworks,
    train_evaluation_networks,
)
from train.evaluate.metrics.fvd import frechet
from train.evaluate.page import MEANINGS, score_rows
from train.evaluate.protocols import protocol_named
from train.evaluate.summary import (
    best_of,
    best_of_summary,
    frame_summary,
    fvd_summary,
    motion_explains,
    summarise_clips,
    why_no_fvd,
)

CPU = torch.device("cpu")
OPTIONS = CodecOptions(size=16, frames=4, block=4, search_range=3, reference="first")
SUBJECTS = tuple("abcdefgh")
OPTIONS_OF_NETWORKS = EvaluationNetworkOptions(gesture_steps=40, subject_steps=30)


def distinct_clip(label: int, subject: int, seed: int) -> NDArray[np.uint8]:
    """Everybody has a colour; every label brightens or darkens another half of the picture."""
    colour = np.random.default_rng(subject).integers(80, 170, (3, 1, 1))
    noise = np.random.default_rng([9, seed]).integers(-8, 9, (OPTIONS.frames, 3, 16, 16))
    change = np.zeros((OPTIONS.frames, 1, 16, 16), np.int64)
    half = np.s_[:8] if label < 2 else np.s_[8:]
    change[:, :, half] = np.arange(OPTIONS.frames)[:, None, None, None] * (20, -20)[label % 2]
    return (colour + noise + change).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    films = [distinct_clip(k % 4, k // 4, k) for k in range(4 * len(SUBJECTS))]
    path = tmp_path_factory.mktemp("distinct") / "store"
    return Clips(make_store(path, options=OPTIONS, subjects=SUBJECTS, clips=films), None)


@pytest.fixture(scope="module")
def networks(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> EvaluationNetworks:
    folder = tmp_path_factory.mktemp("networks")
    return train_evaluation_networks(clips, folder, CPU, OPTIONS_OF_NETWORKS)


@pytest.fixture(scope="module")
def real(clips: Clips, networks: EvaluationNetworks) -> RealClips:
    return real_clip_metrics(clips, networks, CPU)


def real_frames(clips: Clips) -> torch.Tensor:
    return clips.frames(clips.batch(clips.test, CPU))


def test_real_clips_are_their_own_ceiling(
    clips: Clips, networks: EvaluationNetworks, real: RealClips
) -> None:
    summary = summarise_clips(real_frames(clips), clips.test, clips, networks, real, CPU)
    assert summary.clips == len(clips.test) == 8
    assert summary.psnr == summary.psnr_over_clip == 100
    assert summary.psnr_by_frame == [100] * 3
    assert summary.ssim == pytest.approx(1, abs=1e-5)
    assert summary.gesture_accuracy == summary.gesture_accuracy_real == 1
    assert summary.subject_accuracy == summary.subject_accuracy_real == 1
    assert summary.subject_accuracy_chance == 0.5
    assert summary.warping_error == pytest.approx(summary.warping_error_real)
    assert summary.motion_ratio == pytest.approx(1)
    assert json.loads(json.dumps(asdict(summary))) == asdict(summary)


def test_another_label_or_person_is_noticed(
    clips: Clips, networks: EvaluationNetworks, real: RealClips
) -> None:
    """Test clips are ordered by person, then by label."""
    films = real_frames(clips)
    summary = summarise_clips(films.roll(1, 0), clips.test, clips, networks, real, CPU)
    assert summary.gesture_accuracy == 0
    assert summary.subject_accuracy == 6 / 8  # the first of each person is the other's last
    swapped = summarise_clips(films.roll(4, 0), clips.test, clips, networks, real, CPU)
    assert swapped.gesture_accuracy == 1
    assert swapped.subject_accuracy == 0


def test_a_still_clip_has_no_motion(
    clips: Clips, networks: EvaluationNetworks, real: RealClips
) -> None:
    films = real_frames(clips)
    summary = summarise_clips(films[:, :1].expand_as(films), clips.test, clips, networks, real, CPU)
    assert summary.motion_ratio == 0
    assert summary.warping_error == 0
    assert summary.gesture_accuracy <= 0.5
    error = (films[:, :1].double() - films[:, 1:].double()).square().mean(dim=(2, 3, 4))
    decibels = 10 * torch.log10(255**2 / error)
    assert summary.psnr == pytest.approx(float(decibels.mean()), abs=1e-4)
    assert summary.psnr_by_frame == pytest.approx(decibels.mean(dim=0).tolist(), abs=1e-4)
    pooled = 10 * torch.log10(255**2 / error.mean(dim=1))
    assert summary.psnr_over_clip == pytest.approx(float(pooled.mean()), abs=1e-4)


def test_what_cannot_be_computed_says_why(
    clips: Clips, networks: EvaluationNetworks, real: RealClips
) -> None:
    summary = summarise_clips(real_frames(clips), clips.test, clips, networks, real, CPU)
    assert str(summary.frechet_gesture_features).startswith(
        "not computed: generated: 8 clips for 32 features"
    )
    assert "LPIPS" in str(summary.lpips)
    assert summary.lpips_by_frame == []


def test_the_distance_is_between_features(
    clips: Clips, networks: EvaluationNetworks, real: RealClips
) -> None:
    """With enough clips: nothing between a set and itself; more when labels are left out."""
    many = np.resize(np.arange(len(clips.label)), 40)
    whole = real_clip_metrics(clips, networks, CPU, many)
    films = clips.frames(clips.batch(many, CPU))
    same = summarise_clips(films, many, clips, networks, whole, CPU)
    assert same.frechet_gesture_features == pytest.approx(0, abs=0.05)
    one_label = np.resize(np.flatnonzero(clips.label == 0), len(many))
    films = clips.frames(clips.batch(one_label, CPU))
    other = summarise_clips(films, one_label, clips, networks, whole, CPU)
    assert isinstance(other.frechet_gesture_features, float)
    assert other.frechet_gesture_features > 1


def test_without_labels_and_subjects_the_rest_is_computed(tmp_path: Path) -> None:
    clips = Clips(make_store(tmp_path / "store", labels=(), subjects=("a", "c")), None)
    none = train_evaluation_networks(clips, tmp_path / "networks", CPU, OPTIONS_OF_NETWORKS)
    assert none == EvaluationNetworks(None, None)
    films = real_frames(clips)
    real = real_clip_metrics(clips, none, CPU)
    summary = summarise_clips(films, clips.test, clips, none, real, CPU)
    for name in ("gesture_accuracy", "subject_accuracy", "frechet_gesture_features"):
        assert str(getattr(summary, name)).startswith("not computed: ")
    assert summary.psnr == 100


def test_motion_of_real_clips_is_at_the_bound_and_that_of_still_ones_is_not(
    clips: Clips,
) -> None:
    """The real clips' luma rises or falls everywhere: noise moves some blocks, and all alike."""
    frames, networks = real_frames(clips), EvaluationNetworks(None, None)
    real = real_clip_metrics(clips, networks, CPU)
    same = summarise_clips(frames, clips.test, clips, networks, real, CPU)
    still = summarise_clips(frames[:, :1].expand_as(frames), clips.test, clips, networks, real, CPU)
    assert real.metrics["vectors"].any() and real.training_vectors.any()
    assert len(real.training_vectors) == len(clips.test) < len(clips.train)
    assert set(same.motion_vectors.values()) == {0}
    assert same.motion_vectors_real == still.motion_vectors_real
    assert still.motion_vectors["direction_js"] == "not computed: no block moves"
    for name in ("length_wasserstein", "sum_wasserstein", "length_js", "place_js"):
        bound, found = same.motion_vectors_real[name], still.motion_vectors[name]
        assert isinstance(bound, float) and isinstance(found, float)
        assert 0 < bound < found
    summary = {"scores": asdict(same), "first_frame_repeated": asdict(still)}
    frame_wise, protocol = dict.fromkeys(MEANINGS, 0.0), {"reconstruct": False}
    rows = score_rows({"distances": {}, "frames": frame_wise, "protocol": protocol, **summary})
    place = [name for name, *_ in rows].index(
        "motion vectors, length of every block's vector: Wasserstein, px a frame"
    )
    bound = same.motion_vectors_real["length_wasserstein"]
    assert rows[place][1:] == (0, still.motion_vectors["length_wasserstein"])
    assert rows[place + 1] == ("… of real test clips from training clips", bound, None)


COUNT = 900


def logits(seed: int, shift: float = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(COUNT, 400)) + shift


def real_windows(features: NDArray[np.float64]) -> RealClips:
    """Two labels, one subject."""
    label = np.arange(COUNT) % 2
    return RealClips(
        np.zeros(COUNT, np.int64),
        label,
        np.zeros(COUNT, np.int64),
        {I3D_LOGITS: features},
        np.zeros((1, 1, 2, 1, 1), np.int8),
    )


def test_fvd_and_its_variants(clips: Clips) -> None:
    start = np.array([np.flatnonzero(clips.label == k % 2)[0] for k in range(COUNT)])
    real, generated = logits(0), logits(1, shift=0.5)
    metrics = {I3D_LOGITS: generated}
    found = fvd_summary(protocol_named("dvdm"), metrics, start, clips, real_windows(real))
    assert found["FVD"] == pytest.approx(frechet(generated, real))
    halves = [frechet(generated[k::2], real[k::2]) for k in range(2)]
    assert found["cFVD"] == pytest.approx(np.mean(halves))
    assert found["cFVD_spread"] == pytest.approx(np.std(halves))
    assert found["cFVD_groups"] == 2
    restored = fvd_summary(
        protocol_named("reconstruction"), metrics, start, clips, real_windows(real)
    )
    assert restored == {"R-FVD": found["FVD"]}


def test_small_classes_have_no_cfvd_but_a_reason(clips: Clips) -> None:
    start = np.array([np.flatnonzero(clips.label == k % 3)[0] for k in range(COUNT)])
    real = replace(real_windows(logits(0)), label=np.arange(COUNT) % 3)
    found = fvd_summary(protocol_named("dvdm"), {I3D_LOGITS: logits(1)}, start, clips, real)
    assert isinstance(found["FVD"], float)
    assert "smallest class: 300 clips for 400 features" in str(found["cFVD"])
    assert "about 1,203 clips in all" in str(found["cFVD"])
    assert "cFVD_spread" not in found


def test_without_i3d_there_is_no_fvd(clips: Clips) -> None:
    real = replace(real_windows(logits(0)), metrics={})
    found = fvd_summary(protocol_named("lfdm"), {}, np.zeros(3, int), clips, real)
    assert list(found) == ["FVD"]
    assert str(found["FVD"]).startswith("not computed: FVD needs I3D's weights: --i3d FILE")


def test_too_few_clips_are_known_before_any_is_made() -> None:
    assert why_no_fvd(401, 401) is None
    assert "generated: 400 clips for 400 features" in str(why_no_fvd(400, 2048))
    assert "real: 259 clips" in str(why_no_fvd(2048, 259))


def test_the_given_frame_counted_or_not() -> None:
    """Errors of 25 in 3 predicted frames, none in the given one."""
    error = np.array([[0.0, 25, 25, 25]] * 2)
    metrics = {"squared_error": error, "ssim": np.array([[1.0, 0.5, 0.5, 0.5]] * 2)}
    summary = frame_summary(metrics, FrameSize(16, 16))
    assert summary["psnr"] == pytest.approx(10 * np.log10(255**2 / 25))
    assert summary["psnr_over_clip"] == pytest.approx(summary["psnr"])
    assert summary["psnr_over_clip_with_given"] == pytest.approx(10 * np.log10(255**2 / 18.75))
    assert (summary["ssim"], summary["ssim_with_given"]) == (0.5, 0.625)
    best = best_of_summary(metrics, np.array([5, 5]))
    assert best["ssim"]["best_with_given"] == 0.625
    assert best["psnr_over_clip"]["samples"] == 2


def test_no_stand_in_goes_by_the_name_of_fvd() -> None:
    """Rows named FVD come from `distances` alone."""
    names = ("frechet_gesture_features", "frechet_subject_features")
    assert all("not FVD" in MEANINGS[name] for name in names)
    everything = dict.fromkeys([*MEANINGS, "clips"], 1.0)
    scores = {
        "distances": {"FVD": 2.0, "cFVD": 3.0, "cFVD_spread": 0.5, "cFVD_groups": 4},
        "frames": everything,
        "scores": everything,
        "first_frame_repeated": everything,
    }
    rows = score_rows(scores)
    assert [row[:2] for row in rows[:2]] == [("FVD", 2.0), ("cFVD", "3 ± 0.5 over 4")]
    assert not [row for row in rows[2:] if "FVD" in row[0] and "not FVD" not in row[0]]


def test_average_and_best_of_samples() -> None:
    """Two clips of three samples each, in any order."""
    clip = np.array([4, 9, 9, 4, 4, 9])
    values = np.array([1.0, 10, 20, 2, 3, 60])
    found = best_of(values, values + 1, clip)
    assert (found.samples, found.average, found.best) == (3, 16, 31.5)
    assert (found.average_with_given, found.best_with_given) == (17, 32.5)
    assert best_of(values, values, clip, lower_is_better=True).best == 5.5
    with pytest.raises(ValueError, match="2 to 3 samples"):
        best_of(values[:5], values[:5], clip[:5])


def test_the_share_that_motion_explains_is_that_of_squared_errors() -> None:
    """Real frames are 10 above the first; motion alone errs by 5, the whole clip by 0 or 2."""
    real = torch.full((1, 3, 3, 4, 4), 110, dtype=torch.uint8)
    real[:, 0] = 100
    moved, exact, near = real.clone(), real.clone(), real.clone()
    moved[:, 1:], near[:, 1:] = 105, 108
    assert motion_explains(moved, exact, real) == pytest.approx(75 / 100)
    assert motion_explains(moved, near, real) == pytest.approx(75 / 96)
    assert motion_explains(exact, exact, real) == 1
    assert motion_explains(None, exact, real) is None
    still = real[:, :1].expand_as(real)
    assert "no nearer" in str(motion_explains(moved, still, real))
