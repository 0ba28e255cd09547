from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from preprocess.motion import EXACT, METHODS, exhaustive, search
from preprocess.motion import naive as naive_method
from preprocess.motion.kernels.candidate_key import KERNEL_SOURCE_HASH
from preprocess.motion.kernels.exhaustive import search_clip
from preprocess.motion.penalty import difference_penalty
from shared.conventions import BLOCKS, COSTS_FROM, REFERENCES, VECTOR_UNITS, Reference, grid_shape
from tests import naive

GREYS = (1, 2, 3, 256)
"""Few grey levels make many ties, one makes nothing else."""


def random_clip(seed: int, frames: int, height: int, width: int, greys: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, greys, (frames, height, width), dtype=np.uint8)


@pytest.mark.parametrize("method", EXACT)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 21), st.integers(1, 21)),
    greys=st.sampled_from(GREYS),
    block=st.sampled_from(BLOCKS),
    search_range=st.integers(0, 6),
    reference=st.sampled_from(REFERENCES),
    zero_bias=st.sampled_from([0.0, 0.25, 3.0]),
    motion_cost=st.sampled_from([0.0, 0.3, 2.0]),
    cost_from=st.sampled_from(COSTS_FROM),
    vector_unit=st.sampled_from(VECTOR_UNITS),
)
def test_every_exact_method_equals_the_oracle(
    method: str,
    seed: int,
    shape: tuple[int, int, int],
    greys: int,
    block: int,
    search_range: int,
    reference: str,
    zero_bias: float,
    motion_cost: float,
    cost_from: str,
    vector_unit: int,
) -> None:
    """Sizes that are no multiple of the block, ranges beyond the frame, ties and all costs."""
    if cost_from != "zero":
        vector_unit = 1
        reference = "first" if reference == "either" else reference
    clip = random_clip(seed, *shape, greys)
    options = {
        "block": block,
        "search_range": search_range,
        "reference": reference,
        "zero_bias": zero_bias,
        "motion_cost": motion_cost,
        "cost_from": cost_from,
        "vector_unit": vector_unit,
    }
    found = search(clip, method=method, **options)  # type: ignore[arg-type]
    assert found.dtype == np.int8
    assert np.array_equal(found, naive.search(clip, **options))


CONTENTS = ("noise", "few greys", "constant", "scroll", "half noise")


def content(kind: str, frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """Luma that a search finds easy, hard, or full of ties."""
    rng = np.random.default_rng(height * width)
    noise = rng.integers(0, 256, (frames, height, width), dtype=np.uint8)
    picture = np.repeat(np.repeat(noise[0, ::3, ::3], 3, axis=0), 3, axis=1)[:height, :width]
    scroll = np.stack([np.roll(picture, (2 * n, -3 * n), (0, 1)) for n in range(frames)])
    return {
        "noise": noise,
        "few greys": noise % 3,
        "constant": np.full_like(noise, 255),
        "scroll": scroll,
        "half noise": np.where(np.arange(width) < width // 2, noise, scroll),
    }[kind]


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("reference", ["previous", "first"])
@pytest.mark.parametrize("block", BLOCKS)
def test_elimination_and_brute_force_leave_out_nothing(
    kind: str, reference: Reference, block: int
) -> None:
    """Frames wide enough for whole groups of blocks, with cut blocks at two edges."""
    luma = content(kind, 3, 38, 2 * 64 + 13)
    cases = [(7, 0.0, "zero"), (17, 0.0, "zero"), (17, 0.4, "zero")]
    cases += [(17, 0.4, "median"), (7, 4.0, "temporal")]
    for search_range, cost, cost_from in cases:
        penalty = difference_penalty(search_range, zero_bias=cost, motion_cost=cost / 4)
        options = {
            "block": block,
            "search_range": search_range,
            "reference": reference,
            "cost_from": cost_from,
        }
        wanted = naive_method.search(luma, penalty=penalty, **options)  # type: ignore[arg-type]
        for brute_force in (False, True):
            found = exhaustive.search(
                luma,
                penalty=penalty,
                brute_force=brute_force,
                **options,  # type: ignore[arg-type]
            )
            assert np.array_equal(found, wanted), (search_range, cost, cost_from, brute_force)


@pytest.mark.parametrize("features", ["", "+avx2"])
def test_every_spelling_of_the_instructions_gives_the_same(features: str) -> None:
    """Once more for processors that know less than this one: LLVM's plain code, 256 bits."""
    if features and not has_feature(features):
        pytest.skip(f"this processor has no {features}")
    tests = [
        f"{__file__}::{test_elimination_and_brute_force_leave_out_nothing.__name__}",
        f"{Path(__file__).with_name('test_subpixel.py')}::test_the_kernel_equals_the_slow_method",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *tests, "-k", "half"],
        env={**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def has_feature(name: str) -> bool:
    features: str = cpu_target.target_context.codegen().magic_tuple()[2]
    return name in features.split(",")


def test_the_cache_follows_all_of_a_kernels_files() -> None:
    """Numba would take a kernel from disk whose parts, in other files, have changed since."""
    search(random_clip(1, 2, 16, 16, 256), block=16, search_range=1)
    keys = [signature[-1] for signature in search_clip.signatures]
    assert keys
    assert {getattr(key, "value", None) for key in keys} == {KERNEL_SOURCE_HASH}


def test_a_cost_without_bounds_overflows_nothing() -> None:
    clip = random_clip(3, 3, 40, 40, 256)
    for options in ({"motion_cost": 1e300}, {"zero_bias": 1e300}):
        assert not search(clip, block=16, search_range=127, **options).any()
    options = {"block": 32, "search_range": 9, "zero_bias": 1e300, "motion_cost": 1e300}
    for cost_from in COSTS_FROM:
        found = search(clip, cost_from=cost_from, **options)  # type: ignore[arg-type]
        wanted = search(clip, cost_from=cost_from, method="naive", **options)  # type: ignore[arg-type]
        assert np.array_equal(found, wanted)


def test_frames_in_another_order_in_memory() -> None:
    clip = random_clip(5, 3, 40, 48, 256)
    turned = np.asfortranarray(clip)
    assert np.array_equal(
        search(turned, block=8, search_range=4), search(clip, block=8, search_range=4)
    )


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("search_range", [16, 40, 127])
def test_wide_ranges(block: int, search_range: int) -> None:
    clip = random_clip(block, 2, 37, 67, 256)
    options = {"block": block, "search_range": search_range, "motion_cost": 0.05}
    found = search(clip, **options)  # type: ignore[arg-type]
    assert np.array_equal(found, search(clip, method="naive", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_frame_of_one_pixel(method: str, block: int, frames: int) -> None:
    clip = random_clip(7, frames, 1, 1, 256)
    found = search(clip, block=block, search_range=127, method=method)
    assert found.shape == (frames - 1, 2, 1, 1)
    assert not found.any()


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 50), width=st.integers(1, 50))
@settings(max_examples=15)
def test_predictors_stay_inside_the_frame(method: str, seed: int, height: int, width: int) -> None:
    clip = random_clip(seed, 2, height, width, 256)
    motion = search(clip, block=8, search_range=20, method=method)[0]
    for row in range(motion.shape[1]):
        for column in range(motion.shape[2]):
            vx, vy = motion[:, row, column].astype(int)
            assert 0 <= row * 8 + vy <= height - (min(row * 8 + 8, height) - row * 8)
            assert 0 <= column * 8 + vx <= width - (min(column * 8 + 8, width) - column * 8)


@pytest.mark.parametrize("method", METHODS)
@given(
    kind=st.sampled_from(["noise", "few greys", "constant", "scroll", "half noise"]),
    shape=st.tuples(st.integers(2, 4), st.integers(1, 60), st.integers(1, 60)),
    block=st.sampled_from(BLOCKS),
    search_range=st.integers(0, 20),
    reference=st.sampled_from(["previous", "first"]),
    motion_cost=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=25)
def test_no_vector_leaves_its_bounds_or_costs_more_than_none(
    method: str,
    kind: str,
    shape: tuple[int, int, int],
    block: int,
    search_range: int,
    reference: Reference,
    motion_cost: float,
) -> None:
    clip = content(kind, *shape)
    options = {"search_range": search_range, "motion_cost": motion_cost, "zero_bias": 0.25}
    found = search(clip, block=block, reference=reference, method=method, **options)  # type: ignore[arg-type]
    assert found.dtype == np.int8
    assert found.shape == (shape[0] - 1, 2, *grid_shape(*shape[1:], block))
    assert np.abs(found.astype(int)).max() <= search_range
    for n, row, column in np.argwhere(found.any(axis=1)):
        y, x = row * block, column * block
        bottom, right = min(y + block, shape[1]), min(x + block, shape[2])
        vx, vy = found[n, :, row, column].astype(int)
        assert y + vy >= 0 and bottom + vy <= shape[1] and x + vx >= 0 and right + vx <= shape[2]
        source = clip[0 if reference == "first" else n].astype(int)
        here = clip[n + 1, y:bottom, x:right].astype(int)
        moved = np.abs(here - source[y + vy : bottom + vy, x + vx : right + vx]).sum()
        price = here.size * (0.25 + motion_cost * np.hypot(vx, vy))
        assert moved + price < np.abs(here - source[y:bottom, x:right]).sum() + here.size / 256


@pytest.mark.parametrize("method", METHODS)
def test_the_largest_difference_does_not_overflow(method: str) -> None:
    clip = np.stack([np.zeros((64, 64), np.uint8), np.full((64, 64), 255, np.uint8)])
    for block in BLOCKS:
        assert not search(clip, block=block, search_range=8, method=method).any()


def test_the_first_frame_is_the_reference_where_asked() -> None:
    """A square at 8, then 12, then 16: 4 left of the frame before, 8 left of the first."""
    square = np.random.default_rng(0).integers(50, 256, (8, 8), dtype=np.uint8)
    clip = np.zeros((3, 16, 32), np.uint8)
    for n, x in enumerate((8, 12, 16)):
        clip[n, 8:16, x : x + 8] = square
    options = {"block": 8, "search_range": 8}
    previous = search(clip, reference="previous", **options)  # type: ignore[arg-type]
    first = search(clip, reference="first", **options)  # type: ignore[arg-type]
    assert previous[1, :, 1, 2].tolist() == [-4, 0]
    assert first[1, :, 1, 2].tolist() == [-8, 0]


def test_a_block_takes_the_frame_that_matches() -> None:
    """Left half as it was in the frame before, right half, uncovered, as it was in the first."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 8, 16), dtype=np.uint8)
    last = np.concatenate([pictures[1, :, :8], pictures[0, :, 8:]], axis=1)
    clip = np.stack([pictures[0], pictures[1], last])
    motion = search(clip, block=8, search_range=0, reference="either")
    assert motion.tolist() == [[[[0, 0]]] * 3, [[[0, 0]], [[0, 0]], [[0, 1]]]]
    assert not search(clip, block=8, search_range=0, reference="either", motion_cost=255).any()


def test_the_index_costs_what_a_pixel_of_length_does() -> None:
    """A block that is 7 grey levels nearer to frame 0 is worth the index at a cost below 7."""
    clip = np.stack([np.full((4, 4), grey, np.uint8) for grey in (13, 20, 10)])
    for cost, index in ((6.9, 1), (7.0, 0)):  # 10 from the frame before, 3 from the first
        found = search(clip, block=4, search_range=0, reference="either", motion_cost=cost)
        assert found[1].ravel().tolist() == [0, 0, index]


def test_costs_make_fields_regular() -> None:
    clip = random_clip(0, 3, 64, 64, 3)
    plain = np.count_nonzero(search(clip, block=8, search_range=8))
    biased = np.count_nonzero(search(clip, block=8, search_range=8, zero_bias=255.0))
    costly = search(clip, block=8, search_range=8, motion_cost=0.02)
    assert plain > 0
    assert biased == 0
    assert np.abs(costly).sum() < np.abs(search(clip, block=8, search_range=8)).sum()


def test_a_cost_from_neighbours_lets_what_moves_go_on() -> None:
    """Stripes, 4 apart, move by 3: -3 and 1 match alike, and are told apart by what was before."""
    stripes = np.arange(32) % 4 * 60
    still = np.tile(stripes, (16, 1)).astype(np.uint8)
    clip = np.stack([still, np.roll(still, 3, axis=1), np.roll(still, 6, axis=1)])
    motion = {
        cost_from: search(clip, block=8, search_range=3, motion_cost=0.1, cost_from=cost_from)
        for cost_from in COSTS_FROM
    }
    assert (motion["zero"][1, 0, :, 1:-1] == 1).all()
    for cost_from in ("median", "temporal"):
        assert np.array_equal(motion[cost_from][1], motion[cost_from][0])


def test_penalty_in_its_units() -> None:
    of_zero, of_others = difference_penalty(3, zero_bias=0.5, motion_cost=0.25)
    assert of_zero[6, 6] == 0
    assert of_zero[6, 7] == 256 * 0.25
    assert of_others[6, 6] == 256 * 0.5
    assert of_others[6, 7] == 256 * 0.75
    assert of_others[0, 6] == of_others[6, 12] == 256 * 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"block": 7}, "block 7; it must be one of 4, 8, 16, 32"),
        ({"search_range": 128}, r"search_range 128; it must be in \[0, 127\]"),
        ({"search_range": 32, "vector_unit": 4}, r"32; it must be in \[0, 31\] at vector_unit 4"),
        ({"vector_unit": 3}, "vector_unit 3; it must be one of 1, 2, 4"),
        ({"method": "psychic"}, "it must be one of exhaustive, naive, h264"),
        ({"reference": "next"}, "it must be one of previous, first, either"),
        ({"cost_from": "median", "vector_unit": 2}, "needs vector_unit 1 and method exhaustive"),
        ({"cost_from": "median", "method": "h264"}, "needs vector_unit 1 and method exhaustive"),
        ({"cost_from": "median", "reference": "either"}, "needs one reference; it is 'either'"),
        ({"cost_from": "habit"}, "it must be one of zero, median, temporal"),
        ({"zero_bias": -1.0}, "zero_bias -1.0; it must be finite and not negative"),
        ({"motion_cost": float("nan")}, "motion_cost nan"),
    ],
)
def test_arguments_out_of_bounds_are_named(changed: dict[str, object], message: str) -> None:
    arguments = {"block": 8, "search_range": 2, **changed}
    with pytest.raises(ValueError, match=message):
        search(np.zeros((2, 8, 8), np.uint8), **arguments)  # type: ignore[arg-type]


def test_luma_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"luma is float64 \(2, 8, 8\)"):
        search(np.zeros((2, 8, 8)), block=8, search_range=1)  # type: ignore[arg-type]
