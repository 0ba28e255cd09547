from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from preprocess.planning.plan import MAX_SHARD_CLIPS, make_plan, shard_clips, video_clips
from preprocess.records import Probe, Segment, Times, Video
from shared.schema import CodecOptions


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
    """A random clip of a video is the same whatever lies beside it."""
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
