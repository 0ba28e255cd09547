"""What the search's options and methods do to vectors and residuals; prints Markdown tables.

    python -m benchmarks.regularity          # reference, zero bias and vector cost
    python -m benchmarks.regularity units    # whole, half and quarter pixels
    python -m benchmarks.regularity expected # vector cost from zero or from neighbours

Entropy is that of whole vectors, with the reference index where blocks choose it, in bits a block,
blocks taken to be independent. PSNR is of clips
restored from their first frame and vectors alone. Speed is CPU time of the search, a frame.
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
from preprocess.motion.naive import expected_row
from shared.conventions import COSTS_FROM, VECTOR_UNITS, CostFrom, Reference

Clips = list[NDArray[np.uint8]]
STEP = 3
"""Every how many frames one is taken, as in the demo."""


@dataclass(frozen=True)
class Field:
    """What one setting gives for one clip."""

    motion: NDArray[np.int8]
    vectors: NDArray[np.int64]
    residual: NDArray[np.int16]
    psnr: float
    seconds: float
    """CPU time of the search."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/gestures"))
    parser.add_argument("table", nargs="?", choices=("costs", "units", "expected"), default="costs")
    given = parser.parse_args()
    for method in ("exhaustive", "h264"):
        search(np.zeros((2, 16, 16), np.uint8), block=8, search_range=1, method=method)  # compiles
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
            noisy = [with_noise(clip, sigma, i) for i, clip in enumerate(clean)]
            if given.table == "expected":
                print_expected(noisy)
            else:
                print_table(noisy)


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
                [
                    one_reference(clip, reference, reach, 0.0, cost, block=block, unit=unit)
                    for clip in clean
                ]
                for _ in range(4)
            ]
            fields = min(passes, key=lambda fields: sum(field.seconds for field in fields))
            print_row(f"{reference} ±{reach} | {cost:g}", f"1/{unit}", fields)


def print_expected(noisy: Clips) -> None:
    print(
        "| reference | cost | from | non-zero | bits a block | … of difference to the median"
        " | … to the frame before | mean abs. residual | PSNR | µs a frame |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for reference, reach in (("previous", 16), ("first", 24)):
        for cost, cost_from in [(0, "zero"), *product((0.1, 0.3, 1), COSTS_FROM)]:
            fields = [
                one_reference(clip, reference, reach, 0.0, cost, cost_from=cost_from)
                for clip in noisy
            ]
            print_row(f"{reference} ±{reach} | {cost:g}", cost_from, fields, ("median", "temporal"))


def print_table(noisy: Clips) -> None:
    print(
        "| reference | zero bias | vector cost | non-zero | bits a block | mean abs. residual"
        " | PSNR | µs a frame |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    settings = [(0.0, c) for c in (0, 0.1, 0.3, 1, 2, 3, 5, 8)] + [
        (b, 0.0) for b in (0.125, 0.5, 2)
    ]
    for reference, reach in (("previous", 16), ("first", 24)):
        for bias, cost in settings:
            fields = [one_reference(clip, reference, reach, bias, cost) for clip in noisy]
            print_row(f"{reference} ±{reach}", f"{bias:g} | {cost:g}", fields)
        for cost in (0, 0.3):
            fields = [one_reference(clip, reference, reach, 0, cost, "h264") for clip in noisy]
            print_row(f"{reference} ±{reach}, h264", f"0 | {cost:g}", fields)
    for cost in (0, 0.1, 0.3, 1, 3):
        fields = [one_reference(clip, "either", 24, 0.0, cost) for clip in noisy]
        print_row("either ±24", f"0 | {cost:g}", fields)


def print_row(
    reference: str, costs: str, fields: list[Field], to: tuple[CostFrom, ...] = ()
) -> None:
    vectors = np.concatenate([field.vectors for field in fields])
    moving = (vectors[:, :2] != 0).any(axis=1).mean()
    rest = np.mean([np.abs(field.residual).mean() for field in fields])
    psnr = np.mean([field.psnr for field in fields])
    bits = [f"{entropy(vectors):.2f}"]
    for cost_from in to:
        differences = [flat(field.motion - expected(field.motion, cost_from)) for field in fields]
        bits.append(f"{entropy(np.concatenate(differences)):.2f}")
    speed = 1e6 * sum(field.seconds for field in fields) / sum(len(f.residual) for f in fields)
    print(
        f"| {reference} | {costs} | {moving:.0%} | {' | '.join(bits)} | {rest:.2f} | {psnr:.1f}"
        f" | {speed:.0f} |"
    )


def one_reference(
    clip: NDArray[np.uint8],
    reference: Reference,
    reach: int,
    bias: float,
    cost: float,
    method: str = "exhaustive",
    block: int = 8,
    unit: int = 1,
    cost_from: CostFrom = "zero",
) -> Field:
    """What the store would hold."""
    luma, start = clip_luma(clip), time.process_time()
    motion = search(
        luma,
        block=block,
        search_range=reach,
        method=method,
        reference=reference,
        vector_unit=unit,
        zero_bias=bias,
        motion_cost=cost,
        cost_from=cost_from,
    )
    seconds = time.process_time() - start
    how = {"block": block, "reference": reference, "vector_unit": unit}
    rest = clip_residual(clip, motion, **how)  # type: ignore[arg-type]
    alone = restore_clip(clip[0], motion, np.zeros_like(rest), **how)  # type: ignore[arg-type]
    return Field(motion, flat(motion), rest, psnr(alone, clip), seconds)


def expected(motion: NDArray[np.int8], cost_from: CostFrom) -> NDArray[np.int64]:
    """What each vector is expected to be of those before it, in the shape of the field."""
    rows = np.ndindex(len(motion), motion.shape[2])
    found = [expected_row(motion, n, row, cost_from) for n, row in rows]
    return np.stack(found, axis=1).reshape(2, len(motion), *motion.shape[2:]).swapaxes(0, 1)


def with_noise(clip: NDArray[np.uint8], sigma: float, seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, sigma, clip.shape)
    return (clip + noise).round().clip(0, 255).astype(np.uint8)


def flat(motion: NDArray[np.int8] | NDArray[np.int64]) -> NDArray[np.int64]:
    return motion.transpose(0, 2, 3, 1).reshape(-1, motion.shape[1]).astype(np.int64)


def entropy(vectors: NDArray[np.int64]) -> float:
    _, counts = np.unique(vectors, axis=0, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def psnr(restored: NDArray[np.uint8], clip: NDArray[np.uint8]) -> float:
    """Of frames 1...T-1, dB, from the clip's mean squared error."""
    error = np.square(restored[1:].astype(float) - clip[1:]).mean()
    return float(10 * np.log10(255**2 / error))


if __name__ == "__main__":
    main()
