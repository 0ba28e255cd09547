"""FVD (Unterthiner et al. 2018) as StyleGAN-V computes it, and LFDM's variants of it.

FVD is the Fréchet distance of I3D's logits. cFVD and sFVD (LFDM, Ni et al. 2023) are FVD within
each class and within each subject: mean and standard deviation over them (the authors' words in
their repository, issue 3; the paper says variance). R-FVD is FVD of reconstructions. Distances in
features of another network must not be reported under these names.

The network is StyleGAN-V's TorchScript file, which is given, never fetched.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import UserError

LOGITS = 400
SOURCE = "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt"
"""Address of StyleGAN-V's file; they state no checksum, so its hash stands next to every score."""

_TRIAL = (1, 3, 16, 64, 64)
_BATCH = 8


@dataclass(frozen=True)
class Gaussian:
    """Mean, shape (d,), and covariance over N, shape (d, d), of `count` feature vectors."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int


def fit_gaussian(features: NDArray[np.floating]) -> Gaussian:
    """Fit mean and covariance of features, shape (N, d); sums in float64.

    The covariance divides by N, not N - 1, as in StyleGAN-V's evaluation (Skorokhodov et al. 2022,
    `src/metrics`).
    """
    values = np.asarray(features, np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    return Gaussian(mean, centred.T @ centred / len(values), len(values))


def frechet_distance(generated: Gaussian, real: Gaussian) -> float:
    """Squared Fréchet distance of two Gaussians, as FID and FVD report it (Heusel et al. 2017).

    d² = |m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½).

    Raises:
        UserError: there are no more samples than dimensions on either side.
    """
    for name, side in (("generated", generated), ("real", real)):
        if complaint := why_too_few(name, side.count, len(side.mean)):
            raise UserError(complaint)
    means = np.square(generated.mean - real.mean).sum()
    traces = np.trace(generated.covariance) + np.trace(real.covariance)
    return float(means + traces - 2 * _trace_of_root(generated.covariance, real.covariance))


def _trace_of_root(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """tr (C₁ C₂)^½ of positive semi-definite matrices, shape (d, d), of any rank.

    The eigenvalues of C₁ C₂ are those of the symmetric C₁^½ C₂ C₁^½, which always has a root: the
    squares of the singular values of C₂^½ C₁^½.
    """
    product = _symmetric_root(other) @ _symmetric_root(one)
    return float(np.linalg.svd(product, compute_uv=False).sum())


def _symmetric_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    # Eigenvalues that are zero come out as rounding errors, whose roots would be large.
    values[values < len(values) * np.finfo(np.float64).eps * values.max()] = 0
    return (vectors * np.sqrt(values)) @ vectors.T


def frechet(generated: NDArray[np.floating], real: NDArray[np.floating]) -> float:
    """Fréchet distance of features, shapes (N, d) and (M, d).

    Raises:
        UserError: there are too few of either.
    """
    return frechet_distance(fit_gaussian(generated), fit_gaussian(real))


def samples_needed(dimensions: int) -> int:
    """Fewest samples whose covariance can have full rank."""
    return dimensions + 1


def why_too_few(side: str, count: int, dimensions: int) -> str | None:
    """Complaint about too few samples, with its remedies; None where they suffice."""
    needed = samples_needed(dimensions)
    if count >= needed:
        return None
    return (
        f"{side}: {count} clips for {dimensions} features; a covariance of full rank needs at least"
        f" {needed}: take more clips (--count), extract more windows of each video"
        " (preprocess run --hop), or compare fewer features"
    )


@dataclass(frozen=True)
class Grouped:
    """A distance within each of several groups.

    Attributes:
        mean: over groups.
        deviation: standard deviation over groups, divided by their number.
        groups: number of groups.
    """

    mean: float
    deviation: float
    groups: int


def grouped_frechet(
    generated: NDArray[np.floating],
    generated_group: NDArray[np.int64],
    real: NDArray[np.floating],
    real_group: NDArray[np.int64],
) -> Grouped:
    """Compute the distance within each group that occurs among the real clips.

    Args:
        generated: features, shape (N, d).
        generated_group: class or subject of each, shape (N,); -1 = none, left out.
        real: features, shape (M, d).
        real_group: likewise.

    Raises:
        UserError: a group has too few on either side; see `why_too_few_in_groups`.
    """
    distances = [
        frechet(generated[generated_group == group], real[real_group == group])
        for group in _groups(real_group)
    ]
    return Grouped(float(np.mean(distances)), float(np.std(distances)), len(distances))


def why_too_few_in_groups(
    kind: str, generated_group: NDArray[np.int64], real_group: NDArray[np.int64], dimensions: int
) -> str | None:
    """Complaint about the smallest group, and what would do; None where all suffice."""
    groups = _groups(real_group)
    if not len(groups):
        return f"the clips have no {kind} to compare within"
    for side, group in (("generated", generated_group), ("real", real_group)):
        fewest = min(int((group == one).sum()) for one in groups)
        if complaint := why_too_few(f"{side}, smallest {kind}", fewest, dimensions):
            enough = len(groups) * samples_needed(dimensions)
            return f"{complaint}; with {len(groups)} of them about {enough:,} clips in all"
    return None


def _groups(group: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(group[group >= 0])


@dataclass(frozen=True)
class I3D:
    """The I3D network of StyleGAN-V's FVD.

    It is called as they call it (`src/metrics/frechet_video_distance.py`), and scales and resizes
    inside.

    Attributes:
        sha256: of its file.
        network: as TorchScript loads it.
        device: of the network.
    """

    sha256: str
    network: torch.jit.ScriptModule
    device: torch.device

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> NDArray[np.float32]:
        """Logits of Kinetics-400, shape (B, 400), of clips uint8 (B, T, 3, H, W)."""
        batches = [
            self._logits(batch.transpose(1, 2).to(self.device)).float().cpu()  # (B, 3, T, H, W)
            for batch in frames.split(_BATCH)
        ]
        return torch.cat(batches).numpy()

    def _logits(self, clips: Tensor) -> Tensor:
        return self.network(clips, rescale=True, resize=True, return_features=True)


def load_i3d(path: Path, device: torch.device) -> I3D:
    """Load the file, and try it once.

    Raises:
        UserError: it does not exist, is no TorchScript, takes other arguments or gives something
            else than 400 numbers a clip.
    """
    remedy = f"StyleGAN-V's file is at {SOURCE}"
    if not path.is_file():
        raise UserError(f"--i3d {path}: no such file; {remedy}")
    try:
        network = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise UserError(
            f"--i3d {path}: not a TorchScript file ({_first_line(error)}); {remedy}"
        ) from None
    with path.open("rb") as file:
        i3d = I3D(hashlib.file_digest(file, "sha256").hexdigest(), network, device)
    try:
        found = i3d._logits(torch.zeros(_TRIAL, dtype=torch.uint8, device=device))
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"--i3d {path}: it must take uint8 clips (B, 3, T, H, W) with rescale=True,"
            f" resize=True, return_features=True; it says: {_first_line(error)}; {remedy}"
        ) from None
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if shape != (1, LOGITS):
        raise UserError(
            f"--i3d {path}: of one clip it gives {shape}; it must give {LOGITS} logits,"
            f" (1, {LOGITS}); {remedy}"
        )
    return i3d


def _first_line(error: Exception) -> str:
    """First line of a message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
