"""Times that go on from frame to frame, whatever the clock does."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.frames.geometry import Geometry
from preprocess.records import Segment, Times
from preprocess.sources.clock import Clock, Stamp
from preprocess.sources.video import decode, times
from tests.conftest import moving_square, write_video

ALL = Segment(0, 10**9)


@pytest.fixture(scope="module")
def transport(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty frames with B-frames at 20 a second, in a transport stream."""
    path = tmp_path_factory.mktemp("transport") / "v.ts"
    options = {"bf": "2", "x264-params": "log-level=none"}
    return write_video(path, moving_square(30, 48, 64), codec="libx264", gop=10, options=options)


def with_clock(source: Path, path: Path, shift: list[tuple[int, int]]) -> Path:
    """Copy a file; from each packet on, its clock is shifted by that many units, as written."""
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.size:
                by = sum(units for start, units in shift if number >= start)
                packet.pts, packet.dts = (packet.pts or 0) + by, (packet.dts or 0) + by
                packet.stream = stream
                out.mux(packet)
    return path


def joined(source: Path, path: Path, shift: int) -> Path:
    """Join a transport stream to itself, the second one's clock shifted by units of 1/90000 s."""
    with_clock(source, path.with_suffix(".2.ts"), [(0, shift)])
    content = bytearray(source.read_bytes() + path.with_suffix(".2.ts").read_bytes())
    counts: dict[int, int] = {}
    for at in range(0, len(content), 188):  # packets of each stream are counted on, modulo 16
        number, has_payload = (content[at + 1] & 31) << 8 | content[at + 2], content[at + 3] & 16
        counts[number] = counts.get(number, -1) + bool(has_payload)
        content[at + 3] = content[at + 3] & 0xF0 | counts[number] % 16
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("seconds", [-0.9, -0.3, 3, 25, 4000, 2**33 / 90000 - 2.5])
def test_joined_transport_streams(seconds: float, transport: Path, tmp_path: Path) -> None:
    """Clocks that jump back or ahead, and one that wraps in the second stream."""
    path = joined(transport, tmp_path / "v.ts", round(seconds * 90000))
    found = times(path)
    assert isinstance(found, Times)
    steps = np.diff([*found.shown, found.end])
    assert (steps == steps[0]).all()
    assert [float(s * found.unit) for s in steps[:1]] == [0.05]
    assert found.sample(ALL, 10) == tuple(range(0, 60, 2))
    frames = dict(decode(path, range(60), Geometry(24)))
    assert len(frames) == 60
    assert all(np.array_equal(frames[n], frames[30 + n]) for n in range(30))


def clock_of(pts: list[int], keys: set[int], *, reorders: bool, unit: int = 1000) -> list[int]:
    """Times of packets in decoding order, by a container without a clock that jumps."""
    from fractions import Fraction
    from types import SimpleNamespace

    stream = SimpleNamespace(
        time_base=Fraction(1, unit), codec_context=SimpleNamespace(has_b_frames=reorders)
    )
    container = SimpleNamespace(format=SimpleNamespace(flags=0))
    stamps = [Stamp(time, 0, n in keys, True) for n, time in enumerate(pts)]
    found = Clock.of(stamps, container, stream).times  # type: ignore[arg-type]
    assert found is not None
    return [int(time) for time in found]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=50), st.integers(-(10**6), 10**6))
def test_nothing_changes_where_nothing_jumps(steps: list[int], start: int) -> None:
    """Any rate, fixed or variable, begun at any time."""
    pts = (start + np.cumsum(steps)).tolist()
    assert clock_of(pts, {0}, reorders=False) == pts


def test_a_long_picture_stays_and_a_jump_goes() -> None:
    slides = [0, 15_000, 30_000, 47_000]
    assert clock_of(slides, {0}, reorders=False) == slides
    assert clock_of([0, 40, 80, 9_000, 9_040], {0}, reorders=False) == [0, 40, 80, 9_000, 9_040]
    assert clock_of([0, 40, 80, 99_000, 99_040], {0}, reorders=False) == [0, 40, 80, 120, 160]


def test_a_clock_set_back_between_key_frames() -> None:
    assert clock_of([100, 140, 180, 20, 60], {0}, reorders=False) == [100, 140, 180, 220, 260]
    # With B-frames, times go back by themselves; a second does not.
    pts = [0, 120, 40, 80, 240, 160, 200]
    assert clock_of(pts, {0}, reorders=True) == pts
    later = [time - 9_000 for time in pts]
    both = clock_of([*pts, *later], {0}, reorders=True)
    assert both == [*pts, *(time + 280 for time in pts)]


def test_key_frame_times_decide_about_small_steps_back() -> None:
    """No frame before a key frame in the file is shown after it by the same clock."""
    pts = [0, 120, 40, 80, 100, 180, 140]
    assert clock_of(pts, {0, 4}, reorders=True) == [0, 120, 40, 80, 160, 240, 200]


def test_the_last_frame_does_not_last_for_days(tmp_path: Path) -> None:
    from fractions import Fraction

    path = write_video(tmp_path / "v.mkv", moving_square(10, 16, 16))
    with av.open(str(path)) as source, av.open(str(tmp_path / "long.mkv"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = packet.pts or 0
                packet.duration = 86_400_000
                out.mux(packet)
    found = times(tmp_path / "long.mkv")
    assert isinstance(found, Times)
    assert (found.end - found.shown[-1]) * found.unit < 1
