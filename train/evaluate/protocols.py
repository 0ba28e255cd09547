"""Protocols of evaluation by name, one file each; a new one is a new file and a line here."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.errors import UserError

# MERGED: What a protocol says: which test clips, how many samples, what is computed.


@dataclass(frozen=True)
class Protocol:
    """A way of scoring a run; the same protocol, seed and run give the same numbers.

    Attributes:
        name: as on the command line.
        follows: whose it is, and where we had to choose.
        count: first frames that clips are generated from (or real clips that are restored).
        samples: generated from each, with seeds of their own.
        real: real windows that distributions are compared with, at most: one random window of each
            test video, then a second one of each, and so on; None: all test clips.
        start: `windows`: the generated clips start from those windows, in turn; `first`: from the
            first window of each video; `labels`: from one clip of each label, subjects in turn.
        frames: that clips must have, where it matters.
        split: what the run's split must keep apart: `subjects`, nothing but videos (`random`), or
            whatever it does (`any`).
        frame_clips: clips that frame-wise measures are of, from the first on; None: all.
        reconstruct: real clips are encoded and decoded, none are generated.
        grouped: distances within classes and subjects, too.
        shrunk: whether `count` was made smaller than the protocol's own.
    """

    name: str
    follows: str
    count: int
    samples: int = 1
    real: int | None = None
    start: Literal["windows", "first", "labels"] = "windows"
    frames: int | None = None
    split: Literal["subjects", "random", "any"] = "any"
    frame_clips: int | None = None
    reconstruct: bool = False
    grouped: bool = False
    shrunk: bool = False

    @property
    def videos(self) -> int:
        """Clips in all."""
        return self.count * self.samples

    def with_fewer(self, count: int | None, samples: int | None = None) -> Protocol:
        """The same with fewer first frames, or samples of each; None leaves it as it is."""
        count = self.count if count is None else min(count, self.count)
        samples = self.samples if samples is None else min(samples, self.samples)
        shrunk = (count, samples) != (self.count, self.samples)
        return replace(self, count=count, samples=samples, shrunk=shrunk)


# MERGED: BAIR robot pushing: one conditioning frame, 15 predicted.


BAIR = Protocol(
    name="bair",
    follows="BAIR as video prediction has it: the first frame of each of 256 test trajectories, 100"
    " samples of each; the average and the best of N, with and without the given frame, because"
    " papers differ; FVD on all 16 frames, real windows at random offsets as in StyleGAN-V",
    count=256,
    samples=100,
    real=2048,
    start="first",
    frames=16,
)


# MERGED: What `make demo` shows: one generated clip a label, of people nobody trained on.


DEMO = Protocol(
    name="demo",
    follows="no paper: one clip of each label, to look at; too few to compare systems",
    count=48,
    start="labels",
)


# MERGED: The paper's: Shen et al., AAAI 2024, "Metrics".


DVDM = Protocol(
    name="dvdm",
    follows="D-VDM (Shen et al. 2024): 2,048 random real and as many generated clips of 16 frames,"
    " random split; first frames and texts are drawn from those real clips, which it does not say",
    count=2048,
    real=2048,
    frames=16,
    split="random",
    grouped=True,
)


# MERGED: LFDM's: Ni et al., CVPR 2023, and what its authors say in their repository (#3, #36).


LFDM = Protocol(
    name="lfdm",
    follows="LFDM (Ni et al. 2023): 10,000 generated videos of 40 frames for people who are not in"
    " the training split; standard deviation over groups, as its authors say (their paper says"
    " variance)",
    count=10_000,
    real=10_000,
    frames=40,
    split="subjects",
    grouped=True,
)


# MERGED: The upper bound: real clips, encoded and decoded; the paper's Table 2.


RECONSTRUCTION = Protocol(
    name="reconstruction",
    follows="D-VDM's Table 2: R-FVD of 2,048 restored test clips; PSNR and SSIM of 100 clips of 16"
    " frames, with and without the given first frame, which it does not say",
    count=2048,
    real=2048,
    frames=16,
    frame_clips=100,
    reconstruct=True,
)


# MERGED: Which clips a protocol takes of a store, and the seed of each: pure, from the seed alone.


@dataclass(frozen=True)
class Candidates:
    """The test clips of a split, as far as planning needs them; arrays of shape (M,).

    Attributes:
        clip: positions in the store.
        video: what each is a window of: the video, and the repetition in it.
        start: index of each clip's first frame in the video.
        label, subject: of each; -1 = none.
    """

    clip: NDArray[np.int64]
    video: tuple[Hashable, ...]
    start: NDArray[np.int64]
    label: NDArray[np.int64]
    subject: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        windows: real clips, positions in the store, shape (M,).
        videos: how many videos they are from.
        clip: what each generated clip starts from (or the real clip that is restored), shape (N,).
        seed: of each generated clip, shape (N,).
    """

    windows: NDArray[np.int64]
    videos: int
    clip: NDArray[np.int64]
    seed: NDArray[np.int64]


def make_plan(protocol: Protocol, test: Candidates, seed: int) -> Plan:
    """Lay out what a protocol takes.

    Where there are fewer first frames than the protocol asks for, they are taken in turn.
    """
    count = len(test.clip) if protocol.real is None else protocol.real
    windows = draw_windows(test, count, seed)
    starts = {
        "windows": lambda: test.clip[windows],
        "first": lambda: first_windows(test, seed),
        "labels": lambda: one_a_label(test),
    }[protocol.start]()
    if protocol.start == "windows" and not protocol.reconstruct:
        firsts = np.resize(starts, protocol.count)
    else:
        firsts = starts[: protocol.count]
    clip = np.tile(firsts, protocol.samples)
    videos = len({test.video[k] for k in windows})
    return Plan(test.clip[windows], videos, clip, seed + np.arange(len(clip)))


def draw_windows(test: Candidates, count: int, seed: int) -> NDArray[np.int64]:
    """Rows of `test`: a random window of each video, videos in random order, round after round."""
    rng = np.random.default_rng([seed, 1])
    windows: dict[Hashable, list[int]] = {}
    for row in rng.permutation(len(test.clip)).tolist():
        windows.setdefault(test.video[row], []).append(row)
    rounds = max(map(len, windows.values()))
    order = [rows[k] for k in range(rounds) for rows in windows.values() if k < len(rows)]
    return np.array(order[:count], np.int64)


def first_windows(test: Candidates, seed: int) -> NDArray[np.int64]:
    """The earliest clip of every video, in random order."""
    earliest: dict[Hashable, int] = {}
    for row in np.argsort(test.start, kind="stable").tolist():
        earliest.setdefault(test.video[row], row)
    rows = np.array(sorted(earliest.values()), np.int64)
    return test.clip[np.random.default_rng([seed, 2]).permutation(rows)]


def one_a_label(test: Candidates) -> NDArray[np.int64]:
    """One clip of each label, subjects taking turns; all clips, in their order, without labels."""
    chosen = []
    for turn, label in enumerate(np.unique(test.label[test.label >= 0])):
        rows = np.flatnonzero(test.label == label)
        order = rows[np.argsort(test.subject[rows], kind="stable")]
        chosen.append(test.clip[order[turn % len(order)]])
    return np.array(chosen, np.int64) if chosen else test.clip


PROTOCOLS = {protocol.name: protocol for protocol in (DVDM, LFDM, BAIR, RECONSTRUCTION, DEMO)}


def protocol_named(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UserError: there is none.
    """
    if name not in PROTOCOLS:
        raise UserError(f"--protocol {name}: there is none; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
