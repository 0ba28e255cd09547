from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from preprocess.motion import EXACT, METHODS, exhaustive, search, vector_penalty
from preprocess.motion import naive as naive_method
from preprocess.motion.exhaustive import search_clip
from preprocess.motion.kernels.candidate_key import KERNEL_SOURCE_HASH
from shared.conventions import BLOCKS, REFERENCES, Codec, Reference, grid_shape
from tests import naive
from tests.conftest import codecs

GREYS = (1, 2, 3, 256)
"""Few grey levels make many ties, one makes nothing else."""


def random_clip(seed: int, frames: int, height: int, width: int, greys: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, greys, (frames, height, width), dtype=np.uint8)


@pytest.mark.parametrize("method", EXACT)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 21), st.integers(1, 21)),
    greys=st.sampled_from(GREYS),
    codec=codecs,
    search_range=st.integers(0, 6),
    motion_cost=st.sampled_from([0.0, 0.3, 2.0]),
)
def test_every_exact_method_equals_the_oracle(
    method: str,
    seed: int,
    shape: tuple[int, int, int],
    greys: int,
    codec: Codec,
    search_range: int,
    motion_cost: float,
) -> None:
    """Sizes that are no multiple of the block, ranges beyond the frame, ties and all costs."""
    clip = random_clip(seed, *shape, greys)
    options = {"search_range": search_range, "motion_cost": motion_cost}
    found = search(clip, codec, method=method, **options)  # type: ignore[arg-type]
    assert found.dtype == np.int8
    assert np.array_equal(found, naive.Search(**vars(codec), **options)(clip))  # type: ignore[arg-type]


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
def test_elimination_and_brute_force_leave_out_nothing(kind: str) -> None:
    """Frames wide enough for whole groups of blocks, with cut blocks at two edges.

    Every block meets both references and both ranges in each content, and every case in some.
    """
    luma = content(kind, 3, 38, 2 * 64 + 13)
    previous, first = REFERENCES[:2]
    cases = ((previous, 7, 0.0), (previous, 17, 0.1), (first, 17, 0.0), (first, 7, 1.0))
    for number, block in enumerate(BLOCKS, CONTENTS.index(kind)):
        for reference, search_range, cost in (cases[number % 2], cases[number % 2 + 2]):
            codec, penalty = Codec(block, reference), vector_penalty(search_range, 1, cost)
            wanted = naive_method.search(luma, codec, penalty)
            for brute_force in (False, True):
                found = exhaustive.search(luma, codec, penalty, brute_force=brute_force)
                assert np.array_equal(found, wanted), (codec, search_range, cost, brute_force)


@pytest.mark.slow
@pytest.mark.parametrize("features", ["", "+avx2"])
def test_every_spelling_of_the_instructions_gives_the_same(features: str) -> None:
    """Once more for processors that know less than this one: LLVM's plain code, 256 bits."""
    if features and not has_feature("+avx512f"):
        pytest.skip(f"this processor knows no more than {features}: the other tests are its own")
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
    search(random_clip(1, 2, 16, 16, 256), Codec(16), search_range=1)
    keys = [signature[-1] for signature in search_clip.signatures]
    assert keys
    assert {getattr(key, "value", None) for key in keys} == {KERNEL_SOURCE_HASH}


def test_a_cost_without_bounds_overflows_nothing() -> None:
    clip = random_clip(3, 3, 40, 40, 256)
    assert not search(clip, Codec(16), search_range=127, motion_cost=1e300).any()
    assert not search(clip, Codec(32), search_range=9, motion_cost=1e300, method="naive").any()


def test_frames_in_another_order_in_memory() -> None:
    clip = random_clip(5, 3, 40, 48, 256)
    turned = np.asfortranarray(clip)
    found = search(turned, Codec(8), search_range=4)
    assert np.array_equal(found, search(clip, Codec(8), search_range=4))


@pytest.mark.parametrize("search_range", [33, 127])
def test_wide_ranges(search_range: int) -> None:
    for block in BLOCKS:
        clip, codec = random_clip(block, 2, 37, 67, 256), Codec(block)
        found = search(clip, codec, search_range=search_range, motion_cost=0.05)
        slow = search(clip, codec, search_range=search_range, motion_cost=0.05, method="naive")
        assert np.array_equal(found, slow)


@pytest.mark.parametrize("method", METHODS)
def test_a_frame_of_one_pixel(method: str) -> None:
    for block, frames in product(BLOCKS, (1, 2, 4)):
        clip = random_clip(7, frames, 1, 1, 256)
        found = search(clip, Codec(block), search_range=127, method=method)
        assert found.shape == (frames - 1, 2, 1, 1)
        assert not found.any()


@pytest.mark.parametrize("method", METHODS)
@given(
    kind=st.sampled_from(CONTENTS),
    shape=st.tuples(st.integers(2, 4), st.integers(1, 60), st.integers(1, 60)),
    block=st.sampled_from(BLOCKS),
    search_range=st.integers(0, 20),
    reference=st.sampled_from(REFERENCES[:2]),
    motion_cost=st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=30)
def test_no_vector_leaves_its_bounds_or_costs_more_than_none(
    method: str,
    kind: str,
    shape: tuple[int, int, int],
    block: int,
    search_range: int,
    reference: Reference,
    motion_cost: float,
) -> None:
    """Predictors lie inside the frame; a vector costs less than the zero vector."""
    clip = content(kind, *shape)
    options = {"search_range": search_range, "motion_cost": motion_cost, "method": method}
    found = search(clip, Codec(block, reference), **options)  # type: ignore[arg-type]
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
        price = here.size * motion_cost * np.hypot(vx, vy)
        assert moved + price < np.abs(here - source[y:bottom, x:right]).sum() + here.size / 256


@pytest.mark.parametrize("method", METHODS)
def test_the_largest_difference_does_not_overflow(method: str) -> None:
    clip = np.stack([np.zeros((64, 64), np.uint8), np.full((64, 64), 255, np.uint8)])
    for block in BLOCKS:
        assert not search(clip, Codec(block), search_range=8, method=method).any()


@pytest.mark.parametrize("name", METHODS.values())
def test_every_method_is_a_module_with_a_search(name: str) -> None:
    assert callable(import_module(name).search)


def test_the_first_frame_is_the_reference_where_asked() -> None:
    """A square at 8, then 12, then 16: 4 left of the frame before, 8 left of the first."""
    square = np.random.default_rng(0).integers(50, 256, (8, 8), dtype=np.uint8)
    clip = np.zeros((3, 16, 32), np.uint8)
    for n, x in enumerate((8, 12, 16)):
        clip[n, 8:16, x : x + 8] = square
    previous = search(clip, Codec(8, "previous"), search_range=8)
    first = search(clip, Codec(8, "first"), search_range=8)
    assert previous[1, :, 1, 2].tolist() == [-4, 0]
    assert first[1, :, 1, 2].tolist() == [-8, 0]


def test_a_block_takes_the_frame_that_matches() -> None:
    """Left half as it was in the frame before, right half, uncovered, as it was in the first."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 8, 16), dtype=np.uint8)
    last = np.concatenate([pictures[1, :, :8], pictures[0, :, 8:]], axis=1)
    clip = np.stack([pictures[0], pictures[1], last])
    motion = search(clip, Codec(8, "either"), search_range=0)
    assert motion.tolist() == [[[[0, 0]]] * 3, [[[0, 0]], [[0, 0]], [[0, 1]]]]
    assert not search(clip, Codec(8, "either"), search_range=0, motion_cost=255).any()


def test_the_index_costs_what_a_pixel_of_length_does() -> None:
    """A block that is 7 grey levels nearer to frame 0 is worth the index at a cost below 7."""
    clip = np.stack([np.full((4, 4), grey, np.uint8) for grey in (13, 20, 10)])
    for cost, index in ((6.9, 1), (7.0, 0)):  # 10 from the frame before, 3 from the first
        found = search(clip, Codec(4, "either"), search_range=0, motion_cost=cost)
        assert found[1].ravel().tolist() == [0, 0, index]


def test_costs_make_fields_regular() -> None:
    clip = random_clip(0, 3, 64, 64, 3)
    lengths = [
        np.abs(search(clip, Codec(8), search_range=8, motion_cost=cost)).sum()
        for cost in (0, 0.02, 255)
    ]
    assert lengths[0] > lengths[1] > lengths[2] == 0


def test_penalty_in_its_units() -> None:
    penalty = vector_penalty(3, 1, 0.25)
    assert penalty.shape == (7, 7)
    assert [penalty[3, 3], penalty[3, 4], penalty[0, 3], penalty[6, 3]] == [0, 64, 192, 192]
    assert penalty[0, 0] == round(64 * 18**0.5)


@pytest.mark.parametrize(
    ("codec", "changed", "message"),
    [
        (Codec(8), {"search_range": 128}, r"search_range 128; it must be in \[0, 127\]"),
        (
            Codec(8, vector_unit=4),
            {"search_range": 32},
            r"32; it must be in \[0, 31\] at vector_unit 4",
        ),
        (Codec(8), {"method": "psychic"}, "it must be one of exhaustive, naive, h264"),
        (Codec(8), {"motion_cost": -1.0}, "motion_cost -1.0; it must be finite and not negative"),
        (Codec(8), {"motion_cost": float("nan")}, "motion_cost nan"),
    ],
)
def test_arguments_out_of_bounds_are_named(
    codec: Codec, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        search(np.zeros((2, 8, 8), np.uint8), codec, **{"search_range": 2, **changed})


def test_luma_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"luma is float64 \(2, 8, 8\)"):
        search(np.zeros((2, 8, 8)), Codec(8), search_range=1)  # type: ignore[arg-type]
