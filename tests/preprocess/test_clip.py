from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.clip import assemble, fit, frame_indices


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 512))
def test_the_square_lies_inside_the_scaled_frame(width: int, height: int, size: int) -> None:
    fitted = fit(width, height, size)
    assert min(fitted.width, fitted.height) == size
    assert fitted.left >= 0 and fitted.left + size <= fitted.width
    assert fitted.top >= 0 and fitted.top + size <= fitted.height
    assert abs(fitted.width / fitted.height * height - width) <= width / size + 1


def test_fit_of_a_wide_frame() -> None:
    fitted = fit(640, 480, 128)
    assert (fitted.width, fitted.height, fitted.left, fitted.top) == (171, 128, 21, 0)
    assert fitted.shrinks
    assert not fit(10, 20, 64).shrinks


def test_frame_indices() -> None:
    assert list(frame_indices(5, 4, 3)) == [5, 8, 11, 14]


@pytest.mark.parametrize("stride", [1, 3])
def test_assemble_gathers_overlapping_clips_and_drops_cut_ones(stride: int) -> None:
    frames = ((i, np.full((3, 1, 1), i, np.uint8)) for i in range(12))
    clips = dict(assemble(frames, [0, 2, 11], 3, stride))
    assert list(clips) == [0, 2]
    assert clips[2][:, 0, 0, 0].tolist() == [2, 2 + stride, 2 + 2 * stride]
    assert clips[0].shape == (3, 3, 1, 1)
