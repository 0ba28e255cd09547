from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import UserError
from train.models.hourglass import DownPath, Hourglass


def test_widths_double_up_to_the_greatest() -> None:
    assert DownPath(3, 8, 4, 32).widths == [8, 16, 32, 32, 32]


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 19), st.integers(4, 19))
def test_every_pixel_has_features_whatever_the_size(height: int, width: int) -> None:
    torch.manual_seed(0)
    network = Hourglass(5, 8, 2, 16)
    picture = torch.rand(1, 5, height, width)
    features = network(picture)
    assert features.shape == (1, network.outputs, height, width)
    assert features[:, -5:].equal(picture)  # the input is the outermost skip


def test_each_level_halves_and_rounds_up() -> None:
    features = DownPath(3, 8, 3, 64)(torch.rand(2, 3, 9, 16))
    assert [tuple(x.shape[1:]) for x in features] == [
        (3, 9, 16),
        (16, 5, 8),
        (32, 3, 4),
        (64, 2, 2),
    ]


def test_features_depend_on_far_pixels() -> None:
    torch.manual_seed(0)
    network = Hourglass(1, 8, 4, 32)
    picture = torch.rand(1, 1, 16, 16, requires_grad=True)
    network(picture)[0, 0, 0, 0].backward()
    assert picture.grad is not None
    assert picture.grad[0, 0, 15, 15] != 0


def test_rows_do_not_depend_on_each_other() -> None:
    torch.manual_seed(0)
    network = Hourglass(3, 8, 2, 16)
    pictures = torch.rand(3, 3, 8, 8)
    alone = torch.cat([network(picture[None]) for picture in pictures])
    assert torch.allclose(network(pictures), alone, atol=1e-5)


def test_pictures_that_cannot_be_halved_so_often_are_refused() -> None:
    with pytest.raises(UserError, match=r"40x16 cannot be halved 5 times.*fewer `halvings`"):
        Hourglass(3, 8, 5, 16)(torch.rand(1, 3, 16, 40))
