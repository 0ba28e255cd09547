"""Tone mapping, held against known light and against the second implementation."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from preprocess.frames.geometry import Box, Geometry
from preprocess.frames.hdr import HdrMapper, nits_to_pq, pq_to_nits
from preprocess.sources.independent_decode import _tone_mapped, decode_independently
from preprocess.sources.video import decode, probe
from tests.conftest import moving_square

PQ, HLG, SDR = 16, 18, 1


def mapper(transfer: int, primaries: int = 9) -> HdrMapper:
    frame = VideoFrame(16, 16, "yuv420p10le")
    frame.color_trc, frame.color_primaries = transfer, primaries
    return HdrMapper(frame)


def grey(codes: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Grey pixels of signals in [0, 1], uint16, shape (1, N, 3)."""
    return np.repeat(np.rint(codes * 65535).astype(np.uint16)[None, :, None], 3, -1)


def test_pq_of_the_standard() -> None:
    """BT.2408, table 1: 203 cd/m² is 58% of PQ, 1,000 cd/m² 75%; 10,000 is all of it."""
    light = np.array([0.0, 203, 1000, 10000])
    assert np.allclose(nits_to_pq(light), [0, 0.58, 0.75, 1], atol=0.003)
    assert np.allclose(pq_to_nits(nits_to_pq(light)), light, atol=1e-6)


def test_grey_stays_grey_in_order_and_peak_is_white() -> None:
    codes = np.linspace(0, 1, 1000)
    for transfer in (PQ, HLG):
        mapped = mapper(transfer)(grey(codes))[0].astype(int)
        assert np.ptp(mapped, axis=1).max() <= 1
        assert (np.diff(mapped[:, 0]) >= 0).all()
        assert mapped[0, 0] == 0
        assert mapped[-1].min() == 255
    peak = nits_to_pq(np.array([100.0, 203, 999]))
    dark, white, bright = mapper(PQ)(grey(peak))[0, :, 0].tolist()
    # Below the knee light is as it was; white is compressed, and stays far from the peak.
    knee = 1.5 * nits_to_pq(np.array([203.0])) - 0.5 * nits_to_pq(np.array([1000.0]))
    low = float(pq_to_nits(knee)[0]) * 0.9
    [below] = mapper(PQ)(grey(nits_to_pq(np.array([low]))))[0, :, 0].tolist()
    assert below == pytest.approx(255 * (low / 203) ** (1 / 2.4), abs=1)
    assert below < dark < white < bright == 255


def test_hlg_of_the_standard() -> None:
    """BT.2408: HLG at 75% is 203 cd/m², the same light as PQ at 58%."""
    hlg = mapper(HLG)(grey(np.array([0.75])))[0, 0].astype(int)
    pq = mapper(PQ)(grey(nits_to_pq(np.array([203.0]))))[0, 0].astype(int)
    assert np.abs(hlg - pq).max() <= 1


def test_wide_gamut_keeps_grey_and_spreads_colours() -> None:
    codes = np.linspace(0, 1, 256)
    assert np.abs(mapper(SDR)(grey(codes))[0, :, 0] - codes * 255).max() <= 0.51
    colour = np.array([[[40000, 20000, 20000]]], np.uint16)
    red, green, _ = mapper(SDR)(colour)[0, 0].astype(int)
    assert red - green > (40000 - 20000) / 257


@pytest.mark.parametrize(("transfer", "light"), [(PQ, "pq"), (HLG, "hlg"), (SDR, "sdr")])
def test_both_implementations_agree(transfer: int, light: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 1 << 16, (150, 90, 3), dtype=np.uint16)
    rgb[0], rgb[1] = 0, 65535
    assert np.array_equal(mapper(transfer)(rgb), _tone_mapped(rgb, light, wide=True))


def hdr_video(path: Path, transfer: int, pixels: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = transfer, 9, 9
        for n, picture in enumerate(moving_square(4, 64, 96)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace=9)
            frame.color_trc, frame.color_primaries, frame.pts = transfer, 9, n
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("transfer", "pixels", "reason"),
    [
        (PQ, "yuv420p10le", r"high dynamic range \(PQ\)"),
        (HLG, "yuv420p10le", r"high dynamic range \(HLG\)"),
        (14, "yuv420p10le", r"wide gamut \(BT.2020\)"),
        (SDR, "yuv420p", r"wide gamut \(BT.2020\)"),
    ],
)
def test_both_decoders_agree_and_can_refuse(
    transfer: int, pixels: str, reason: str, tmp_path: Path
) -> None:
    path = hdr_video(tmp_path / "v.mkv", transfer, pixels)
    for geometry in (Geometry(32), Geometry(40, "pad", Box(2, 60, 3, 80))):
        frames = [frame for _, frame in decode(path, range(4), geometry)]
        assert np.array_equal(frames, [f for _, f in decode_independently(path, geometry)])
        before = Geometry(geometry.size, geometry.fit, geometry.box, as_shown=False)
        plain = [frame for _, frame in decode(path, range(4), before)]
        assert np.array_equal(plain, [f for _, f in decode_independently(path, before)])
        assert np.abs(np.array(frames, int) - plain).mean() > 1
    refused = probe(path, Geometry(32, hdr="refuse"))
    assert isinstance(refused, str)
    assert re.match(reason + ", and --hdr refuse was given", refused)
