"""A sound script without this project: PyAV, NumPy SADs over whole frames, npz files."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BLOCK, REACH, FRAMES = 16, 16, 16


def extract(video: Path, out: Path, size: int) -> int:
    """Clips of 16 frames -> first frame, vectors, residuals in a compressed npz each."""
    with av.open(str(video)) as container:
        frames = [_square(frame, size) for frame in container.decode(video=0)]
    clips = [np.stack(frames[i : i + FRAMES]) for i in range(0, len(frames) - FRAMES + 1, FRAMES)]
    for number, clip in enumerate(clips):
        grey = clip @ np.array([0.299, 0.587, 0.114])
        motion = np.stack([_search(grey[n], grey[n - 1]) for n in range(1, FRAMES)])
        residual = np.stack(
            [clip[n].astype(np.int16) - _move(clip[n - 1], motion[n - 1]) for n in range(1, FRAMES)]
        )
        np.savez_compressed(
            out / f"{video.stem}-{number}.npz", first=clip[0], motion=motion, residual=residual
        )
    return len(clips)


def _square(frame: av.VideoFrame, size: int) -> NDArray[np.uint8]:
    shorter = min(frame.width, frame.height)
    width, height = (round(side * size / shorter) for side in (frame.width, frame.height))
    small = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    left, top = (width - size) // 2, (height - size) // 2
    return small[top : top + size, left : left + size]


def _search(current: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.int8]:
    """Exhaustive, one displacement of the whole frame at a time."""
    height, width = current.shape
    padded = np.pad(reference.astype(np.float32), REACH, constant_values=1e4)
    current = current.astype(np.float32)
    best = np.full((height // BLOCK, width // BLOCK), np.inf)
    vectors = np.zeros((2, *best.shape), np.int8)
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            moved = padded[REACH + dy :, REACH + dx :][:height, :width]
            difference = np.abs(current - moved)
            sad = difference.reshape(best.shape[0], BLOCK, -1, BLOCK).sum(axis=(1, 3))
            better = sad < best
            best[better] = sad[better]
            vectors[:, better] = np.array([[dx], [dy]])
    return vectors


def _move(reference: NDArray[np.uint8], vectors: NDArray[np.int8]) -> NDArray[np.int16]:
    dx, dy = np.kron(vectors, np.ones((1, BLOCK, BLOCK), int)).astype(int)
    y, x = np.indices(reference.shape[:2])
    return reference[y + dy, x + dx].astype(np.int16)
