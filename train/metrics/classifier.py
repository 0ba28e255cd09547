"""A small classifier of clips, trained on real ones: does a generated clip show what was asked?

It sees what changed since the first frame, at 32x32, so that it judges motion, not the subject.
It is a stand-in of this project's own; its accuracy on real test clips stands beside every use.
What its last layer reads, `FEATURES` numbers a clip, are the features of the Fréchet stand-in.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.data import ClipBatch, Clips
from train.loop import Stage, TrainingOptions, fit
from train.share import Share, generator_for

FEATURES = 32
"""Few, so that some dozens of clips suffice for a covariance."""

_SIDE = 32
_GRID = 4


class ClipClassifier(nn.Module):
    """Convolutions over each frame's change, then over time, then one average.

    Args:
        labels: number of classes.
        width: channels of the first layer.
    """

    def __init__(self, labels: int, width: int = 24) -> None:
        super().__init__()
        self.space = nn.Sequential(
            nn.Conv2d(6, width, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        features = 2 * width * _GRID**2
        self.time = nn.Sequential(
            nn.Conv1d(features, 128, 1), nn.SiLU(), nn.Dropout(0.3),
            nn.Conv1d(128, 128, 3, padding=1), nn.SiLU(),
            nn.Conv1d(128, 128, 3, padding=1, stride=2), nn.SiLU(),
            nn.Conv1d(128, 128, 3, padding=1), nn.SiLU(),
        )  # fmt: skip
        self.summary = nn.Sequential(nn.Dropout(0.3), nn.LazyLinear(FEATURES))
        self.output = nn.Linear(FEATURES, labels)

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 clips (B, T, 3, H, W) to logits (B, labels)."""
        return self.output(self.features(frames))

    def features(self, frames: Tensor) -> Tensor:
        """uint8 clips (B, T, 3, H, W) to features (B, FEATURES)."""
        x = self.space(_changes(frames).flatten(0, 1)).flatten(1)
        x = self.time(x.unflatten(0, (len(frames), -1)).transpose(1, 2))
        return self.summary(x.flatten(1))


def train_classifier(
    clips: Clips,
    labels: int,
    folder: Path,
    *,
    seconds: float | None,
    seed: int,
    device: torch.device,
    steps: int = 100_000,
) -> ClipClassifier:
    """Train on the labelled clips of the training split, shifted at random.

    Ends after `steps`, or after `seconds` where given, whichever comes first.
    """
    torch.manual_seed(seed)
    network = ClipClassifier(labels).to(device)
    network(clips.frames(clips.batch(clips.train[:1], device)))  # shapes the last layer
    options = TrainingOptions(
        steps=steps, seconds=seconds, batch=16, learning_rate=2e-3, warmup=20, decay=True, ema=0.98,
        weight_decay=0.01, checkpoint_every=10_000, keep=1,
    )  # fmt: skip
    usable = clips.train[clips.label[clips.train] >= 0]

    def load(share: Share) -> ClipBatch:
        return clips.batch(share.indices(usable, seed), device)

    def loss(network: nn.Module, batch: ClipBatch, share: Share) -> dict[str, Tensor]:
        generator = generator_for(seed, share.step, share.start)
        torch.manual_seed(generator.initial_seed())  # for dropout
        logits = network(shift_clips(clips.frames(batch), generator))
        return {"loss": F.cross_entropy(logits, batch.label, label_smoothing=0.1)}

    config = {"labels": labels, "features": FEATURES, "seed": seed, **training_data(clips, usable)}
    trained = fit(Stage("classifier", folder, network, load, loss, config, options, device))
    assert isinstance(trained, ClipClassifier)
    return trained.eval()


@torch.no_grad()
def classify(network: nn.Module, frames: Tensor, device: torch.device) -> np.ndarray:
    """Most probable class of each clip: uint8 (B, T, 3, H, W) to int64 (B,)."""
    pieces = [network(piece.to(device)).argmax(1).cpu() for piece in frames.split(32)]
    return torch.cat(pieces).numpy()


def _changes(frames: Tensor) -> Tensor:
    """Change since frame 0 and since the frame before: (B, T-1, 6, 32, 32), about unit scale."""
    small = F.interpolate(
        frames.flatten(0, 1).float(), size=(_SIDE, _SIDE), mode="bilinear", antialias=True
    ).unflatten(0, frames.shape[:2])
    since_first, since_last = small[:, 1:] - small[:, :1], small[:, 1:] - small[:, :-1]
    return torch.cat([since_first, since_last], dim=2) / 64


def training_data(clips: Clips, usable: np.ndarray) -> dict[str, object]:
    """What judges were trained on, for their checkpoints: which clips, at what size.

    Stores of the same clips by other search options hold the same frames, and share their judges.
    """
    attributes = clips.store.attributes
    return {
        "plan_hash": attributes.plan_hash,
        "size": attributes.options.size,
        "clips": hashlib.sha256(usable.tobytes()).hexdigest()[:16],
    }


def shift_clips(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Clips (B, T, 3, H, W), each shifted at random by up to a sixteenth of its side; float."""
    reach = max(1, frames.shape[-1] // 16)
    padded = F.pad(frames.float().flatten(0, 1), (reach,) * 4, mode="replicate")
    padded = padded.unflatten(0, frames.shape[:2])
    height, width = frames.shape[-2:]
    corners = torch.randint(2 * reach + 1, (len(frames), 2), generator=generator).tolist()
    return torch.stack(
        [
            clip[..., y : y + height, x : x + width]
            for clip, (y, x) in zip(padded, corners, strict=True)
        ]
    )
