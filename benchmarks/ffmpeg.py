"""FFmpeg as a peer: its search filter's CPU time and vectors, its decoding and scaling."""

from __future__ import annotations

import shutil
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import child_cpu_seconds


@cache
def binary() -> str:
    """A system's ffmpeg, else the one that imageio-ffmpeg brings."""
    import imageio_ffmpeg

    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()


def pipeline_seconds(luma: NDArray[np.uint8], filters: str) -> float:
    """CPU seconds of one thread that reads raw luma (T, H, W) and runs a filter on it."""
    size = f"{luma.shape[2]}x{luma.shape[1]}"
    command = [binary(), "-v", "error", "-threads", "1", "-filter_threads", "1"]
    command += ["-f", "rawvideo", "-pix_fmt", "gray", "-s", size, "-i", "pipe:0"]
    command += ["-vf", filters, "-f", "null", "-"]
    return child_cpu_seconds(command, luma.tobytes())


def mestimate(method: str, search_range: int) -> str:
    return f"mestimate=method={method}:mb_size=16:search_param={search_range}"


def scaled_seconds(video: Path, size: int) -> float:
    """CPU seconds to decode a file, scale it to a square and pipe it out as RGB."""
    command = [binary(), "-v", "error", "-threads", "1", "-filter_threads", "1", "-i", str(video)]
    crop = f"scale={size}:{size}:force_original_aspect_ratio=increase:flags=area,crop={size}:{size}"
    return child_cpu_seconds([*command, "-vf", crop, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"])


def vectors(luma: NDArray[np.uint8], method: str, search_range: int) -> NDArray[np.int8]:
    """Vectors that `mestimate` finds into the previous frame.

    Args:
        luma: uint8, shape (T, H, W), H and W multiples of 16.
        method: the filter's.
        search_range: pixels.

    Returns:
        int8, shape (T-2, 2, H/16, W/16), as ours for frames 1...T-2: it never gives the last.
    """
    import av
    from av.filter import Graph
    from av.sidedata.sidedata import Type

    frames, height, width = luma.shape
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format="gray", time_base=Fraction(1, 25))
    options = f"method={method}:mb_size=16:search_param={search_range}"
    search, sink = graph.add("mestimate", options), graph.add("buffersink")
    source.link_to(search)
    search.link_to(sink)
    graph.configure()
    found = np.zeros((frames - 2, 2, height // 16, width // 16), np.int8)
    for n in range(frames + 1):
        if n < frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(luma[n]), format="gray")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            source.push(frame)
        else:
            source.push(None)
        while True:
            try:
                out = sink.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            side = out.side_data.get(Type.MOTION_VECTORS)
            if side is None or not 1 <= out.pts <= frames - 2:
                continue
            data = side.to_ndarray()
            data = data[data["source"] < 0]
            columns, rows = data["dst_x"].astype(int) // 16, data["dst_y"].astype(int) // 16
            found[out.pts - 1, 0, rows, columns] = data["src_x"] - data["dst_x"]
            found[out.pts - 1, 1, rows, columns] = data["src_y"] - data["dst_y"]
    return found
