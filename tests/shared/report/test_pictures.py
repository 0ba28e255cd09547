from __future__ import annotations

import colorsys
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from shared.report.pictures import (
    Picture,
    add_legend,
    animation,
    contact_sheet,
    draw_cells,
    draw_vectors,
    enlarge,
    evenly_spaced,
    fitted,
    flow_colours,
    flow_legend,
    gif,
    grey_levels,
    grey_residual,
    longest_vector,
    over_frames,
    png,
    shrink,
    vector_film,
    webp,
)
from shared.schema import CodecOptions


@given(st.integers(1, 500), st.integers(1, 20))
def test_positions_are_evenly_spaced_from_the_first_to_the_last(total: int, most: int) -> None:
    shown = evenly_spaced(total, most)
    assert len(shown) == min(total, most)
    assert (np.diff(shown) > 0).all()
    assert shown[0] == 0
    assert most == 1 or shown[-1] == total - 1
    assert len(shown) < 3 or np.ptp(np.diff(shown)) <= 1


def film(frames: int = 5, height: int = 6, width: int = 9, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 250, (frames, 3, height, width), np.uint8)


def test_a_sheet_has_a_row_a_film_and_a_column_a_frame() -> None:
    one, other = film(seed=1), film(3, seed=2)
    sheet = contact_sheet([one, other], gap=2)
    assert sheet.shape == (2 * 6 + 2, 5 * 9 + 4 * 2, 3)
    assert np.array_equal(sheet[:6, 11:20], one[1].transpose(1, 2, 0))
    assert np.array_equal(sheet[8:14, 22:31], other[2].transpose(1, 2, 0))
    assert (sheet[6:8] == 255).all()
    assert (sheet[8:, 33:] == 255).all()


def test_a_sheet_can_skip_frames() -> None:
    sheet = contact_sheet([film()], every=2, gap=0)
    assert np.array_equal(sheet[:, 9:18], film()[2].transpose(1, 2, 0))
    assert sheet.shape == (6, 27, 3)


def test_enlarging_repeats_pixels() -> None:
    large = enlarge(film(), 3)
    assert large.shape == (5, 3, 18, 27)
    assert all(np.array_equal(large[..., y::3, x::3], film()) for y in range(3) for x in range(3))


def test_residuals_lie_around_mid_grey() -> None:
    residual = np.array([-255, -128, -1, 0, 1, 127, 255], np.int16).reshape(1, 1, 1, 7)
    assert grey_residual(residual).ravel().tolist() == [0, 0, 127, 128, 129, 255, 255]


def test_vectors_are_drawn_where_blocks_moved_and_nowhere_else() -> None:
    clip = np.full((3, 3, 24, 24), 100, np.uint8)
    motion = np.zeros((2, 2, 3, 3), np.int8)
    motion[1, :, 1, 1] = (-2, 1)
    drawn = draw_vectors(clip, motion, block=8, vector_unit=1, factor=4)
    assert drawn.shape == (2, 3, 96, 96)
    assert np.array_equal(drawn[0], enlarge(clip[1:2], 4)[0])
    rows, columns = np.nonzero((drawn[1] != 100).any(axis=0))
    assert 32 <= rows.min() <= rows.max() < 64
    assert 32 <= columns.min() <= columns.max() < 64
    # To the centre at (48, 48) from two pixels left and one down of it, four times enlarged.
    assert tuple(drawn[1, :, 52, 40]) == tuple(drawn[1, :, 51, 42]) == (220, 30, 30)
    assert tuple(drawn[1, :, 48, 47]) == (255, 220, 0)
    assert tuple(drawn[1, :, 44, 56]) == (100, 100, 100)


def test_vectors_in_fractions_of_a_pixel_are_drawn_to_scale() -> None:
    clip = np.full((2, 3, 24, 24), 100, np.uint8)
    whole, quarters = np.zeros((2, 1, 2, 3, 3), np.int8)
    whole[0, :, 1, 1], quarters[0, :, 1, 1] = (-2, 1), (-8, 4)
    drawn = draw_vectors(clip, whole, block=8, vector_unit=1)
    assert np.array_equal(draw_vectors(clip, quarters, block=8, vector_unit=4), drawn)
    assert not np.array_equal(draw_vectors(clip, quarters, block=8, vector_unit=1), drawn)


@pytest.mark.parametrize(("size", "factor"), [(24, 13), (400, 1), ("24x10", 13), ("10x24", 13)])
def test_a_film_of_vectors_shows_frames_of_about_the_same_size(
    size: int | str, factor: int
) -> None:
    options = CodecOptions(size=size, frames=6, block=8)
    clip = np.random.default_rng(0).integers(0, 250, (6, 3, *options.size), np.uint8)
    motion = np.zeros((5, 2, *options.grid), np.int8)
    motion[:, 0] = np.arange(-2, 3)[:, None, None]
    drawn = vector_film(clip, motion, options, 3)
    expected = draw_vectors(clip, motion, block=8, vector_unit=1, factor=factor)
    assert np.array_equal(drawn, expected[[0, 2, 4]])


def vectors(*ends: tuple[float, float]) -> NDArray[np.float32]:
    """A flow of one row, shape (2, 1, N)."""
    return np.array(ends, np.float32).T[:, None]


def colours_of(flow: NDArray[np.float32], longest: float) -> list[tuple[int, ...]]:
    """RGB of each vector of a single row."""
    return [tuple(colour) for colour in flow_colours(flow, longest)[:, 0].T.tolist()]


def test_colours_of_the_four_directions_and_of_no_motion() -> None:
    right, down, left, up, none = colours_of(vectors((2, 0), (0, 2), (-2, 0), (0, -2), (0, 0)), 2)
    assert right == (255, 0, 0)
    assert down == (128, 255, 0)
    assert left == (0, 255, 255)
    assert up == (128, 0, 255)
    assert none == (255, 255, 255)


def test_colours_fade_with_the_length_and_are_full_at_the_longest() -> None:
    flow = vectors((0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (9, 0))
    assert colours_of(flow, 4) == [(255, k, k) for k in (255, 191, 128, 64, 0, 0)]
    assert longest_vector(flow) == 9
    assert longest_vector(vectors((3, -4), (1, 2))) == 5
    assert colours_of(vectors((0, 0)), 0) == [(255, 255, 255)]


@given(
    st.integers(0, 2**32 - 1), st.floats(-7, 7), st.floats(0.01, 100), st.sampled_from([(), (2, 3)])
)
def test_turned_vectors_have_turned_hues(
    seed: int, angle: float, longest: float, clips: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(seed)
    direction = rng.uniform(0, 2 * np.pi, (*clips, 4, 5))
    length = rng.uniform(0.5, 1, direction.shape) * longest

    def hsv(turn: float) -> NDArray[np.float64]:
        ends = np.stack([np.cos(direction + turn), np.sin(direction + turn)], axis=-3)
        drawn = np.moveaxis(flow_colours(length[..., None, :, :] * ends, longest), -3, -1)
        assert drawn.shape == (*direction.shape, 3)
        return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in drawn.reshape(-1, 3) / 255])

    plain, turned = hsv(0), hsv(angle)
    # Both are rounded to 1/255: hues of at least half saturation are right to 1/350.
    moved = turned[:, 0] - plain[:, 0] - angle / (2 * np.pi)
    assert abs(moved - moved.round()).max() < 2 / 350
    assert turned[:, 1] == pytest.approx(length.ravel() / longest, abs=1 / 255)
    assert (turned[:, 2] == 1).all()


@given(st.floats(0.01, 1000), st.floats(0, 1), st.floats(0, 2 * np.pi))
def test_places_of_the_legend_have_the_colours_of_their_vectors(
    longest: float, length: float, direction: float
) -> None:
    legend, middle, radius = flow_legend(longest), 54, 40
    x, y = (round(radius * length * of(direction)) for of in (np.cos, np.sin))
    [colour] = colours_of(vectors((x * longest / radius, y * longest / radius)), longest)
    assert legend[middle + y, middle + x].tolist() == pytest.approx(colour, abs=1)


def test_the_legend_names_its_length_and_points_to_four_sides() -> None:
    legends = [flow_legend(longest) for longest in (3.21, 3.214, 32.1)]
    assert np.array_equal(legends[0], legends[1]), "three digits"
    changed = (legends[0] != legends[2]).any(axis=-1)
    wheel = 109
    assert changed[wheel:].any() and not changed[:wheel].any()
    ink = (legends[0][:wheel] == 40).all(axis=-1)
    for turns in range(4):
        # The tip of a triangle ten pixels from the wheel's edge, and not in the corners.
        turned = np.rot90(ink, turns)
        assert turned[54, 100] and turned[45:64, 96:].sum() == turned[:, 96:].sum()


def test_greys_go_from_black_to_white() -> None:
    maps = np.array([0, 0.25, 0.5, 1], np.float32).reshape(2, 1, 1, 1, 2)
    drawn = grey_levels(maps)
    assert drawn.shape == (2, 1, 3, 1, 2)
    assert (drawn == drawn[:, :, :1]).all()
    assert drawn[:, 0, 0].ravel().tolist() == [0, 64, 128, 255]


def test_all_clips_of_a_picture_have_one_scale() -> None:
    flow = np.zeros((2, 3, 2, 4, 4), np.float32)
    flow[0, 1, :, 2, 3] = (0.3, 0.4)
    flow[1, 2, 0, 0, 0] = -2
    drawn, legend = draw_cells(flow, "colours")
    assert np.array_equal(drawn, flow_colours(flow, 2.0))
    assert drawn[1, 2, :, 0, 0].tolist() == [0, 255, 255]
    assert legend is not None and np.array_equal(legend, flow_legend(2.0))
    maps = np.random.default_rng(0).random((2, 3, 1, 4, 4))
    drawn, legend = draw_cells(maps, "greys")
    assert np.array_equal(drawn, grey_levels(maps)) and legend is None


@pytest.mark.parametrize(("height", "width"), [(16, 16), (14, 16), (13, 15), (64, 32)])
def test_cells_lie_over_the_frames_that_they_cover(height: int, width: int) -> None:
    grid = -(-height // 4), -(-width // 4)
    cells = np.random.default_rng(0).integers(0, 256, (2, 3, *grid), np.uint8)
    large = over_frames(cells, height, width)
    assert large.shape == (2, 3, height, width)
    for y, x in np.ndindex(height, width):
        assert (large[..., y, x] == cells[..., y // 4, x // 4]).all()


@pytest.mark.parametrize(("picture_px", "legend_px"), [(9, 5), (5, 9), (5, 5)])
def test_a_legend_is_right_of_the_picture_on_white(picture_px: int, legend_px: int) -> None:
    picture: Picture = np.full((picture_px, 7, 3), 10, np.uint8)
    both = add_legend(picture, np.full((legend_px, 4, 3), 20, np.uint8))
    assert both.shape == (max(picture_px, legend_px), 11, 3)
    for side, pixels, level in ((both[:, :7], picture_px, 10), (both[:, 7:], legend_px, 20)):
        assert (side[:pixels] == level).all() and (side[pixels:] == 255).all()


def test_pictures_are_lossless() -> None:
    picture = film()[0].transpose(1, 2, 0)
    assert np.array_equal(np.asarray(Image.open(BytesIO(png(picture)))), picture)


def test_small_files_look_the_same() -> None:
    picture = np.add.outer(np.arange(64), np.arange(64))[..., None].repeat(3, 2).astype(np.uint8)
    shown = np.asarray(Image.open(BytesIO(webp(picture))))
    assert abs(shown.astype(int) - picture).mean() < 2


def test_large_frames_are_shrunk_to_means_and_small_ones_are_not() -> None:
    large = film(2, 40, 60)
    small = shrink(large, 30)
    assert small.shape == (2, 3, 20, 30)
    means = large.reshape(2, 3, 20, 2, 30, 2).mean(axis=(3, 5))
    assert abs(small - means).max() <= 1
    assert shrink(large, 60) is large


def test_animations_are_lossless_and_rest_on_the_last_frame() -> None:
    clip = film()
    with Image.open(BytesIO(animation(clip, fps=8))) as image:
        assert image.n_frames == len(clip)
        assert image.info["loop"] == 0
        durations = []
        for n, frame in enumerate(clip):
            image.seek(n)
            # Pillow reads a frame's duration with its pixels.
            assert np.array_equal(np.asarray(image.convert("RGB")), frame.transpose(1, 2, 0))
            durations.append(image.info["duration"])
    assert durations == [125] * (len(clip) - 1) + [800]


def test_a_gif_has_every_frame_in_one_palette_and_repeats() -> None:
    # Few enough colours to be kept, and a place that does not change must not flicker.
    colours = film(1, 4, 4)[0]
    clip = np.stack([np.roll(colours, n, axis=2) for n in range(4)])
    clip[:, :, 0, 0] = 77
    with Image.open(BytesIO(gif(clip, fps=10))) as image:
        assert (image.n_frames, image.info["loop"], image.info["duration"]) == (4, 0, 100)
        for n, frame in enumerate(clip):
            image.seek(n)
            shown = np.asarray(image.convert("RGB")).transpose(2, 0, 1).astype(int)
            assert abs(shown - frame).max() <= 8
            assert shown[:, 0, 0].tolist() == pytest.approx([77] * 3, abs=8)


def test_a_gif_takes_its_colours_from_a_picture() -> None:
    wheel = flow_legend(3)
    clip = np.full((2, 3, 8, 8), 255, np.uint8)
    clip[1, :, 2:5, 2:5] = np.reshape((0, 255, 255), (3, 1, 1))
    with Image.open(BytesIO(gif(clip, fps=8, colours=wheel))) as image:
        for n, frame in enumerate(clip):
            image.seek(n)
            shown = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            assert abs(shown.astype(int) - frame).max() < 16
    shown = np.asarray(Image.open(BytesIO(gif(clip, fps=8, colours=wheel[:2, :2]))).convert("RGB"))
    assert (shown == 255).all(), "a white picture has no other colour"


def test_a_gif_is_no_faster_than_players_take() -> None:
    with Image.open(BytesIO(gif(film(), fps=120))) as image:
        assert image.info["duration"] == 20


def test_fitted_films_have_whole_pixels_if_they_are_small() -> None:
    small = film()
    side = max(small.shape[-2:])
    assert np.array_equal(fitted(small, 3 * side + side // 2), enlarge(small, 3))
    assert np.array_equal(fitted(enlarge(small, 4), 2 * side), shrink(enlarge(small, 4), 2 * side))
