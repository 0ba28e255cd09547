"""Transparent videos are shown over black, by both decoders; what they hide is never seen."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from preprocess.frames.geometry import Geometry
from preprocess.records import Probe
from preprocess.sources.independent_decode import decode_independently
from preprocess.sources.video import decode, probe
from tests.conftest import moving_square, write_video
from tests.preprocess.sources.test_faults import whole

COUNT, SIDE = 6, 48
OPTIONS = {
    "prores_ks": {"profile": "4444", "alpha_bits": "16"},
    "libvpx-vp9": {"auto-alt-ref": "0"},
}


def half_hidden(opacity: int = 0) -> NDArray[np.uint8]:
    """Videos (T, H, W, 4) of light grey, whose left half is magenta of some opacity."""
    video = np.full((COUNT, SIDE, SIDE, 4), (200, 200, 200, 255), np.uint8)
    video[:, :, : SIDE // 2] = (255, 0, 255, opacity)
    return video


def write_transparent(path: Path, video: NDArray[np.uint8], codec: str, pixels: str) -> Path:
    """Write uint8 (T, H, W, 4) to a file."""
    return write_video(path, video, codec=codec, pixels=pixels, options=OPTIONS.get(codec))


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "tolerance"),
    [
        ("v.mov", "png", "rgba", 0),
        ("v.mov", "qtrle", "argb", 0),
        ("v.apng", "apng", "rgba", 0),
        ("v.mkv", "ffv1", "yuva444p", 2),
        ("v.mkv", "ffv1", "yuva444p10le", 2),
        ("v.mov", "prores_ks", "yuva444p10le", 4),
    ],
)
@pytest.mark.parametrize("opacity", [0, 128, 255])
@pytest.mark.parametrize("side", [SIDE // 2, SIDE, SIDE * 2])
def test_transparent_pixels_are_over_black(
    name: str, codec: str, pixels: str, tolerance: int, opacity: int, side: int, tmp_path: Path
) -> None:
    path = write_transparent(tmp_path / name, half_hidden(opacity), codec, pixels)
    whole(path, COUNT, Geometry(side))
    [(_, shown)] = decode(path, [COUNT - 1], Geometry(side))
    inside = shown[:, side // 4 : -side // 4].astype(int)  # away from the edge of both halves
    left, right = inside[:, :, : side // 4], inside[:, :, -side // 4 :]
    assert abs(left - np.array([opacity, 0, opacity])[:, None, None]).max() <= tolerance
    assert abs(right - 200).max() <= tolerance


def test_transparent_parts_of_a_gif_are_black(tmp_path: Path) -> None:
    """Of a palette of its own, in which the transparent colour is magenta."""
    pictures = []
    for n in range(COUNT):
        picture = Image.new("P", (SIDE, SIDE), 0)
        picture.putpalette([255, 0, 255, 200, 200, 200, 0, 90, 0])
        picture.paste(1, (SIDE // 2, 0, SIDE, SIDE))
        picture.paste(2, (30, 4 * n, 34, 4 * n + 4))
        pictures.append(picture)
    path = tmp_path / "v.gif"
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], transparency=0, disposal=2, duration=40
    )
    whole(path, COUNT, Geometry(SIDE))
    for n, shown in decode(path, range(COUNT), Geometry(SIDE)):
        assert not shown[:, :, : SIDE // 2].any()
        assert shown[:, 4 * n + 1, 31].tolist() == [0, 90, 0]


def test_opaque_videos_of_formats_with_transparency_keep_their_pixels(tmp_path: Path) -> None:
    video = moving_square(COUNT, SIDE, SIDE)
    plain = write_video(tmp_path / "a.mkv", video, codec="ffv1", pixels="yuv420p")
    opaque = np.concatenate([video, np.full_like(video[..., :1], 255)], axis=-1)
    alike = write_transparent(tmp_path / "b.mkv", opaque, "ffv1", "yuva420p")
    scaled = whole(alike, COUNT, Geometry(SIDE // 2, as_shown=False))
    assert whole(alike, COUNT, Geometry(SIDE // 2)) == scaled
    assert whole(plain, COUNT, Geometry(SIDE)) == whole(alike, COUNT, Geometry(SIDE))


def test_stores_of_before_show_what_is_hidden(tmp_path: Path) -> None:
    path = write_transparent(tmp_path / "v.mov", half_hidden(), "png", "rgba")
    geometry = Geometry(SIDE, as_shown=False)
    for _, shown in [*decode(path, [0], geometry), *decode_independently(path, geometry)]:
        assert shown[:, SIDE // 2, 0].tolist() == [255, 0, 255]


def test_light_of_high_dynamic_range_keeps_its_meaning_over_black(tmp_path: Path) -> None:
    """Composited in 16 bits, and mapped to SDR as an opaque frame is."""
    files = []
    for opacity in (255, 0):
        path = tmp_path / f"{opacity}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=Fraction(20))
            stream.height, stream.width, stream.pix_fmt = SIDE, SIDE, "yuva444p10le"
            stream.codec_context.color_trc, stream.codec_context.color_primaries = 18, 9
            for pts, picture in enumerate(half_hidden(opacity)):
                frame = av.VideoFrame.from_ndarray(picture, format="rgba")
                frame.color_trc, frame.color_primaries, frame.pts = 18, 9, pts
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        whole(path, COUNT, Geometry(SIDE))
        files.append(dict(decode(path, range(COUNT), Geometry(SIDE)))[0])
    opaque, hidden = files
    assert not hidden[:, :, : SIDE // 2].any()
    assert np.array_equal(opaque[:, :, SIDE // 2 :], hidden[:, :, SIDE // 2 :])
    assert (hidden[:, :, -1] > 230).all(), "mapped: as codes of SDR they would be 200"


def test_transparency_beside_vp9_is_known(tmp_path: Path) -> None:
    path = write_transparent(tmp_path / "v.webm", half_hidden(), "libvpx-vp9", "yuva420p")
    found = probe(path, Geometry(SIDE))
    assert isinstance(found, Probe)
    assert [text[:19] for text in found.remarks] == ["transparency of VP8"]
    plain = write_video(tmp_path / "w.webm", moving_square(4, SIDE, SIDE), codec="libvpx-vp9")
    found = probe(plain, Geometry(SIDE))
    assert isinstance(found, Probe)
    assert not found.remarks
