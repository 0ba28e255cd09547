from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from preprocess.plan import MAX_SHARD_CLIPS, make_plan, shard_clips, video_starts
from preprocess.videos import Probe, Segment, Video
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
    for start in video_starts(segments, frames, options):
        indices = range(start, start + length * stride, stride)
        assert indices[-1] < frames
        assert any(s.start <= start and indices[-1] < s.stop for s in segments)
        used += indices
    assert used == sorted(set(used))


def test_windows_are_consecutive() -> None:
    assert video_starts((), 48, CodecOptions(frames=16)) == [0, 16, 32]
    assert video_starts((), 47, CodecOptions(frames=16)) == [0, 16]
    assert video_starts((), 48, CodecOptions(frames=16, stride=3)) == [0]
    assert video_starts((), 46, CodecOptions(frames=16, stride=3)) == [0]
    assert video_starts((), 45, CodecOptions(frames=16, stride=3)) == []


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
