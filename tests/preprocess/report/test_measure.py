from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.report.measure import (
    CLIPS_IN_ALL,
    CLIPS_PER_LABEL,
    MAX_LABELS,
    NO_LABEL,
    Clip,
    Statistics,
    block_energy,
    draw_sample,
    longest_vectors,
    mean_length_px,
    psnr,
)
from shared.conventions import FrameSize, Reference
from shared.motion_compensation import residual
from shared.schema import CodecOptions

OPTIONS = CodecOptions(size=10, frames=3, block=4, search_range=2)


def clip_of(frames: np.ndarray, motion: np.ndarray, options: CodecOptions = OPTIONS) -> Clip:
    return Clip(frames, motion, residual(frames, motion, options.codec))


def random_clip(seed: int, options: CodecOptions = OPTIONS) -> Clip:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (options.frames, 3, *options.size), np.uint8)
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
    statistics, clips = Statistics(options), [random_clip(seed, options) for seed in range(3)]
    for clip in clips:
        statistics.add(clip)
    before = after = 0.0
    for clip in clips:
        f = clip.frames.astype(float)
        before += ((f[1:] - (f[:1] if reference == "first" else f[:-1])) ** 2).sum()
        after += (clip.residual.astype(float) ** 2).sum()
    assert statistics.before.sum() == statistics.frame_before.sum() == before
    assert statistics.after.sum() == statistics.frame_after.sum() == after
    assert (statistics.clips, statistics.blocks, statistics.frame_values) == (3, 3 * 2 * 9, 900)


def test_vectors_and_residuals_are_counted_by_value() -> None:
    statistics, clip = Statistics(OPTIONS), random_clip(0)
    statistics.add(clip)
    for axis in range(2):
        for value in range(-128, 128):
            assert statistics.vectors[axis, value + 128] == (clip.motion[:, axis] == value).sum()
    for value in (-255, -17, 0, 1, 255):
        assert statistics.residuals[value + 255] == (clip.residual == value).sum()
    assert statistics.residuals.sum() == clip.residual.size
    assert statistics.moving == (clip.motion != 0).any(axis=1).sum()


def test_a_block_that_its_vector_predicts_leaves_no_energy() -> None:
    """One block moves by a whole pixel over an even ground: its vector explains all of it."""
    frames = np.full((2, 3, 12, 12), 50, np.uint8)
    texture = np.random.default_rng(0).integers(100, 200, (3, 4, 4))
    frames[0, :, 4:8, 3:7] = texture
    frames[1, :, 4:8, 4:8] = texture
    motion = np.zeros((1, 2, 3, 3), np.int8)
    motion[0, :, 1, 1] = (-1, 0)
    options = OPTIONS.model_copy(update={"size": FrameSize(12, 12), "frames": 2})
    statistics = Statistics(options)
    statistics.add(clip_of(frames, motion, options))
    assert statistics.after[1, 1] == 0 < statistics.before[1, 1]
    # The uncovered column on the left lies in a block with a zero vector, which keeps its energy.
    assert statistics.after[1, 0] == statistics.before[1, 0] > 0
    assert (statistics.still, statistics.unmoved) == (7, 1)
    assert statistics.block_ratios.tolist() == [1] + [0] * (len(statistics.block_ratios) - 1)


def test_every_block_is_counted_once() -> None:
    statistics = Statistics(OPTIONS)
    for seed in range(4):
        statistics.add(random_clip(seed))
    counted = statistics.block_ratios.sum() + statistics.still + statistics.unmoved
    assert counted == statistics.blocks


def test_psnr_is_in_decibels_of_grey_levels() -> None:
    assert psnr(np.array([255.0**2, 1.0, 0.0])) == pytest.approx(
        [0, 48.1308036, np.nan], nan_ok=True
    )


def test_the_clips_that_move_most_are_of_different_videos() -> None:
    measured, lengths = np.array([2, 4, 5, 9]), [0.5, 3, 2, 1]
    videos = ["a"] * 3 + ["b"] * 3 + ["c"] * 4
    assert longest_vectors(lengths, measured, videos, 3) == [4, 9, 2]
    assert longest_vectors(lengths, measured, videos, 1) == [4]


def test_lengths_are_in_pixels() -> None:
    motion = np.zeros((1, 2, 1, 2), np.int8)
    motion[0, :, 0, 0] = (3, 4)
    assert mean_length_px(motion, 1) == 2.5
    assert mean_length_px(motion, 4) == 0.625


NAMES = tuple(f"label {i}" for i in range(200))


@given(
    st.lists(st.tuples(st.integers(-1, 60), st.integers(-1, 5)), min_size=1, max_size=300),
    st.integers(1, 400),
    st.integers(0, 9),
)
def test_a_sample_is_of_the_store_and_of_its_labels(
    pairs: list[tuple[int, int]], count: int, seed: int
) -> None:
    label, subject = np.array(pairs, np.int16).T
    sample = draw_sample(label, subject, NAMES, count, seed)
    assert len(sample.measured) == min(count, len(label))
    assert (np.diff(sample.measured) > 0).all()
    assert set(sample.measured.tolist()) <= set(range(len(label)))
    assert sample.labels == len(np.unique(label))
    assert len(sample.shown) == min(sample.labels, MAX_LABELS)
    for name, clips in sample.shown.items():
        index = -1 if name == NO_LABEL else NAMES.index(name)
        there = np.count_nonzero(label == index)
        most = max(CLIPS_PER_LABEL, CLIPS_IN_ALL // sample.labels)
        assert len(set(clips.tolist())) == len(clips) == min(there, most)
        assert (label[clips] == index).all()
        people = len(np.unique(subject[label == index]))
        assert len(np.unique(subject[clips])) == min(people, len(clips))
    again = draw_sample(label, subject, NAMES, count, seed)
    assert np.array_equal(again.measured, sample.measured)
    assert all(np.array_equal(again.shown[n], clips) for n, clips in sample.shown.items())


def test_another_seed_draws_other_clips() -> None:
    label, subject = np.zeros((2, 1000), np.int16)
    one, other = (draw_sample(label, subject, NAMES, 20, seed) for seed in (0, 1))
    assert not np.array_equal(one.measured, other.measured)


def test_clips_without_label_come_last() -> None:
    label = np.array([-1, 1, 0], np.int16)
    sample = draw_sample(label, np.zeros(3, np.int16), NAMES, 3, 0)
    assert list(sample.shown) == ["label 0", "label 1", NO_LABEL]


def test_a_million_clips_are_sampled_in_seconds() -> None:
    rng = np.random.default_rng(0)
    label, subject = rng.integers(0, 200, (2, 1_000_000)).astype(np.int16)
    started = time.monotonic()
    sample = draw_sample(label, subject, NAMES, 256, 0)
    assert time.monotonic() - started < 10
    assert (len(sample.measured), len(sample.shown)) == (256, MAX_LABELS)
