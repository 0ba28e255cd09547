"""Protocols of evaluation: which test clips, how many samples, what is compared with what.

Planning is pure: the clips of a protocol follow from the store, the split and the seed alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shared.errors import UserError
from shared.schema import StoreAttributes

CODES_IS_GONE = (
    "codes is gone: train each autoencoder as a run, dvdm-train vae --recipe RECIPE"
    " --store STORE --out RUN --set autoencoder.kind=klt (zero, dct, block, kl, contextual), and"
    " evaluate it, dvdm-train evaluate --run RUN --store STORE --protocol reconstruction"
)
"""Answer to the former command `codes`."""


@dataclass(frozen=True)
class Protocol:
    """A way of evaluating a run; the same protocol, seed and run give the same numbers.

    Attributes:
        name: value of --protocol.
        follows: the paper or tool it is from, and our choices where that says nothing.
        count: first frames that clips are generated from, or real clips that are reconstructed.
        samples: clips generated from each first frame, with seeds of their own.
        real: real windows that distributions are compared with, at most: one random window of each
            test video, then a second one of each, and so on; None: all test clips.
        start: first frames of generated clips. `windows`: of the real windows, in turn; `first`: of
            the first window of each video; `labels`: of one clip of each label.
        frames: number of frames that clips must have; None: any.
        split: what the run's split must keep apart: `subjects`; only videos (`random`); `any`.
        frame_clips: number of clips that frame-wise metrics are taken of; None: all.
        reconstruct: real clips are encoded and decoded again; none are generated.
        grouped: distances within classes and within subjects are computed, too.
        shrunk: whether `count` or `samples` is smaller than the protocol's own.
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
        """Number of clips in all."""
        return self.count * self.samples

    def with_fewer(self, count: int | None, samples: int | None = None) -> Protocol:
        """Reduce the number of first frames or samples; None keeps it."""
        count = self.count if count is None else min(count, self.count)
        samples = self.samples if samples is None else min(samples, self.samples)
        shrunk = (count, samples) != (self.count, self.samples)
        return replace(self, count=count, samples=samples, shrunk=shrunk)


PROTOCOLS = {
    "dvdm": Protocol(
        "dvdm",
        follows="D-VDM (Shen et al. 2024): 2,048 random real and as many generated clips of 16"
        " frames, random split; first frames and texts are drawn from those real clips, which it"
        " does not say",
        count=2048,
        real=2048,
        frames=16,
        split="random",
        grouped=True,
    ),
    "lfdm": Protocol(
        "lfdm",
        # Its authors explain the protocol in their repository, issues 3 and 36.
        follows="LFDM (Ni et al. 2023): 10,000 generated videos of 40 frames for people who are not"
        " in the training split; standard deviation over groups, as its authors say (their paper"
        " says variance)",
        count=10_000,
        real=10_000,
        frames=40,
        split="subjects",
        grouped=True,
    ),
    "bair": Protocol(
        "bair",
        follows="BAIR as video prediction has it: the first frame of each of 256 test trajectories,"
        " 100 samples of each; the average and the best of N, with and without the given frame,"
        " because papers differ; FVD on all 16 frames, real windows at random offsets as in"
        " StyleGAN-V",
        count=256,
        samples=100,
        real=2048,
        start="first",
        frames=16,
    ),
    "reconstruction": Protocol(
        "reconstruction",
        follows="D-VDM's Table 2: R-FVD of 2,048 restored test clips; PSNR and SSIM of 100 clips of"
        " 16 frames, with and without the given first frame, which it does not say",
        count=2048,
        real=2048,
        frames=16,
        frame_clips=100,
        reconstruct=True,
    ),
    "demo": Protocol(
        "demo",
        follows="no paper: one clip of each label, to look at; too few to compare systems",
        count=48,
        start="labels",
    ),
}


def protocol_named(name: str) -> Protocol:
    """Look a protocol up.

    Raises:
        UserError: there is none of the name.
    """
    if name not in PROTOCOLS:
        raise UserError(f"--protocol {name}: there is none; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def check_protocol_fits(protocol: Protocol, store: StoreAttributes, split: str | None) -> None:
    """Check that a store's clips and a run's split are what a protocol is about.

    Raises:
        UserError: clips have another number of frames, or the split keeps something else apart.
    """
    frames = store.options.frames
    if protocol.frames not in (None, frames):
        raise UserError(
            f"--protocol {protocol.name} is about clips of {protocol.frames} frames; the store's"
            f" have {frames}: extract with --frames {protocol.frames}, or take --protocol demo"
        )
    name = split_name(store, split)
    rule: Mapping[str, Any] = store.splits.get(name, {})
    by_subject = rule.get("kind") == "subjects" or rule.get("by") == "subject"
    if protocol.split != "any" and by_subject != (protocol.split == "subjects"):
        wanted = "people nobody trained on" if protocol.split == "subjects" else "a random split"
        raise UserError(
            f"--protocol {protocol.name} is about {wanted}, and the run was trained with the split"
            f" {name!r}; the store has {', '.join(store.splits)}: train with --set split=NAME"
        )


def split_name(store: StoreAttributes, split: str | None) -> str:
    """Name of a run's split; None stands for the store's first."""
    return split or next(iter(store.splits), "any")


@dataclass(frozen=True)
class Candidates:
    """Test clips of a split, as far as planning needs them; arrays of shape (M,).

    Attributes:
        clip: positions in the store.
        video: video of each, and the repetition in it.
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
    """Clips to make, and the real windows to compare them with.

    Attributes:
        windows: real clips, positions in the store, shape (M,).
        videos: number of videos they are from.
        clip: real clip whose first frame each generated clip starts from, or that is
            reconstructed, shape (N,).
        seed: of each generated clip, shape (N,).
    """

    windows: NDArray[np.int64]
    videos: int
    clip: NDArray[np.int64]
    seed: NDArray[np.int64]


def make_plan(protocol: Protocol, test: Candidates, seed: int) -> Plan:
    """Choose the clips of a protocol.

    Generated clips start from the real windows in turn where those are fewer than `count`.
    """
    count = len(test.clip) if protocol.real is None else protocol.real
    windows = draw_windows(test, count, seed)
    if protocol.start == "windows":
        starts = test.clip[windows]
        if not protocol.reconstruct:
            starts = np.resize(starts, protocol.count)
    elif protocol.start == "first":
        starts = _first_windows(test, seed)
    else:
        rows = np.arange(len(test.clip))
        chosen = choose_clips(test.label, test.subject, rows)
        starts = test.clip[chosen] if len(chosen) else test.clip  # a store without labels
    clip = np.tile(starts[: protocol.count], protocol.samples)
    videos = len({test.video[k] for k in windows})
    return Plan(test.clip[windows], videos, clip, seed + np.arange(len(clip)))


def draw_windows(test: Candidates, count: int, seed: int) -> NDArray[np.int64]:
    """Draw rows of `test`: a random window of each video, videos shuffled, round after round."""
    rng = np.random.default_rng([seed, 1])
    windows: dict[Hashable, list[int]] = {}
    for row in rng.permutation(len(test.clip)).tolist():
        windows.setdefault(test.video[row], []).append(row)
    rounds = max(map(len, windows.values()))
    order = [rows[k] for k in range(rounds) for rows in windows.values() if k < len(rows)]
    return np.array(order[:count], np.int64)


def _first_windows(test: Candidates, seed: int) -> NDArray[np.int64]:
    """Take the earliest clip of every video, in random order."""
    earliest: dict[Hashable, int] = {}
    for row in np.argsort(test.start, kind="stable").tolist():
        earliest.setdefault(test.video[row], row)
    rows = np.array(sorted(earliest.values()), np.int64)
    return test.clip[np.random.default_rng([seed, 2]).permutation(rows)]


def choose_clips(
    label: NDArray[np.int64],
    subject: NDArray[np.int64],
    clips: NDArray[np.int64],
    per_label: int = 1,
    *,
    alternate: bool = False,
) -> NDArray[np.int64]:
    """Choose the same number of clips for every label, subjects taking turns.

    A label's clips are ordered by subject; each label begins one clip later than the label before.

    Args:
        label, subject: of all clips of a store, shape (N,); -1 = none.
        clips: positions to choose from, sorted.
        per_label: clips of each label.
        alternate: order a label's clips so that no subject comes again before all others came.

    Returns:
        Positions, label by label; none where no clip has a label.

    Raises:
        UserError: a label has fewer clips.
    """
    chosen = [np.zeros(0, np.int64)]
    for turn, one in enumerate(np.unique(label[clips][label[clips] >= 0])):
        own = clips[label[clips] == one]
        if len(own) < per_label:
            raise UserError(
                f"label {one} has {len(own)} clips to choose from; {per_label} of each are needed"
            )
        people = subject[own]
        order = np.argsort(people, kind="stable")
        if alternate:
            came_before = [int((people[:k] == person).sum()) for k, person in enumerate(people)]
            order = np.lexsort((people, came_before))
        chosen.append(np.roll(own[order], -turn)[:per_label])
    return np.concatenate(chosen)
