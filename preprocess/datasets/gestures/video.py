"""Frames to an H.264 file."""

import os
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def write_video(path: Path, frames: NDArray[np.uint8], fps: int, crf: int) -> None:
    """Encode (T, H, W, 3) uint8 RGB frames as H.264 yuv420p mp4, written aside, then renamed.

    One encoder thread, so that the bytes depend on nothing but the arguments. Raises ValueError on
    an odd height or width.
    """
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(
            f"frames are {height}×{width}; H.264 in yuv420p needs even sides: crop or pad by one"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _encode(aside, frames, fps, crf)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _encode(path: Path, frames: NDArray[np.uint8], fps: int, crf: int) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"crf": str(crf), "threads": "1", "preset": "fast"}
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
