"""Vectors between pixels: the kernel against the slow method, and what refinement promises."""

from __future__ import annotations

from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preprocess.frames.geometry import Geometry
from preprocess.motion import METHODS, search, vector_penalty
from preprocess.motion.encode import encode
from preprocess.motion.kernels.candidate_key import KERNEL_SOURCE_HASH
from preprocess.motion.subpixel import refine, refine_clip
from preprocess.sources.video import decode
from shared.conventions import BLOCKS, REFERENCES, Codec, luma
from shared.motion_compensation import decode_clip, predict
from shared.schema import CodecOptions
from tests import naive
from tests.preprocess.motion.test_search import CONTENTS, content, random_clip

UNITS = (2, 4)


def smooth_picture(seed: int, side: int) -> NDArray[np.uint8]:
    """Waves of six pixels and more: what lies between pixels is worth something."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    waves = [
        np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / length + phase)
        for angle, length, phase in zip(
            rng.uniform(0, np.pi, 5), rng.uniform(6, 16, 5), rng.uniform(0, 6, 5), strict=True
        )
    ]
    picture: NDArray[np.uint8] = (128 + 24 * np.sum(waves, axis=0)).astype(np.uint8)
    return picture


@pytest.mark.parametrize("kind", CONTENTS)
def test_the_kernel_equals_the_slow_method(kind: str) -> None:
    """Frames wider than any vector, with cut blocks at two edges; units and costs take turns."""
    clip = content(kind, 3, 38, 77)
    turns = islice(cycle(((2, 0.0), (4, 0.0), (4, 0.1))), CONTENTS.index(kind), None)
    for block, reference in product(BLOCKS, REFERENCES):
        unit, cost = next(turns)
        codec = Codec(block, reference, unit)
        found, slow = (
            search(clip, codec, search_range=5, motion_cost=cost, method=method)
            for method in ("exhaustive", "naive")
        )
        assert np.array_equal(found, slow), (codec, cost)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.just(2), st.integers(1, 24), st.integers(1, 24)),
    block=st.sampled_from(BLOCKS),
    unit=st.sampled_from(UNITS),
    cost=st.sampled_from([0.0, 0.3]),
)
def test_refined_vectors_never_cost_more(
    seed: int, shape: tuple[int, int, int], block: int, unit: int, cost: float
) -> None:
    """By the oracle's count; and they stay near where they started, and in the frame."""
    clip = random_clip(seed, *shape, 9)
    options: dict[str, Any] = {"search_range": 4, "motion_cost": cost}
    whole = search(clip, Codec(block), **options) * unit
    fine = search(clip, Codec(block, vector_unit=unit), **options)
    assert np.abs(fine - whole).max() < unit
    costs = naive.Search(block, vector_unit=unit, **options)
    for row, column in np.ndindex(*fine.shape[2:]):
        place = clip[1], clip[0], row * block, column * block
        before, after = (
            costs.cost(*place, tuple(field[0, :, row, column].tolist())) for field in (whole, fine)
        )
        assert after <= before < np.inf


@pytest.mark.parametrize(
    ("unit", "vector"), [(2, (3, -1)), (2, (0, 1)), (4, (5, -3)), (4, (-2, 1)), (4, (4, 0))]
)
def test_a_movement_between_pixels_is_found(unit: int, vector: tuple[int, int]) -> None:
    before = smooth_picture(1, 96)
    field = np.empty((2, 6, 6), np.int8)
    field[:] = np.array(vector).reshape(2, 1, 1)
    codec = Codec(16, vector_unit=unit)
    after = predict(before[None], field, codec)[0]
    found = search(np.stack([before, after]), codec, search_range=3)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    assert np.array_equal(found[0][inner], field[inner])


def test_a_still_picture_does_not_move() -> None:
    still = random_clip(0, 1, 40, 40, 256).repeat(2, axis=0)
    codec = Codec(8, vector_unit=4)
    assert not search(still, codec, search_range=3).any()
    assert not search(np.zeros_like(still), codec, search_range=3).any()


@pytest.mark.parametrize("unit", UNITS)
def test_a_vector_out_of_the_frame_stays_what_it_is(unit: int) -> None:
    clip = random_clip(2, 3, 20, 28, 256)
    motion = np.full((2, 2, 3, 4), -9, np.int8)
    refined = refine(clip, motion, Codec(8, vector_unit=unit), vector_penalty(9, unit, 0))
    # Only blocks from the third row and column on have a predictor nine pixels up and left.
    inside = np.zeros((3, 4), bool)
    inside[2:, 2:] = True
    assert (refined[..., ~inside] == -9 * unit).all()
    assert (refined[..., inside] != -9 * unit).any()


@pytest.mark.parametrize("unit", UNITS)
def test_the_longest_vectors_fit(unit: int) -> None:
    reach = 127 // unit
    clip = np.zeros((2, 8, reach + 8), np.uint8)
    clip[0, :, -8:] = clip[1, :, :8] = random_clip(0, 1, 8, 8, 256)[0]
    found = search(clip, Codec(8, vector_unit=unit), search_range=reach)
    assert found[0, :, 0, 0].tolist() == [reach * unit, 0]


@pytest.mark.parametrize("unit", UNITS)
def test_whole_vectors_have_the_same_penalty_in_any_unit(unit: int) -> None:
    for cost in (0.1, 0.3, 1 / 3):
        fine, whole = vector_penalty(24, unit, cost), vector_penalty(24, 1, cost)
        assert np.array_equal(fine[::unit, ::unit], whole)


def test_the_cache_follows_all_of_the_kernels_files() -> None:
    search(random_clip(1, 2, 16, 16, 256), Codec(16, vector_unit=2), search_range=1)
    keys = [signature[-1] for signature in refine_clip.signatures]
    assert keys
    assert {getattr(key, "value", None) for key in keys} == {KERNEL_SOURCE_HASH}


@pytest.mark.parametrize("unit", UNITS)
def test_real_clips(real_clips: Path, unit: int) -> None:
    """The slow method's vectors, less residual than whole pixels leave, and every frame back."""
    for name in ("asl_walk.mkv", "nasa_13013.mp4"):
        frames = islice(decode(real_clips / "clips" / name, range(0, 30, 10), Geometry(96)), 3)
        clip = np.stack([frame for _, frame in frames])
        options = CodecOptions(size=96, frames=3, block=8, search_range=7, vector_unit=unit)
        encoded = encode(clip, options)
        restored = decode_clip(clip[0], encoded.motion, encoded.residual, options.codec)
        assert np.array_equal(restored, clip)
        cost = options.motion_cost
        slow = search(luma(clip), options.codec, search_range=7, motion_cost=cost, method="naive")
        assert np.array_equal(encoded.motion, slow)
        whole = encode(clip, options.model_copy(update={"vector_unit": 1}))
        assert np.abs(encoded.residual).mean() < np.abs(whole.residual).mean()


@pytest.mark.parametrize("method", METHODS)
def test_every_methods_vectors_are_refined(method: str) -> None:
    clip = np.stack([smooth_picture(3, 64)[n : n + 48, :48] for n in range(3)])
    for reference in REFERENCES[:2]:
        codec = Codec(16, reference, 4)
        whole = search(clip, Codec(16, reference), search_range=4, method=method)
        fine = search(clip, codec, search_range=4, method=method)
        assert np.array_equal(fine, refine(clip, whole, codec, vector_penalty(4, 4, 0)))
