"""FVD's names stand for I3D's features alone, and for enough clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.store.store import Store
from train.data.clips import Clips
from train.evaluate.metrics.fvd import frechet
from train.evaluate.metrics.score import Reference
from train.evaluate.page import score_rows
from train.evaluate.protocols import protocol_named
from train.evaluate.summary import (
    I3D_FEATURES,
    best_of_numbers,
    frame_numbers,
    fvd_numbers,
    why_no_fvd,
)

COUNT = 900


def logits(seed: int, shift: float = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(COUNT, 400)) + shift


@pytest.fixture(scope="module")
def clips(store: Store) -> Clips:
    return Clips(store, None)


def reference(clips: Clips, features: NDArray[np.float64]) -> Reference:
    """Two labels, one subject."""
    label = np.arange(COUNT) % 2
    return Reference(
        np.zeros(COUNT, np.int64), label, np.zeros(COUNT, np.int64), {I3D_FEATURES: features}
    )


def test_fvd_and_its_variants(clips: Clips) -> None:
    start = np.array([np.flatnonzero(clips.label == k % 2)[0] for k in range(COUNT)])
    real, generated = logits(0), logits(1, shift=0.5)
    measures = {I3D_FEATURES: generated}
    found = fvd_numbers(protocol_named("dvdm"), measures, start, clips, reference(clips, real))
    assert found["FVD"] == pytest.approx(frechet(generated, real))
    halves = [frechet(generated[k::2], real[k::2]) for k in range(2)]
    assert found["cFVD"] == pytest.approx(np.mean(halves))
    assert found["cFVD_spread"] == pytest.approx(np.std(halves))
    assert found["cFVD_groups"] == 2
    restored = fvd_numbers(
        protocol_named("reconstruction"), measures, start, clips, reference(clips, real)
    )
    assert restored == {"R-FVD": found["FVD"]}


def test_small_classes_have_no_cfvd_but_a_reason(clips: Clips) -> None:
    start = np.array([np.flatnonzero(clips.label == k % 3)[0] for k in range(COUNT)])
    real = replace(reference(clips, logits(0)), label=np.arange(COUNT) % 3)
    found = fvd_numbers(protocol_named("dvdm"), {I3D_FEATURES: logits(1)}, start, clips, real)
    assert isinstance(found["FVD"], float)
    assert "smallest class: 300 clips for 400 features" in str(found["cFVD"])
    assert "about 1,203 clips in all" in str(found["cFVD"])
    assert "cFVD_spread" not in found


def test_without_i3d_there_is_no_fvd(clips: Clips) -> None:
    real = replace(reference(clips, logits(0)), measures={})
    found = fvd_numbers(protocol_named("lfdm"), {}, np.zeros(3, int), clips, real)
    assert list(found) == ["FVD"]
    assert str(found["FVD"]).startswith("not computed: FVD needs I3D's weights: --i3d FILE")


def test_too_few_clips_are_known_before_any_is_made() -> None:
    assert why_no_fvd(401, 401) is None
    assert "generated: 400 clips for 400 features" in str(why_no_fvd(400, 2048))
    assert "real: 259 clips" in str(why_no_fvd(2048, 259))


def test_the_given_frame_counted_or_not() -> None:
    """Errors of 25 in 3 predicted frames, none in the given one."""
    error = np.array([[0.0, 25, 25, 25]] * 2)
    measures = {"squared_error": error, "ssim": np.array([[1.0, 0.5, 0.5, 0.5]] * 2)}
    numbers = frame_numbers(measures, size=16)
    assert numbers["psnr"] == pytest.approx(10 * np.log10(255**2 / 25))
    assert numbers["psnr_over_clip"] == pytest.approx(numbers["psnr"])
    assert numbers["psnr_over_clip_with_given"] == pytest.approx(10 * np.log10(255**2 / 18.75))
    assert (numbers["ssim"], numbers["ssim_with_given"]) == (0.5, 0.625)
    best = best_of_numbers(measures, np.array([5, 5]))
    assert best["ssim"]["best_with_given"] == 0.625
    assert best["psnr_over_clip"]["samples"] == 2


def test_no_stand_in_goes_by_the_name_of_fvd() -> None:
    """Rows named FVD come from `distances` alone."""
    names = ("frechet_gesture_features", "frechet_subject_features")
    from train.evaluate.page import MEANINGS

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
