"""Score a run on the test split: one clip a label, each from a first frame nobody trained on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shared.reader import ClipReader
from train.compensate import decode_clips
from train.data import ClipBatch, Clips
from train.generate import Generator
from train.metrics.classifier import classify, train_classifier
from train.metrics.frames import psnr
from train.spaces import Space

_RECONSTRUCTED = 48


@dataclass(frozen=True)
class Scores:
    """What was measured; every PSNR in dB over frames 1...T-1, averaged over frames and clips."""

    clips: int
    """Generated clips."""
    read_as_asked: int | None
    """How many of them the classifier reads as the label they were asked for."""
    classifier_accuracy_real: float | None
    """The same classifier's accuracy on real test clips."""
    psnr_generated: float
    """Generated against the real clip of the same subject and label."""
    psnr_unrefined: float
    """The same before the refining network; equal where there is none."""
    psnr_first_frame: float
    """The first frame repeated against the real clip."""
    motion_ratio: float
    """Mean absolute change between frames, generated over real."""
    psnr_reconstruction: float
    """Real test clips encoded and decoded again: what the space and its autoencoder lose."""
    psnr_vectors_alone: float
    """Real test clips from exact vectors without residual."""
    psnr_reconstruction_first_frame: float
    """The first frame repeated, on the clips of the two figures above."""
    seed: int


@dataclass(frozen=True)
class Evaluation:
    """Scores and the clips behind them, frames uint8 (N, T, 3, H, W).

    `read_as`: the classifier's verdict on each generated clip, or None.
    """

    scores: Scores
    indices: np.ndarray
    real: Tensor
    generated: Tensor
    read_as: np.ndarray | None


def evaluate(
    generator: Generator, store: ClipReader, out: Path, *, seed: int, classifier_seconds: float
) -> Evaluation:
    """Generate, score and write OUT/scores.json and OUT/generated.safetensors.

    The classifier is trained on the training split; its checkpoint goes to OUT/classifier.
    """
    clips = Clips(store, generator.recipe.split)
    indices = _one_clip_a_label(clips)
    batch = clips.batch(indices, torch.device("cpu"))
    real = clips.frames(batch)
    asked = [None if label < 0 else int(label) for label in batch.label]
    decoded = generator(batch.first_frame, asked, [seed + k for k in range(len(indices))])
    accuracy, read_as = _read(generator, clips, out, decoded.frames, seed, classifier_seconds)
    unrefined = decoded.parts.get("unrefined", decoded.frames)
    scores = Scores(
        clips=len(indices),
        read_as_asked=None if read_as is None else int((read_as == batch.label.numpy()).sum()),
        classifier_accuracy_real=accuracy,
        psnr_generated=_mean_psnr(decoded.frames, real),
        psnr_unrefined=_mean_psnr(unrefined, real),
        psnr_first_frame=_mean_psnr(real[:, :1].expand_as(real), real),
        motion_ratio=_motion(decoded.frames) / max(1e-9, _motion(real)),
        seed=seed,
        **_reconstruction(generator.space, clips),
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "scores.json").write_text(json.dumps(asdict(scores), indent=1))
    tensors = {"frames": decoded.frames, "unrefined": unrefined, "real": real, "label": batch.label}
    if "motion" in decoded.parts:
        tensors["motion"] = decoded.parts["motion"]
    _save(out, tensors, indices, read_as)
    return Evaluation(scores, indices, real, decoded.frames, read_as)


def reconstruct(space: Space, batch: ClipBatch) -> Tensor:
    """Clips encoded and decoded again, unrefined: uint8, shape (B, T, 3, H, W)."""
    decoded = space.decode(space.encode(batch), batch.first_frame)
    return decoded.parts.get("unrefined", decoded.frames)


def _one_clip_a_label(clips: Clips) -> np.ndarray:
    """One test clip for each label, subjects taking turns; test clips at large without labels."""
    labels = np.unique(clips.label[clips.test])
    subjects = clips.store.column("subject")
    chosen = []
    for turn, label in enumerate(labels[labels >= 0]):
        candidates = clips.test[clips.label[clips.test] == label]
        order = np.argsort(subjects[candidates], kind="stable")
        chosen.append(candidates[order[turn % len(order)]])
    return np.array(chosen) if chosen else clips.test[:8]


def _read(
    generator: Generator,
    clips: Clips,
    out: Path,
    generated: Tensor,
    seed: int,
    seconds: float,
) -> tuple[float | None, np.ndarray | None]:
    """The classifier's accuracy on real test clips, and what it reads in generated ones."""
    labels = len(generator.store.labels)
    labelled = clips.test[clips.label[clips.test] >= 0]
    if labels < 2 or not len(labelled):
        return None, None
    network = train_classifier(
        clips, labels, out / "classifier", seconds=seconds, seed=seed, device=generator.device
    )
    verdicts = [
        classify(network, clips.frames(clips.batch(piece, generator.device)), generator.device)
        for piece in np.array_split(labelled, -(-len(labelled) // 32))
    ]
    accuracy = float((np.concatenate(verdicts) == clips.label[labelled]).mean())
    return accuracy, classify(network, generated, generator.device)


def _reconstruction(space: Space, clips: Clips) -> dict[str, float]:
    chosen = clips.test[:: max(1, len(clips.test) // _RECONSTRUCTED)][:_RECONSTRUCTED]
    batch = clips.batch(chosen, torch.device("cpu"))
    real = clips.frames(batch)
    alone = decode_clips(
        batch.first_frame,
        batch.motion,
        torch.zeros_like(batch.residual),
        block=space.store.block,
        reference=space.store.reference,
        vector_unit=space.store.vector_unit,
    )
    return {
        "psnr_reconstruction": _mean_psnr(reconstruct(space, batch), real),
        "psnr_vectors_alone": _mean_psnr(alone, real),
        "psnr_reconstruction_first_frame": _mean_psnr(real[:, :1].expand_as(real), real),
    }


def _mean_psnr(frames: Tensor, truth: Tensor) -> float:
    return float(psnr(frames[:, 1:], truth[:, 1:]).mean())


def _motion(frames: Tensor) -> float:
    return float((frames[:, 1:].float() - frames[:, :-1].float()).abs().mean())


def _save(
    out: Path, tensors: dict[str, Tensor], indices: np.ndarray, read_as: np.ndarray | None
) -> None:
    """Generated clips as lossless arrays, with the test clips they belong to."""
    from safetensors.torch import save_file

    whole = tensors | {"clip": torch.from_numpy(indices)}
    if read_as is not None:
        whole["read_as"] = torch.from_numpy(read_as)
    # Clones, because a file may not name the same memory twice.
    save_file({n: t.contiguous().clone() for n, t in whole.items()}, out / "generated.safetensors")
