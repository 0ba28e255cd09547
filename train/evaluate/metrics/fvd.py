"""FVD (Unterthiner et al. 2018) as StyleGAN-V computes it, and LFDM's variants of it.

FVD is the Fréchet distance of I3D's logits. cFVD and sFVD (LFDM, Ni et al. 2023) are FVD within
each class and within each subject: mean and standard deviation over them (the authors' words in
their repository, #3; the paper says variance). R-FVD is FVD of reconstructions. Of the features of
any other network nothing here has a right to these names.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import UserError

# MERGED: The Fréchet distance between Gaussians fitted to features (Heusel et al. 2017).
#
# d² = |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½); covariances divide by N, not N − 1, as StyleGAN-V's
# evaluation does (Skorokhodov et al. 2022, `src/metrics`).


_IMAGINARY = 1e-3
"""BatchSlice of the root's trace that may come out imaginary, by rounding, before it is not trusted."""


@dataclass(frozen=True)
class Gaussian:
    """Mean, shape (d,), and covariance over N, shape (d, d), of `count` feature vectors."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    count: int


def fit_gaussian(features: NDArray[np.floating]) -> Gaussian:
    """Mean and covariance of features, shape (N, d); sums in float64."""
    values = np.asarray(features, np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    return Gaussian(mean, centred.T @ centred / len(values), len(values))


def samples_needed(dimensions: int) -> int:
    """Fewest samples whose covariance can have full rank."""
    return dimensions + 1


def why_too_few(what: str, count: int, dimensions: int) -> str | None:
    """The complaint about too few samples, with its remedies; None where they suffice."""
    needed = samples_needed(dimensions)
    if count >= needed:
        return None
    return (
        f"{what}: {count} clips for {dimensions} features; a covariance of full rank needs at least"
        f" {needed}: take more clips (--count), extract more windows of each video"
        " (preprocess run --hop), or compare fewer features"
    )


def frechet_distance(generated: Gaussian, real: Gaussian) -> float:
    """Squared Fréchet distance, as FID and FVD report it.

    Raises:
        UserError: there are no more samples than dimensions on either side.
    """
    for name, side in (("generated", generated), ("real", real)):
        if complaint := why_too_few(name, side.count, len(side.mean)):
            raise UserError(complaint)
    apart = np.square(generated.mean - real.mean).sum()
    spread = np.trace(generated.covariance) + np.trace(real.covariance)
    return float(apart + spread - 2 * _trace_of_root(generated.covariance, real.covariance))


def _trace_of_root(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """tr (C₁ C₂)^½, by scipy; from symmetric matrices where C₁ C₂ is singular.

    The product of singular covariances need not have a root, but its eigenvalues are those of
    C₁^½ C₂ C₁^½, which always has.
    """
    from scipy.linalg import LinAlgWarning, sqrtm

    with warnings.catch_warnings():
        warnings.simplefilter("error", LinAlgWarning)
        try:
            trace = complex(np.trace(sqrtm(one @ other)))
        except LinAlgWarning:
            trace = complex("nan")
    if np.isfinite(trace) and abs(trace.imag) <= _IMAGINARY * abs(trace.real):
        return trace.real
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return float(np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum())


# MERGED: The I3D network of StyleGAN-V's FVD: a TorchScript file that is given, never fetched.
#
# It is called as they call it (`src/metrics/frechet_video_distance.py`): uint8 clips (B, C, T, H, W),
# 0 to 255, with rescale=True, resize=True, return_features=True; it scales and resizes inside, and
# gives the 400 logits of Kinetics-400.


LOGITS = 400
SOURCE = "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt"
"""Where StyleGAN-V has it; they state no checksum, so the hash stands beside every score."""

_TRIAL = (1, 3, 16, 64, 64)
_BATCH = 8
_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class I3D:
    """A loaded network.

    Attributes:
        sha256: of its file.
        network: as TorchScript loads it.
        device: where it is.
    """

    sha256: str
    network: torch.jit.ScriptModule
    device: torch.device

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> NDArray[np.float32]:
        """Logits, shape (B, 400), of clips uint8 (B, T, 3, H, W)."""
        pieces = [
            self._logits(piece.transpose(1, 2).to(self.device)).float().cpu()
            for piece in frames.split(_BATCH)
        ]
        return torch.cat(pieces).numpy()

    def _logits(self, clips: Tensor) -> Tensor:
        return self.network(clips, rescale=True, resize=True, return_features=True)


def load_i3d(path: Path, device: torch.device) -> I3D:
    """Load the file, and try it once.

    Raises:
        UserError: it is not there, is no TorchScript, takes other arguments or gives something else
            than 400 numbers a clip.
    """
    remedy = f"StyleGAN-V's file is at {SOURCE}"
    if not path.is_file():
        raise UserError(f"--i3d {path}: no such file; {remedy}")
    try:
        network = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise UserError(
            f"--i3d {path}: not a TorchScript file ({_first(error)}); {remedy}"
        ) from None
    i3d = I3D(_sha256(path), network, device)
    try:
        found = i3d._logits(torch.zeros(_TRIAL, dtype=torch.uint8, device=device))
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"--i3d {path}: it must take uint8 clips (B, 3, T, H, W) with rescale=True,"
            f" resize=True, return_features=True; it says: {_first(error)}; {remedy}"
        ) from None
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if shape != (1, LOGITS):
        raise UserError(
            f"--i3d {path}: of one clip it gives {shape}; it must give {LOGITS} logits,"
            f" (1, {LOGITS}); {remedy}"
        )
    return i3d


def _first(error: Exception) -> str:
    """The first line of a message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASHED_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class Grouped:
    """A distance within each of several groups.

    Attributes:
        mean: over groups.
        spread: standard deviation over groups, divided by their number.
        groups: how many.
    """

    mean: float
    spread: float
    groups: int


def frechet(generated: NDArray[np.floating], real: NDArray[np.floating]) -> float:
    """Fréchet distance of features, shapes (N, d) and (M, d).

    Raises:
        UserError: there are too few of either.
    """
    return frechet_distance(fit_gaussian(generated), fit_gaussian(real))


def grouped_frechet(
    generated: NDArray[np.floating],
    generated_group: NDArray[np.int64],
    real: NDArray[np.floating],
    real_group: NDArray[np.int64],
) -> Grouped:
    """The distance within each group that occurs among the real clips.

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
    what: str, generated_group: NDArray[np.int64], real_group: NDArray[np.int64], dimensions: int
) -> str | None:
    """The complaint about the smallest group, and what would do; None where all suffice."""
    groups = _groups(real_group)
    if not len(groups):
        return f"the clips have no {what} to compare within"
    for side, group in (("generated", generated_group), ("real", real_group)):
        fewest = min(int((group == one).sum()) for one in groups)
        if complaint := why_too_few(f"{side}, smallest {what}", fewest, dimensions):
            enough = len(groups) * samples_needed(dimensions)
            return f"{complaint}; with {len(groups)} of them about {enough:,} clips in all"
    return None


def _groups(group: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(group[group >= 0])
