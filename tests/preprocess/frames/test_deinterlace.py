"""Whole frames of interlaced ones, by either decoder."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.filter import Graph

from preprocess.frames.deinterlace import deinterlaced
from preprocess.frames.geometry import Geometry
from preprocess.records import Probe
from preprocess.sources.independent_decode import decode_independently
from preprocess.sources.video import decode, probe
from shared.schema import DeinterlaceName
from tests.conftest import moving_square, write_video

FILTERS: tuple[DeinterlaceName, ...] = ("bwdif", "yadif")


def interlaced_video(path: Path, codec: str, *, top_first: bool, frames: int = 12) -> Path:
    """A bar that moves 2 px a field, 96 x 64 pixels; fields of one frame differ in time."""
    pixels = "yuv420p"
    graph = Graph()
    source = graph.add_buffer(
        width=96, height=64, format=av.VideoFormat(pixels), time_base=Fraction(1, 25)
    )
    fields = graph.add("setfield", "tff" if top_first else "bff")
    graph.link_nodes(source, fields, graph.add("buffersink")).configure()
    with av.open(str(path), "w") as container:
        options = {"flags": "+ilme+ildct"} | ({"log-level": "none"} if "265" in codec else {})
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        for n in range(frames):
            picture = np.zeros((64, 96, 3), np.uint8)
            for field in range(2):
                row, left = int((field == 0) != top_first), 2 * (2 * n + field)
                picture[row::2, left : left + 24] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = n, Fraction(1, 25)
            graph.push(frame)
            container.mux(stream.encode(graph.pull()))  # type: ignore[arg-type]
        container.mux(stream.encode(None))
    return path


def combs(square: np.ndarray) -> float:
    """Mean difference of a row to its two neighbours' mean, grey levels."""
    rows = square.astype(float).mean(0)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


@pytest.mark.parametrize("top_first", [True, False])
@pytest.mark.parametrize(("name", "codec"), [("v.mpg", "mpeg2video"), ("v.mp4", "libx264")])
def test_combs_go_whichever_field_is_first(
    name: str, codec: str, top_first: bool, tmp_path: Path
) -> None:
    path = interlaced_video(tmp_path / name, codec, top_first=top_first)
    found = probe(path, Geometry(64))
    assert isinstance(found, Probe)
    assert [text[:11] for text in found.remarks] == ["interlaced,"]
    plain = dict(decode(path, range(12), Geometry(64, "stretch")))
    assert combs(plain[5]) > 5
    for method in FILTERS:
        geometry = Geometry(64, "stretch", deinterlace=method)
        whole = dict(decode(path, range(12), geometry))
        assert list(whole) == list(range(12))
        assert max(combs(whole[n]) for n in range(1, 11)) < 0.1
        again = dict(decode_independently(path, geometry))
        assert all(np.array_equal(whole[n], again[n]) for n in range(12))
        assert np.array_equal(dict(decode(path, [4, 7], geometry))[7], whole[7])


def test_progressive_frames_pass_unchanged(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", moving_square(8, 48, 64))
    plain, woven = (
        [frame for _, frame in decode(path, range(8), Geometry(32, deinterlace=by))]
        for by in ("off", "bwdif")
    )
    assert np.array_equal(plain, woven)


def test_frames_beside_a_gap_lack_a_neighbour() -> None:
    def frame(n: int) -> av.VideoFrame:
        made = av.VideoFrame(32, 16, "yuv420p")
        made.pts, made.time_base = n, Fraction(1, 25)
        return made

    given = [(n, frame(n)) for n in (0, 1, 2, 6, 7, 8, 9)]
    assert [n for n, _ in deinterlaced(given, "bwdif")] == [0, 1, 7, 8, 9]
