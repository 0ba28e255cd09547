"""Frames accepted from damaged files, and how many of them are wrong: docs/experiments, 5.

Run `python -m benchmarks.damage`; it prints the table of the experiment.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from preprocess.frames.geometry import Geometry
from preprocess.records import DecodeError
from preprocess.sources.video import decode

CODECS = {
    "H.264, mp4": ("libx264", "mp4", "yuv420p", {"x264-params": "log-level=none"}),
    "MPEG-4, mp4": ("mpeg4", "mp4", "yuv420p", {}),
    "MPEG-2, mpg": ("mpeg2video", "mpg", "yuv420p", {}),
    "MJPEG, avi": ("mjpeg", "avi", "yuvj420p", {}),
    "HEVC, mp4": ("libx265", "mp4", "yuv420p", {"x265-params": "log-level=none"}),
    "VP8, webm": ("libvpx", "webm", "yuv420p", {}),
    "VP9, webm": ("libvpx-vp9", "webm", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "AV1, mkv": ("libsvtav1", "mkv", "yuv420p", {"preset": "12"}),
    "FFV1 with checksums, mkv": ("ffv1", "mkv", "yuv420p", {"level": "3", "slicecrc": "1"}),
}
"""Encoder, container, pixel format and options, by name."""

FRAMES, HEIGHT, WIDTH, KEY_FRAMES, FILES = 60, 96, 128, 12, 15
SQUARE = Geometry(96)


def square_in_noise() -> np.ndarray:
    """A moving square in noise, uint8, shape (T, H, W, 3)."""
    video = np.random.default_rng(0).integers(90, 130, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for n, picture in enumerate(video):
        picture[20:52, 2 * n % 96 : 2 * n % 96 + 32] = 220
    return video


def encode(path: Path, codec: str, pixels: str, options: dict[str, str]) -> None:
    """Write the video with a key frame every 12 frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        stream.codec_context.gop_size = KEY_FRAMES
        for pts, picture in enumerate(square_in_noise()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def damage(content: bytes, kind: str, seed: int) -> bytes:
    """Zero 400 bytes, or flip three bits, behind the first twentieth of a file."""
    rng, damaged = np.random.default_rng(seed), bytearray(content)
    places = rng.integers(len(content) // 20, len(content) - 400, 3)
    if kind == "zeroed":
        damaged[places[0] : places[0] + 400] = bytes(400)
    else:
        for place, bit in zip(places, rng.integers(0, 8, 3), strict=True):
            damaged[place] ^= 1 << int(bit)
    return bytes(damaged)


def accepted(path: Path) -> dict[int, bytes]:
    """Frames that decoding accepts, by index."""
    frames: dict[int, bytes] = {}
    try:
        for index, frame in decode(path, range(FRAMES), SQUARE, to_end=True):
            frames[index] = frame.tobytes()
    except (DecodeError, av.FFmpegError):
        pass
    return frames


def main() -> None:
    """Print the table: frames given, and those of them that the undamaged video does not hold."""
    print("| codec, container | zeroed: given / wrong | flipped: given / wrong |")
    print("| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, (codec, container, pixels, options) in CODECS.items():
            path = Path(folder, f"v.{container}")
            encode(path, codec, pixels, options)
            content, whole = path.read_bytes(), accepted(path)
            assert len(whole) == FRAMES, f"{name}: {len(whole)} of the undamaged frames"
            # By content, not by index: what a container loses as a whole moves the others up.
            originals = set(whole.values())
            cells = []
            for kind in ("zeroed", "flipped"):
                given = wrong = 0
                for seed in range(FILES):
                    path.write_bytes(damage(content, kind, seed))
                    frames = accepted(path)
                    given += len(frames)
                    wrong += sum(frame not in originals for frame in frames.values())
                cells.append(f"{given} / {wrong}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
