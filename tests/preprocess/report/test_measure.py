from __future__ import annotations

import numpy as np
import pytest

from preprocess.report.measure import Clip, Measured, block_energy
from preprocess.report.page import psnr
from preprocess.report.sheets import mean_length_px, most_moving
from shared.conventions import Reference
from shared.motion_compensation import residual
from shared.schema import CodecOptions

OPTIONS = CodecOptions(size=10, frames=3, block=4, search_range=2)


def clip_of(frames: np.ndarray, motion: np.ndarray, options: CodecOptions = OPTIONS) -> Clip:
    rest = residual(
        frames,
        motion,
        options.codec,
    )
    return Clip(frames, motion, rest)


def random_clip(seed: int, options: CodecOptions = OPTIONS) -> Clip:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (options.frames, 3, options.size, options.size), np.uint8)
    motion = rng.integers(-2, 3, (options.frames - 1, 2, *options.grid)).astype(np.int8)
    return clip_of(frames, motion, options)


@pytest.mark.parametrize("block", [4, 8, 16])
def test_block_energies_are_sums_of_squares_over_cut_blocks(block: int) -> None:
    values = np.random.default_rng(0).integers(-255, 256, (2, 3, 10, 13))
    found = block_energy(values, block)
    assert found.shape == (2, -(-10 // block), -(-13 // block))
    for (t, y, x), energy in np.ndenumerate(found):
        part = values[t, :, y * block : (y + 1) * block, x * block : (x + 1) * block]
        assert energy == (part.astype(float) ** 2).sum()


@pytest.mark.parametrize("reference", ["previous", "first"])
def test_energies_by_block_and_by_frame_are_those_of_all_pixels(reference: Reference) -> None:
    options = OPTIONS.model_copy(update={"reference": reference})
    measured, clips = Measured(options), [random_clip(seed, options) for seed in range(3)]
    for clip in clips:
        measured.add(clip)
    before = after = 0.0
    for clip in clips:
        f = clip.frames.astype(float)
        before += ((f[1:] - (f[:1] if reference == "first" else f[:-1])) ** 2).sum()
        after += (clip.residual.astype(float) ** 2).sum()
    assert measured.before.sum() == measured.frame_before.sum() == before
    assert measured.after.sum() == measured.frame_after.sum() == after
    assert (measured.clips, measured.blocks, measured.pixels) == (3, 3 * 2 * 9, 300)


def test_vectors_and_residuals_are_counted_by_value() -> None:
    measured, clip = Measured(OPTIONS), random_clip(0)
    measured.add(clip)
    for axis in range(2):
        for value in range(-128, 128):
            assert measured.vectors[axis, value + 128] == (clip.motion[:, axis] == value).sum()
    for value in (-255, -17, 0, 1, 255):
        assert measured.residuals[value + 255] == (clip.residual == value).sum()
    assert measured.residuals.sum() == clip.residual.size
    assert measured.moving == (clip.motion != 0).any(axis=1).sum()


def test_what_vectors_explain_leaves_no_energy() -> None:
    """One block moves by a whole pixel over an even ground: its vector explains all of it."""
    frames = np.full((2, 3, 12, 12), 50, np.uint8)
    texture = np.random.default_rng(0).integers(100, 200, (3, 4, 4))
    frames[0, :, 4:8, 3:7] = texture
    frames[1, :, 4:8, 4:8] = texture
    motion = np.zeros((1, 2, 3, 3), np.int8)
    motion[0, :, 1, 1] = (-1, 0)
    options = OPTIONS.model_copy(update={"size": 12, "frames": 2})
    measured = Measured(options)
    measured.add(clip_of(frames, motion, options))
    assert measured.after[1, 1] == 0 < measured.before[1, 1]
    # What was uncovered on the left lies in a block with a zero vector: all of it is left.
    assert measured.after[1, 0] == measured.before[1, 0] > 0
    assert (measured.still, measured.unmoved) == (7, 1)
    assert measured.block_shares.tolist() == [1] + [0] * (len(measured.block_shares) - 1)


def test_every_block_is_counted_once() -> None:
    measured = Measured(OPTIONS)
    for seed in range(4):
        measured.add(random_clip(seed))
    counted = measured.block_shares.sum() + measured.still + measured.unmoved
    assert counted == measured.blocks


def test_psnr_is_in_decibels_of_grey_levels() -> None:
    assert psnr(np.array([255.0**2, 1.0, 0.0])) == pytest.approx(
        [0, 48.1308036, np.nan], nan_ok=True
    )


def test_the_clips_that_move_most_are_of_different_videos() -> None:
    measured, motion = np.array([2, 4, 5, 9]), np.array([0.5, 3, 2, 1])
    videos = ["a"] * 3 + ["b"] * 3 + ["c"] * 4
    assert most_moving(motion, measured, videos, 3).tolist() == [4, 9, 2]
    assert most_moving(motion, measured, videos, 1).tolist() == [4]


def test_lengths_are_in_pixels() -> None:
    motion = np.zeros((1, 2, 1, 2), np.int8)
    motion[0, :, 0, 0] = (3, 4)
    assert mean_length_px(motion, 1) == 2.5
    assert mean_length_px(motion, 4) == 0.625
