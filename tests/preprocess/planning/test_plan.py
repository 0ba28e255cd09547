from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from preprocess.planning.plan import (
    MAX_SHARD_CLIPS,
    Frames,
    assemble,
    choose_clips,
    make_plan,
    shard_clips,
    span,
    video_clips,
)
from preprocess.records import Probe, Segment, Times, Video
from shared.schema import ClipPolicy, CodecOptions


def video(path: str = "a.mp4", segments: tuple[Segment, ...] = (), size_bytes: int = 1) -> Video:
    return Video(path, "jump", None, size_bytes, 1, segments)


@given(
    frames=st.integers(0, 300),
    length=st.integers(2, 20),
    stride=st.integers(1, 5),
    cut=st.integers(0, 300),
)
def test_clips_fit_their_segments_and_never_overlap(
    frames: int, length: int, stride: int, cut: int
) -> None:
    options = CodecOptions(frames=length, stride=stride)
    segments = (Segment(0, cut), Segment(cut, 400))
    used: list[int] = []
    of_video = video_clips(video(segments=segments), Probe(frames, 8, 8), options)
    for segment, clips in zip(segments, of_video, strict=True):
        for indices in clips:
            assert segment.start <= indices[0] and indices[-1] < min(segment.stop, frames)
            used += indices
    assert used == sorted(set(used))


def test_a_segment_gives_its_own_span() -> None:
    options = CodecOptions(frames=3, clips="span")
    segments = (Segment(0, 9), Segment(9, 11), Segment(20, 31))
    of_video = video_clips(video(segments=segments), Probe(40, 8, 8), options)
    assert of_video == [[(0, 4, 8)], [], [(20, 25, 30)]]
    plan = make_plan([video(segments=segments)], {"a.mp4": Probe(40, 8, 8)}, options)
    assert [clip.segment for clip in plan.clips] == [0, 2]
    assert plan.rejects[0].reason == "1 of 3 segments are too short; one clip needs 3"


def test_the_plan_does_not_depend_on_other_videos() -> None:
    """A random clip of a video is the same with and without other videos."""
    options = CodecOptions(frames=4, clips="random_sorted")
    probes = {name: Probe(50, 8, 8) for name in ("a.mp4", "b.mp4")}
    both = make_plan([video(), video("b.mp4")], probes, options).clips
    assert both[1:] == make_plan([video("b.mp4")], probes, options).clips


def test_taken_by_time() -> None:
    options = CodecOptions(frames=4, fps=10)
    times = Times(tuple(range(0, 400, 40)), 400, Fraction(1, 1000))  # 25 frames a second
    plan = make_plan([video()], {"a.mp4": Probe(10, 8, 8, times=times)}, options)
    assert [tuple(clip.frames) for clip in plan.clips] == [(0, 2, 5, 7)]
    probes = {"a.mp4": Probe(10, 8, 8, "cut short", times)}
    [reject] = make_plan([video()], probes, CodecOptions(fps=10)).rejects
    assert reject.reason == (
        "cut short; 4 frames at 10 frames a second; one clip at stride 1 needs 16"
    )


def test_a_video_too_short_is_rejected_with_numbers() -> None:
    plan = make_plan([video()], {"a.mp4": Probe(18, 64, 64)}, CodecOptions(stride=3))
    assert plan.clips == ()
    assert plan.rejects[0].reason == "18 frames; one clip at stride 3 needs 46"


def test_shards_depend_on_the_options_alone() -> None:
    assert shard_clips(CodecOptions(size=128)) == 64
    assert shard_clips(CodecOptions(size=256)) == 16
    assert shard_clips(CodecOptions(size=4096, frames=64)) == 1
    assert shard_clips(CodecOptions(size=8)) == MAX_SHARD_CLIPS


def test_partitions_hold_every_clip_once() -> None:
    plan = make_plan([video()], {"a.mp4": Probe(16 * 130, 64, 64)}, CodecOptions())
    parts = [plan.partition(p) for p in range(-(-len(plan.clips) // plan.shard_clips))]
    assert [len(part) for part in parts] == [64, 64, 2]
    assert sum(parts, ()) == plan.clips


def test_the_plan_hash_notices_other_files_but_not_unused_ones() -> None:
    probes = {"a.mp4": Probe(16, 8, 8), "b.mp4": Probe(3, 8, 8)}
    options = CodecOptions()
    plain = make_plan([video()], probes, options).hash
    assert make_plan([video(), video("b.mp4")], probes, options).hash == plain
    assert make_plan([video(size_bytes=2)], probes, options).hash != plain


POLICIES = st.sampled_from(["windows", "span", "random_sorted", "jittered", "random_stride"])
RANDOM = st.sampled_from(["random_sorted", "jittered"])


def policy_options(
    policy: ClipPolicy = "windows", frames: int = 16, **others: object
) -> CodecOptions:
    return CodecOptions.model_validate({"clips": policy, "frames": frames, **others})


@given(POLICIES, st.integers(0, 300), st.integers(2, 20), st.integers(0, 50))
def test_clips_are_ascending_frames_of_what_there_is(
    policy: ClipPolicy, count: int, frames: int, first: int
) -> None:
    sampled = range(first, first + count)
    clips = choose_clips(sampled, policy_options(policy, frames), "a.mp4#0")
    assert bool(clips) == (count >= frames)
    for clip in clips:
        assert len(clip) == frames
        # Two neighbours of a jittered clip may move to one frame.
        assert list(clip) == sorted(clip if policy == "jittered" else set(clip))
        assert set(clip) <= set(sampled)


@given(st.integers(0, 300), st.integers(2, 20), st.integers(1, 5), st.integers(1, 60))
def test_windows_begin_a_hop_apart_as_long_as_they_fit(
    count: int, frames: int, stride: int, hop: int
) -> None:
    wanted = policy_options(frames=frames, stride=stride, hop=hop)
    starts = [clip[0] for clip in choose_clips(range(count), wanted, "a")]
    assert starts == [s for s in range(0, count, hop) if s + span(wanted) <= count]


def test_windows_are_consecutive_unless_told_otherwise() -> None:
    def starts(count: int, **others: int) -> list[int]:
        return [clip[0] for clip in choose_clips(range(count), policy_options(**others), "a")]

    assert starts(48) == [0, 16, 32]
    assert starts(47) == [0, 16]
    assert starts(48, stride=3) == [0]
    assert starts(46, stride=3) == [0]
    assert starts(45, stride=3) == []
    assert starts(24, hop=4) == [0, 4, 8]


def test_windows_of_consecutive_frames_stay_small_in_memory() -> None:
    [clip] = choose_clips(range(5, 52), policy_options(stride=3), "a")
    assert clip == range(5, 51, 3)


@given(st.integers(16, 400))
def test_span_reaches_from_end_to_end_evenly(count: int) -> None:
    [clip] = choose_clips(range(7, 7 + count), policy_options("span"), "a")
    assert (clip[0], clip[-1]) == (7, 6 + count)
    assert np.ptp(np.diff(clip)) <= 1


def test_random_frames_depend_on_seed_and_name_alone() -> None:
    def drawn(name: str = "a.mp4#0", seed: int = 0) -> tuple[int, ...]:
        [clip] = choose_clips(range(100), policy_options("random_sorted", seed=seed), name)
        return tuple(clip)

    # Pinned: another draw would change existing stores.
    assert drawn() == (3, 4, 18, 22, 33, 40, 42, 48, 53, 58, 62, 73, 75, 82, 85, 86)
    assert drawn() == drawn()
    assert len({drawn(), drawn(seed=1), drawn("a.mp4#1"), drawn("b.mp4#0")}) == 4


def test_every_frame_is_as_likely_as_any_other() -> None:
    counts = np.zeros(20)
    for seed in range(2000):
        [clip] = choose_clips(range(20), policy_options("random_sorted", 5, seed=seed), "a")
        counts[list(clip)] += 1
    assert counts == pytest.approx(500, abs=90)  # 4.6 standard deviations


@given(st.integers(2, 20), st.integers(0, 200), st.integers(0, 99), st.integers(1, 4))
def test_jittered_frames_stay_between_their_neighbours_on_the_grid(
    frames: int, more: int, seed: int, draws: int
) -> None:
    count = frames + more
    options = policy_options("jittered", frames, seed=seed, draws=draws)
    clips = choose_clips(range(5, 5 + count), options, "a")
    assert len(clips) == draws
    # Each part of the way from the first frame to the last, rounded, halves up.
    exact = [Fraction(n * (count - 1), frames - 1) for n in range(frames)]
    grid = [5 + math.floor(place + Fraction(1, 2)) for place in exact]
    for clip in clips:
        assert (clip[0], clip[-1]) == (grid[0], grid[-1])
        for n in range(1, frames - 1):
            assert grid[n - 1] < clip[n] < grid[n + 1]
        if not more:
            assert list(clip) == grid


def test_a_jittered_frame_is_as_likely_anywhere() -> None:
    """Of three frames the middle one may be any between; of five the second, below the third's."""
    counts = np.zeros(11)
    for seed in range(2000):
        [clip] = choose_clips(range(11), policy_options("jittered", 3, seed=seed), "a")
        counts[clip[1]] += 1
    assert counts[[0, 10]].tolist() == [0, 0]
    assert counts[1:10] == pytest.approx(2000 / 9, abs=65)  # 4.6 standard deviations
    found = {
        choose_clips(range(9), policy_options("jittered", 5, seed=seed), "a")[0]
        for seed in range(500)
    }
    # 1 to 3, 3 to 5 and 5 to 7, each alone, in order: 3 x 3 x 3 of them, all different.
    moves = product((1, 2, 3), (3, 4, 5), (5, 6, 7))
    assert found == {(0, *sorted(move), 8) for move in moves}


def test_jittered_frames_depend_on_seed_name_and_draw_alone() -> None:
    def drawn(name: str = "a.mp4#0", seed: int = 0) -> list[Frames]:
        return choose_clips(range(100), policy_options("jittered", seed=seed, draws=2), name)

    # Pinned: another draw would change existing stores.
    assert drawn() == [
        (0, 11, 12, 15, 22, 36, 39, 42, 52, 65, 70, 74, 83, 87, 91, 99),
        (0, 3, 9, 24, 29, 30, 40, 49, 49, 65, 66, 76, 78, 87, 97, 99),
    ]
    assert len({*drawn(), *drawn(seed=1), *drawn("a.mp4#1"), *drawn("b.mp4#0")}) == 8


@given(st.integers(2, 20), st.integers(0, 200), st.integers(1, 12), st.integers(0, 99))
def test_a_random_stride_is_one_that_fits(frames: int, more: int, stride: int, seed: int) -> None:
    count = frames + more
    options = policy_options("random_stride", frames, stride=stride, seed=seed, draws=3)
    for clip in choose_clips(range(5, 5 + count), options, "a"):
        [step] = set(np.diff(clip))
        assert 1 <= step <= stride
        assert len(clip) == frames and clip[0] >= 5 and clip[-1] < 5 + count


def test_every_stride_and_place_that_fits_is_as_likely() -> None:
    """Of 9 frames, 3 at stride 1 have 7 places, at 2 five, at 3 three, at 4 one."""
    found = Counter(
        choose_clips(range(9), policy_options("random_stride", 3, stride=9, seed=seed), "a")[0]
        for seed in range(3000)
    )
    by_stride = {
        stride: [n for clip, n in found.items() if clip[1] - clip[0] == stride]
        for stride in range(1, 10)
    }
    assert [len(by_stride[stride]) for stride in range(1, 10)] == [7, 5, 3, 1, 0, 0, 0, 0, 0]
    for counts in list(by_stride.values())[:4]:
        assert sum(counts) == pytest.approx(750, abs=110)  # 4.6 standard deviations
        assert counts == pytest.approx([750 / len(counts)] * len(counts), abs=75)


def test_random_strides_depend_on_seed_name_and_draw_alone() -> None:
    def drawn(name: str = "a.mp4#0", seed: int = 0) -> list[Frames]:
        options = policy_options("random_stride", 5, stride=9, seed=seed, draws=2)
        return choose_clips(range(100), options, name)

    # Pinned: another draw would change existing stores.
    assert drawn() == [range(58, 95, 9), range(23, 28)]
    assert len({*drawn(), *drawn(seed=1), *drawn("a.mp4#1"), *drawn("b.mp4#0")}) == 8


@given(RANDOM, st.integers(30, 60), st.integers(1, 5), st.integers(0, 5))
def test_more_draws_leave_the_first_as_they_were(
    policy: ClipPolicy, count: int, draws: int, more: int
) -> None:
    few, many = (
        choose_clips(range(count), policy_options(policy, 5, draws=n), "a")
        for n in (draws, draws + more)
    )
    assert many[:draws] == few
    assert len(set(many)) == draws + more


def test_every_draw_is_a_clip_of_its_own_on_the_side_of_its_video() -> None:
    videos = [video("a.mp4"), video("b.mp4", (Segment(0, 20), Segment(20, 22), Segment(30, 60)))]
    probes = {"a.mp4": Probe(50, 8, 8), "b.mp4": Probe(60, 8, 8)}
    for policy in ("random_sorted", "jittered", "random_stride"):
        options = policy_options(policy, 4, draws=3)
        plan = make_plan(videos, probes, options, lambda of: [(n,) for n in range(len(of))])
        found = [(clip.video, clip.segment, clip.sides) for clip in plan.clips]
        expected = [("a.mp4", 0, (0,)), ("b.mp4", 0, (1,)), ("b.mp4", 2, (2,))]
        assert found == [clip for clip in expected for _ in range(3)]
        [reject] = plan.rejects
        assert reject.reason == "1 of 3 segments are too short; one clip needs 4"


def test_draws_are_for_random_policies() -> None:
    for policy in ("windows", "span"):
        with pytest.raises(ValidationError, match="draws belong to --clips random_sorted, jit"):
            policy_options(policy, draws=2)
        assert policy_options(policy, draws=1)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        policy_options("jittered", draws=0)


def test_frames_taken_by_time_may_repeat() -> None:
    [clip] = choose_clips((0, 0, 1, 1, 2, 2), policy_options(frames=5), "a")
    assert clip == (0, 0, 1, 1, 2)


def test_assemble_gathers_overlapping_clips_and_drops_cut_ones() -> None:
    frames = ((i, np.full((3, 1, 1), i, np.uint8)) for i in range(12))
    clips = dict(assemble(frames, [(0, 3, 6), (2, 5, 8), (0, 0, 11), (9, 11, 13)]))
    assert list(clips) == [0, 1, 2]
    assert clips[1][:, 0, 0, 0].tolist() == [2, 5, 8]
    assert clips[2][:, 0, 0, 0].tolist() == [0, 0, 11]
    assert clips[0].shape == (3, 3, 1, 1)


def test_clips_that_missed_a_frame_are_not_held() -> None:
    """A clip over a whole video must not keep its frames to the end once it is lost."""
    seen: list[weakref.ref[np.ndarray]] = []
    alive = []

    def frames() -> Iterator[tuple[int, np.ndarray]]:
        for index in [0, 1, *range(3, 100)]:
            frame = np.zeros((3, 1, 1), np.uint8)
            seen.append(weakref.ref(frame))
            yield index, frame
            del frame
            alive.append(sum(found() is not None for found in seen))

    assert list(assemble(frames(), [range(100), range(1, 100, 2)])) != []
    assert list(assemble(frames(), [range(100)])) == []
    assert max(alive[-90:]) <= 1


@given(
    st.sets(st.integers(0, 30)),
    st.lists(st.lists(st.integers(0, 30), min_size=2, max_size=5).map(sorted), max_size=6),
)
def test_assemble_gives_the_clips_that_are_whole(missing: set[int], clips: list[list[int]]) -> None:
    frames = ((i, np.full((1, 1, 1), i, np.uint8)) for i in range(31) if i not in missing)
    found = {position: clip[:, 0, 0, 0].tolist() for position, clip in assemble(frames, clips)}
    assert found == {i: clip for i, clip in enumerate(clips) if not missing & set(clip)}
