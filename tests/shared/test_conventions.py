from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from preprocess.motion import search
from shared.conventions import (
    MAX_SIDE_PX,
    Codec,
    FrameSize,
    find_label,
    grid_shape,
    luma,
    normalised,
)
from shared.errors import UserError
from shared.schema import CodecOptions, StoreAttributes
from tests import naive


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_luma_is_the_integer_formula(seed: int, height: int, width: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)
    assert np.array_equal(luma(frame), naive.luma(frame))


def test_luma_of_extremes() -> None:
    assert luma(np.full((2, 3, 1, 1), 255, np.uint8)).tolist() == [[[255]], [[255]]]
    assert luma(np.zeros((3, 1, 1), np.uint8)).item() == 0


@pytest.mark.parametrize(
    ("height", "width", "block", "grid"),
    [(128, 128, 16, (8, 8)), (1, 1, 32, (1, 1)), (17, 33, 16, (2, 3)), (16, 15, 4, (4, 4))],
)
def test_grid_counts_cut_blocks(height: int, width: int, block: int, grid: tuple[int, int]) -> None:
    assert grid_shape(height, width, block) == grid


@pytest.mark.parametrize("method", ["exhaustive", "naive"])
def test_a_square_moving_right_and_down_has_negative_vectors(method: str) -> None:
    """It moved 3 right and 2 down, so its block's predictor lies 3 left and 2 up: (-3, -2)."""
    rng = np.random.default_rng(0)
    clip = np.full((2, 32, 32), 7, np.uint8)
    square = rng.integers(50, 256, (8, 8), dtype=np.uint8)
    clip[0, 6:14, 13:21] = square
    clip[1, 8:16, 16:24] = square
    motion = search(clip, Codec(8), search_range=4, method=method)
    assert motion[0, :, 1, 2].tolist() == [-3, -2]
    assert np.count_nonzero(motion[0, :, 3]) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"block": 7}, "block 7; it must be one of 4, 8, 16, 32"),
        ({"block": 8, "vector_unit": 3}, "vector_unit 3; it must be one of 1, 2, 4"),
        ({"block": 8, "reference": "next"}, "'next'; it must be one of previous, first, either"),
    ],
)
def test_a_codec_refuses_other_values_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Codec(**values)


COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"


def test_an_exact_match_comes_before_a_folded_one() -> None:
    labels = ["Wave", "wave", "WAVE "]
    assert [find_label(label, labels) for label in labels] == [0, 1, 2]
    assert find_label(" WAVE", labels) == 2
    assert find_label("wAvE", ["Wave", "Clap"]) == 0
    with pytest.raises(UserError, match="'wAvE' may be any of the labels 'Wave', 'wave', 'WAVE '"):
        find_label("wAvE", labels)
    assert find_label("walk", labels) is None


def test_letters_written_in_two_ways_are_the_same() -> None:
    assert find_label(DECOMPOSED, [COMPOSED]) == find_label(COMPOSED, [DECOMPOSED]) == 0
    assert find_label("CAF" + DECOMPOSED.upper(), ["caf" + COMPOSED]) == 0
    assert find_label("STRASSE", ["Stra\u00dfe"]) == 0
    assert normalised(f" \u00a0{DECOMPOSED}\t") == COMPOSED


@given(st.lists(st.text(max_size=4), unique=True))
def test_every_label_names_itself(labels: list[str]) -> None:
    assert [find_label(label, labels) for label in labels] == list(range(len(labels)))


SIDES = st.integers(1, MAX_SIDE_PX)
SIZES = st.builds(FrameSize, SIDES, SIDES)


class Holder(BaseModel):
    size: FrameSize


def test_width_comes_first_in_texts_and_height_in_code() -> None:
    wide = FrameSize.parse("256x144")
    assert (wide.height, wide.width, *wide) == (144, 256, 144, 256)
    assert (str(wide), wide.option, wide.pixels) == ("256x144", "256x144", 256 * 144)


def test_a_square_is_written_by_its_side() -> None:
    for text in (64, "64", "64x64", FrameSize(64, 64)):
        square = FrameSize.parse(text)
        assert square == (64, 64)
        assert (str(square), square.option) == ("64x64", 64)


@given(SIZES)
def test_every_notation_is_read_back(size: FrameSize) -> None:
    holder = Holder(size=size)
    assert FrameSize.parse(str(size)) == FrameSize.parse(size.option) == size
    assert Holder.model_validate_json(holder.model_dump_json()) == holder
    assert Holder(**json.loads(json.dumps(holder.model_dump()))).size == size


@pytest.mark.parametrize(
    "value",
    [0, -1, 4097, True, 64.0, None, "", "x", "64x", "x64", "64X32", "64:32", " 64", "1e2", "64x0",
     "0x64", "4097x8", "64x32x3", "6٤", "9" * 5000, [64, 32], (64, 32), FrameSize(0, 8)],
)  # fmt: skip
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"WIDTHxHEIGHT as in 256x144; 1 to 4096 pixels a side"):
        FrameSize.parse(value)
    with pytest.raises(ValidationError, match="WIDTHxHEIGHT as in 256x144"):
        Holder(size=value)


SQUARE = (
    '{"schema_version":2,"sealed":false,"dataset":"a","manifest_hash":"m","source":"video",'
    '"options":{"size":64,"frames":16,"stride":1,"clips":"windows","hop":null,"seed":0,'
    '"fps":null,"fit":"crop","crop":null,"display":"shown","block":16,"search_range":16,'
    '"vector_unit":1,"reference":"previous","method":"exhaustive","zero_bias":0.0,'
    '"motion_cost":0.3,"cost_from":"zero"},"colour":"RGB, full range; luma BT.601",'
    '"labels":[],"subjects":[],"splits":{},"clips":5,"shard_clips":2,"plan_hash":"p"}'
)
"""Attributes of a store as all versions write them."""


def attributes(size: Any) -> StoreAttributes:
    return StoreAttributes(
        dataset="a",
        manifest_hash="m",
        options=CodecOptions(size=size, display="shown"),
        clips=5,
        shard_clips=2,
        plan_hash="p",
    )


def test_the_attributes_of_a_square_store_keep_their_bytes() -> None:
    for size in (64, "64", "64x64"):
        assert attributes(size).model_dump_json() == SQUARE
    assert StoreAttributes.model_validate_json(SQUARE) == attributes(64)


def test_a_store_that_is_not_square_states_width_and_height() -> None:
    text = attributes("64x36").model_dump_json()
    assert text == SQUARE.replace('"size":64', '"size":"64x36"')
    options = StoreAttributes.model_validate_json(text).options
    assert options.size == FrameSize(height=36, width=64)
    assert options.grid == (3, 4)
