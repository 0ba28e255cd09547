"""The method variational: smooth fields, fitted to whole frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from preprocess.motion import variational
from shared.conventions import Codec, Compensation
from shared.motion_compensation import predict
from shared.store.store import Store
from tests import naive
from tests.stores import contents

Cli = Callable[..., tuple[int, str, str]]


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    """A smooth coloured picture, grey levels, shape (3, H, W)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = rng.uniform(-0.4, 0.4, (3, 6, 2))
    phases = rng.uniform(0, 2 * np.pi, (3, 6, 1, 1))
    picture = np.sin(waves[..., :1, None] * y + waves[..., 1:, None] * x + phases).sum(axis=1)
    return 127.5 + 30 * picture


def clip_of(*frames: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.stack(frames).round().clip(0, 255).astype(np.uint8)


def fit(
    clip: NDArray[np.uint8], codec: Codec, cost: float = 0.3, reach: int = 24
) -> NDArray[np.int8]:
    return variational.search(clip, codec, reach, cost)


def squared_errors(
    clip: NDArray[np.uint8], motion: NDArray[np.int8], codec: Codec
) -> NDArray[np.float64]:
    """Of each predicted frame, away from the edge."""
    prediction = predict(clip[0], motion, codec).astype(float)
    return np.square(prediction - clip[1:])[..., 8:-8, 8:-8].mean(axis=(1, 2, 3))


@pytest.mark.parametrize("reference", ["first", "previous"])
def test_a_still_clip_has_no_motion(reference: str) -> None:
    clip = clip_of(*[texture(23, 17)] * 3)
    codec = Codec(4, reference, 4, "interpolated")  # type: ignore[arg-type]
    assert not fit(clip, codec).any()


def test_a_flat_clip_has_no_motion() -> None:
    """Brightness changes, and nothing says where anything went."""
    clip = np.stack([np.full((3, 16, 16), level, np.uint8) for level in (10, 90, 200)])
    assert not fit(clip, Codec(4, "first", 4)).any()


@pytest.mark.parametrize("block", [4, 8])
def test_a_moving_picture_has_the_vectors_of_its_motion(block: int) -> None:
    """A scene scrolls by (1.5, -1) pixels a frame: to a quarter of a pixel, away from the edge."""
    wide = texture(80, 80)
    y, x = np.mgrid[8:56, 8:56]
    frames = [
        np.stack([_between(plane, y + n * -1.0, x + n * 1.5) for plane in wide]) for n in range(4)
    ]
    clip = clip_of(*frames)
    for reference, step in (("first", lambda n: n), ("previous", lambda n: 1)):
        found = fit(clip, Codec(block, reference, 4), cost=0.1)  # type: ignore[arg-type]
        for n, field in enumerate(found, 1):
            inner = field[:, 2:-2, 2:-2].reshape(2, -1).T
            expected = np.array([6, -4]) * step(n)
            assert np.abs(inner - expected).max() <= 1, (reference, n)


def _between(
    plane: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, across = y - top, x - left
    upper = (1 - across) * plane[top, left] + across * plane[top, left + 1]
    lower = (1 - across) * plane[top + 1, left] + across * plane[top + 1, left + 1]
    return (1 - down) * upper + down * lower


def test_a_rotation_is_followed_over_the_clip() -> None:
    """Forty degrees in ten steps: interpolated vectors turn the picture, blocks cannot."""
    wide, centre = texture(64, 64, seed=3), 31.5
    y, x = np.mgrid[12:52, 12:52] - centre
    turned = [
        (centre + np.cos(a) * y + np.sin(a) * x, centre - np.sin(a) * y + np.cos(a) * x)
        for a in np.deg2rad(4.0 * np.arange(11))
    ]
    clip = clip_of(*(np.stack([_between(plane, *place) for plane in wide]) for place in turned))
    codec = Codec(4, "first", 4, "interpolated")
    motion = fit(clip, codec, cost=0.1)
    errors = squared_errors(clip, motion, codec)
    repeated = squared_errors(clip, np.zeros_like(motion), codec)
    as_blocks = squared_errors(clip, motion, replace(codec, compensation="block"))
    assert (errors < 0.05 * repeated).all()
    assert errors.mean() < 0.2 * as_blocks.mean()


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(1, 19),
    width=st.integers(1, 19),
    frames=st.integers(1, 3),
    block=st.sampled_from([4, 8]),
    unit=st.sampled_from([1, 2, 4]),
    reach=st.integers(0, 5),
    compensation=st.sampled_from(["block", "overlapped", "interpolated"]),
    seed=st.integers(0, 99),
)
def test_vectors_have_the_shape_and_stay_in_range(
    height: int, width: int, frames: int, block: int, unit: int, reach: int,
    compensation: Compensation, seed: int,
) -> None:  # fmt: skip
    """Noise, which no field explains, in frames of any size."""
    clip = np.random.default_rng(seed).integers(0, 256, (frames, 3, height, width), dtype=np.uint8)
    codec = Codec(block, "first", unit, compensation)
    found = fit(clip, codec, reach=reach)
    assert found.shape == (frames - 1, 2, -(-height // block), -(-width // block))
    assert found.dtype == np.int8
    assert not found.size or np.abs(found.astype(int)).max() <= reach * unit


def test_the_fit_is_near_the_least_energy() -> None:
    """The oracle states it pixel by pixel; a general minimiser hardly improves on the fit."""
    first, second = texture(12, 15, seed=5), texture(12, 15, seed=5)
    second = np.roll(second, (1, -1), axis=(1, 2))
    clip = clip_of(first, second)
    cost, block = 0.3, 4

    def energy(flat: NDArray[np.float64]) -> float:
        return naive.field_energy(clip[0], clip[1], flat.reshape(2, 3, 4), block, cost)

    found = fit(clip, Codec(block, "first", 4), cost).astype(float).ravel() / 4
    least = minimize(energy, found, method="L-BFGS-B", options={"maxiter": 3}).fun
    assert energy(found) < 0.6 * energy(np.zeros(24))
    assert energy(found) < 1.05 * least


def test_a_higher_cost_gives_smoother_fields() -> None:
    rng = np.random.default_rng(0)
    clip = clip_of(*(texture(32, 32) + rng.normal(0, 12, (3, 32, 32)) for _ in range(2)))
    rough, smooth = (
        np.abs(np.diff(fit(clip, Codec(4, "first", 4), cost).astype(int), axis=-1)).sum()
        for cost in (0.0, 1.0)
    )
    assert smooth < 0.5 * rough


def test_blocks_that_choose_their_reference_are_refused() -> None:
    with pytest.raises(ValueError, match="either"):
        fit(clip_of(texture(8, 8), texture(8, 8)), Codec(4, "either", 4))


def test_a_store_is_made_made_again_and_verified(folder: Path, tmp_path: Path, cli: Cli) -> None:
    """By `run` and by `reblock`, whose results do not depend on the number of workers."""
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    common = ("run", "folder", "--root", folder, "--size", 32, "--frames", 4)
    fitted = ("--method", "variational", "--compensation", "interpolated", "--vector-unit", 4)
    fitted += ("--block", 4, "--reference", "first")
    assert cli(*common, "--workers", 1, "--out", one)[0] == 0
    code, _, err = cli("reblock", one, *fitted, "--out", two, "--workers", 1)
    assert code == 0, err
    assert cli(*common, *fitted, "--workers", 2, "--out", three)[0] == 0
    assert contents(two) == contents(three)
    code, out, err = cli("verify", two, "--root", folder)
    assert code == 0, out + err
    assert Store(two).options.method == "variational"


def test_a_field_of_two_references_is_refused_by_name(
    folder: Path, tmp_path: Path, cli: Cli
) -> None:
    given = ("--method", "variational", "--reference", "either", "--out", tmp_path / "store")
    code, _, err = cli("run", "folder", "--root", folder, *given)
    assert code == 2
    assert "--reference first or previous" in err
