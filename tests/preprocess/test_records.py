"""Frames by time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.frames.geometry import Geometry
from preprocess.records import Probe, Segment, Times
from preprocess.sources import video
from tests.conftest import moving_square, write_video

ALL = Segment(0, 10**9)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=40),
    st.integers(1, 120),
    st.sampled_from([Fraction(1, 1000), Fraction(1, 30), Fraction(1, 90000)]),
)
def test_each_tick_takes_the_frame_on_the_screen(
    lengths: list[int], fps: int, unit: Fraction
) -> None:
    starts = [sum(lengths[:n]) for n in range(len(lengths))]
    times, end = Times(tuple(starts), sum(lengths), unit), sum(lengths)
    slack = min(Fraction(1, 2), Fraction(1, 2000) / unit)
    frames = times.sample(ALL, fps)
    for k, frame in enumerate(frames):
        tick = Fraction(k, fps) / unit
        assert starts[frame] <= tick + slack
        assert tick + slack < [*starts, end + 1][frame + 1]
    assert Fraction(len(frames), fps) / unit >= end - slack


def test_rounded_times_at_the_native_rate_lose_and_repeat_nothing() -> None:
    """Matroska counts milliseconds: 30 frames a second are 0, 33, 67, 100."""
    rounded = tuple(round(1000 * n / 30) for n in range(90))
    assert Times(rounded, 3000, Fraction(1, 1000)).sample(ALL, 30) == tuple(range(90))
    cut_off = tuple(1000 * n // 30 for n in range(90))
    assert Times(cut_off, 3000, Fraction(1, 1000)).sample(ALL, 30) == tuple(range(90))


def test_coarse_units_are_exact() -> None:
    assert Times((0, 1, 2), 3, Fraction(1, 30)).sample(ALL, 60) == (0, 0, 1, 1, 2, 2)


def test_segments_begin_at_their_own_first_frame() -> None:
    times = Times(tuple(range(0, 100, 10)), 100, Fraction(1, 100))
    assert times.sample(Segment(3, 7), 5) == (3, 5)
    assert times.sample(Segment(8, 20), 10) == (8, 9)
    assert times.sample(Segment(10, 20), 10) == ()


def test_times_of_a_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", moving_square(10, 16, 16))
    times = video.times(path)
    assert isinstance(times, Times)
    assert [stamp * times.unit for stamp in times.shown] == [Fraction(n, 20) for n in range(10)]
    assert times.end * times.unit == Fraction(1, 2)


def test_times_that_cannot_be_right_are_refused(tmp_path: Path) -> None:
    """Two pictures, the first for a day: there is no usual duration that could replace it."""
    path = write_video(tmp_path / "v.mkv", moving_square(2, 16, 16))
    with av.open(str(path)) as source, av.open(str(tmp_path / "day.mkv"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.stream = stream
                packet.pts = packet.dts = number * 86_400_000
                packet.time_base = Fraction(1, 1000)
                out.mux(packet)
    assert video.times(tmp_path / "day.mkv") == (
        "its times cannot be right: frame 0 would be shown for 86400 seconds"
    )


def test_real_files_whose_times_are_damaged(real_clips: Path) -> None:
    """Every file that can be probed has as many times as frames, or a reason why not."""
    for path in sorted((real_clips / "bad").iterdir()):
        times, found = video.times(path), video.probe(path, Geometry(16))
        if path.name == "moov_corrupted.mp4":
            assert str(times).startswith("its times cannot be right: frame ")
        elif isinstance(found, Probe):
            assert isinstance(times, Times), path
            assert len(times.shown) == found.frames, path


@pytest.mark.parametrize(
    "pattern",
    # A variable rate, a fraction, an edit list, B-frames in an AVI; and all the others.
    ["*vfr*", "*odd_fps*", "*editlist*", "*.avi", pytest.param("*", marks=pytest.mark.slow)],
)
def test_real_files_with_odd_times(pattern: str, real_clips: Path) -> None:
    """As many times as frames, ascending, and those that the decoder states where it states any."""
    for path in sorted((real_clips / "clips").glob(pattern)):
        times = video.times(path)
        assert isinstance(times, Times), path
        with av.open(str(path)) as container:
            frames = list(container.decode(video=0))
            unit = container.streams.video[0].time_base
        stamps = [frame.pts for frame in frames]
        assert list(times.shown) == sorted(set(times.shown))
        assert times.end > times.shown[-1]
        ordered = None not in stamps and stamps == sorted(set(stamps))
        if ordered and len(stamps) == len(times.shown):
            assert [s * times.unit for s in times.shown] == [s * unit for s in stamps], path
