from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from shared.frame_size import MAX_SIDE_PX, FrameSize
from shared.schema import CodecOptions, StoreAttributes

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
