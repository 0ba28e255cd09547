"""Effect of the search's options and methods on vectors and residuals; prints Markdown tables.

    python -m benchmarks.regularity          # reference and motion cost
    python -m benchmarks.regularity units    # whole, half and quarter pixels

Entropy is that of whole vectors, with the reference index where blocks choose it, in bits a block,
as if blocks were independent. PSNR is of clips restored from their first frame and vectors alone.
Speed is CPU time of the search, a frame.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import clips
from preprocess.motion import search
from preprocess.motion.encode import clip_luma, clip_residual, restore_clip
from shared.conventions import VECTOR_UNITS, Codec, Reference

Clips = list[NDArray[np.uint8]]
STEP = 3
"""Step between the frames taken, as in the demo."""


@dataclass(frozen=True)
class Field:
    """Results of one setting for one clip."""

    vectors: NDArray[np.int64]
    residual: NDArray[np.int16]
    psnr: float
    seconds: float
    """CPU time of the search."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/gestures"))
    parser.add_argument("table", nargs="?", choices=("costs", "units"), default="costs")
    given = parser.parse_args()
    for method in ("exhaustive", "h264"):
        search(np.zeros((2, 16, 16), np.uint8), Codec(8), search_range=1, method=method)  # compiles
    signs = [v for v in clips.real_videos() if v.name.startswith("asl_")]
    sets = {"rendered gestures, 64²": (clips.gesture_videos(given.data), 64, (8,))}
    if signs:
        sets["ten signs of real people, 128²"] = (signs, 128, (16, 8))
    for name, (videos, size, blocks) in sets.items():
        clean = [clips.first_frames(video, size, 16 * STEP)[::STEP] for video in videos]
        if given.table == "units":
            for block in blocks:
                print(f"\n{name}, block {block}, every {STEP}rd frame\n")
                print_units(clean, block)
            continue
        for sigma in (0, 2):
            print(f"\n{name}, block 8, every {STEP}rd frame, sensor noise σ = {sigma}\n")
            print_table([with_noise(clip, sigma, i) for i, clip in enumerate(clean)])


def print_units(clean: Clips, block: int) -> None:
    print(
        "| reference | vector cost | unit | non-zero | bits a block | mean abs. residual | PSNR"
        " | search, µs CPU a frame |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for reference, reach in (("previous", 16), ("first", 24)):
        for cost, unit in product((0, 0.3), VECTOR_UNITS):
            # The quickest of some passes: the first may compile, and other work comes and goes.
            passes = [
                [measure(clip, Codec(block, reference, unit), reach, cost) for clip in clean]
                for _ in range(4)
            ]
            fields = min(passes, key=lambda fields: sum(field.seconds for field in fields))
            print_row(f"{reference} ±{reach} | {cost:g}", f"1/{unit}", fields)


def print_table(noisy: Clips) -> None:
    print(
        "| reference | motion cost | non-zero | bits a block | mean abs. residual | PSNR"
        " | µs a frame |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    settings: list[tuple[Reference, int, str, tuple[float, ...]]] = []
    for reference, reach in (("previous", 16), ("first", 24)):
        settings.append((reference, reach, "exhaustive", (0, 0.1, 0.3, 1, 2, 3, 5, 8)))
        settings.append((reference, reach, "h264", (0, 0.3)))
    settings.append(("either", 24, "exhaustive", (0, 0.1, 0.3, 1, 3)))
    for reference, reach, method, costs in settings:
        for cost in costs:
            fields = [measure(clip, Codec(8, reference), reach, cost, method) for clip in noisy]
            note = ", h264" if method == "h264" else ""
            print_row(f"{reference} ±{reach}{note}", f"{cost:g}", fields)


def print_row(reference: str, setting: str, fields: list[Field]) -> None:
    vectors = np.concatenate([field.vectors for field in fields])
    moving = (vectors[:, :2] != 0).any(axis=1).mean()
    rest = np.mean([np.abs(field.residual).mean() for field in fields])
    psnr = np.mean([field.psnr for field in fields])
    speed = 1e6 * sum(field.seconds for field in fields) / sum(len(f.residual) for f in fields)
    print(
        f"| {reference} | {setting} | {moving:.0%} | {entropy(vectors):.2f} | {rest:.2f}"
        f" | {psnr:.1f} | {speed:.0f} |"
    )


def measure(
    clip: NDArray[np.uint8], codec: Codec, reach: int, cost: float, method: str = "exhaustive"
) -> Field:
    """Search a clip as a store with these options holds it."""
    luma, start = clip_luma(clip), time.process_time()
    motion = search(luma, codec, search_range=reach, method=method, motion_cost=cost)
    seconds = time.process_time() - start
    rest = clip_residual(clip, motion, codec)
    alone = restore_clip(clip[0], motion, np.zeros_like(rest), codec)
    vectors = motion.transpose(0, 2, 3, 1).reshape(-1, motion.shape[1]).astype(np.int64)
    return Field(vectors, rest, psnr(alone, clip), seconds)


def with_noise(clip: NDArray[np.uint8], sigma: float, seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, sigma, clip.shape)
    return (clip + noise).round().clip(0, 255).astype(np.uint8)


def entropy(vectors: NDArray[np.int64]) -> float:
    _, counts = np.unique(vectors, axis=0, return_counts=True)
    frequency = counts / counts.sum()
    return float(-(frequency * np.log2(frequency)).sum())


def psnr(restored: NDArray[np.uint8], clip: NDArray[np.uint8]) -> float:
    """PSNR of frames 1...T-1 in dB, from the clip's mean squared error."""
    error = np.square(restored[1:].astype(float) - clip[1:]).mean()
    return float(10 * np.log10(255**2 / error))


if __name__ == "__main__":
    main()
