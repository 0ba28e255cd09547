"""Clips as H.264 files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from shared.pictures import Film


def save_video(path: Path, film: Film, *, fps: float) -> None:
    """Write an H.264 mp4 that plays anywhere.

    4:2:0, even sizes by repeating the edge, its index in front so that it plays while it loads.
    """
    import av

    film = np.pad(
        film, ((0, 0), (0, 0), (0, film.shape[-2] % 2), (0, film.shape[-1] % 2)), mode="edge"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    faststart = {"movflags": "faststart"}
    with av.open(str(path.absolute()), "w", format="mp4", container_options=faststart) as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "12"}
        )
        stream.height, stream.width = film.shape[-2:]
        stream.pix_fmt = "yuv420p"
        for frame in film:
            picture = np.ascontiguousarray(frame.transpose(1, 2, 0))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
