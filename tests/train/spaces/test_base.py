from __future__ import annotations

import pytest
import torch

from shared.errors import UserError
from tests.train.spaces.clips import codec_options
from train.spaces import Statistics, build_space
from train.spaces.codec import CodecSpaceOptions


def known() -> torch.Tensor:
    raw = torch.zeros(2, 3, 1, 1, 2)
    raw[:, 0] = torch.tensor([[[1.0, 3.0]]])
    raw[:, 1] = 7
    raw[0, 2], raw[1, 2] = -2, 4
    return raw


@pytest.mark.parametrize("pieces", [1, 2])
def test_statistics_of_known_data(pieces: int) -> None:
    statistics = Statistics.of(known().chunk(pieces))
    assert statistics.mean == (2, 7, 1)
    assert statistics.std == (1, 1, 3)


def test_a_space_behind_an_autoencoder_needs_one() -> None:
    with pytest.raises(UserError, match="'codec' needs an autoencoder"):
        build_space(CodecSpaceOptions(), codec_options())
