from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from train.video import save_video


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 47), (16, 17)])
def test_videos_have_every_frame_and_even_sizes(tmp_path: Path, height: int, width: int) -> None:
    import av

    shades = np.linspace(20, 230, 7).astype(np.uint8)
    clip = np.broadcast_to(shades[:, None, None, None], (7, 3, height, width))
    save_video(tmp_path / "new" / "v.mp4", clip, fps=12.5)
    with av.open(str(tmp_path / "new" / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.average_rate) == ("h264", 12.5)
        assert stream.pix_fmt == "yuv420p"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert {frame.shape for frame in frames} == {(height + height % 2, width + width % 2, 3)}
    assert [frame.mean() for frame in frames] == pytest.approx(shades.tolist(), abs=4)


def test_a_video_plays_while_it_loads(tmp_path: Path) -> None:
    clip = np.random.default_rng(0).integers(0, 250, (5, 3, 6, 9), np.uint8)
    save_video(tmp_path / "v.mp4", clip, fps=8)
    written = (tmp_path / "v.mp4").read_bytes()
    assert 0 < written.index(b"moov") < written.index(b"mdat")
