"""Does the person stay? A small network that tells people apart, for people it has not seen.

It is trained to name the training split's subjects from frames at 64x64. On test clips, whose
subjects may be others, no name is read: a clip's features, the mean over its later frames, are
matched to the nearest of the test subjects' means over *other* real test clips of theirs. The
first frame is left out, and so is the real clip that a generated one started from. What is matched
is all that a frame shows of a person: clothes, build and surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from train.data import ClipBatch, Clips
from train.loop import Stage, TrainingOptions, fit
from train.metrics.classifier import shift_clips, training_data
from train.share import Share, generator_for

FEATURES = 32
_SIDE = 64
_CHANNELS = (16, 32, 64, 64)
_FRAMES = 2
"""Later frames of each clip that a training step sees."""


class SubjectEncoder(nn.Module):
    """Convolutions down to 4x4, then a linear layer.

    Args:
        subjects: number of people to tell apart in training.
    """

    def __init__(self, subjects: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, made in pairwise((3, *_CHANNELS)):
            layers += [nn.Conv2d(given, made, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2)]
        summary = nn.Linear(_CHANNELS[-1] * (_SIDE >> len(_CHANNELS)) ** 2, FEATURES)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), summary)
        self.output = nn.Linear(FEATURES, subjects)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) in grey levels to logits (N, subjects)."""
        return self.output(self.features(frames))

    def features(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) in grey levels to features (N, FEATURES)."""
        resized = F.interpolate(
            frames.float(), size=(_SIDE, _SIDE), mode="bilinear", antialias=True
        )
        return self.body(resized / 127.5 - 1)


def train_subject_encoder(
    clips: Clips,
    folder: Path,
    *,
    steps: int,
    seconds: float | None,
    seed: int,
    device: torch.device,
) -> SubjectEncoder:
    """Train on later frames of the training split's clips of known subjects, shifted at random."""
    subject = clips.store.column("subject").astype(np.int64)
    usable = clips.train[subject[clips.train] >= 0]
    names = np.unique(subject[usable])
    torch.manual_seed(seed)
    network = SubjectEncoder(len(names)).to(device)
    options = TrainingOptions(
        steps=steps, seconds=seconds, batch=16, learning_rate=2e-3, warmup=20, decay=True, ema=0.98,
        weight_decay=0.01, checkpoint_every=10_000, keep=1,
    )  # fmt: skip

    def load(share: Share) -> tuple[ClipBatch, Tensor]:
        indices = share.indices(usable, seed)
        wanted = torch.from_numpy(np.searchsorted(names, subject[indices]))
        return clips.batch(indices, device), wanted.to(device)

    def loss(
        network: nn.Module, given: tuple[ClipBatch, Tensor], share: Share
    ) -> dict[str, Tensor]:
        batch, wanted = given
        generator = generator_for(seed, share.step, share.start)
        torch.manual_seed(generator.initial_seed())  # for dropout
        frames = clips.frames(batch)
        chosen = torch.randint(1, frames.shape[1], (len(frames), _FRAMES), generator=generator)
        rows = torch.arange(len(frames), device=device)[:, None]
        seen = shift_clips(frames[rows, chosen.to(device)], generator).flatten(0, 1)
        error = F.cross_entropy(
            network(seen), wanted.repeat_interleave(_FRAMES), label_smoothing=0.1
        )
        return {"loss": error}

    config = {
        "subjects": len(names), "features": FEATURES, "seed": seed,
        **training_data(clips, usable),
    }  # fmt: skip
    trained = fit(Stage("subject encoder", folder, network, load, loss, config, options, device))
    assert isinstance(trained, SubjectEncoder)
    return trained.eval()


@torch.no_grad()
def subject_features(network: SubjectEncoder, frames: Tensor, device: torch.device) -> Tensor:
    """Mean features of the later frames of clips: float32 (B, FEATURES) of (B, T, 3, H, W)."""
    later = frames[:, 1:]
    flat = network.features(later.flatten(0, 1).to(device)).cpu()
    return flat.unflatten(0, later.shape[:2]).mean(dim=1)


@dataclass(frozen=True)
class Gallery:
    """Real clips of known subjects to match with.

    Attributes:
        clip: positions in the store, shape (M,).
        subject: index of each clip's subject, at least 0, shape (M,).
        features: shape (M, d).
    """

    clip: NDArray[np.int64]
    subject: NDArray[np.int64]
    features: NDArray[np.floating]

    @property
    def subjects(self) -> NDArray[np.int64]:
        """The people in it, sorted."""
        return np.unique(self.subject)

    def match(self, features: NDArray[np.floating], clip: NDArray[np.int64]) -> NDArray[np.int64]:
        """The nearest subject of each row, by distance to the mean of the subject's clips.

        Args:
            features: of the judged clips, shape (N, d).
            clip: the real clip that each started from, left out of the means; shape (N,).

        Returns:
            Shape (N,); -1 where leaving out leaves nothing of that clip's own subject to match.
        """
        return np.array(
            [self._match_one(*row) for row in zip(features, clip, strict=True)], np.int64
        )

    def _match_one(self, feature: NDArray[np.floating], clip: int) -> int:
        others = self.clip != clip
        own = set(self.subject[~others].tolist())
        if not own <= set(self.subject[others].tolist()):
            return -1
        means = [
            self.features[others & (self.subject == person)].mean(axis=0)
            for person in self.subjects
        ]
        distances = np.square(np.stack(means) - feature).sum(axis=1)
        return int(self.subjects[distances.argmin()])
