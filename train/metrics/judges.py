"""The networks that judge clips: trained once for a store and a split, then used for every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from train.data import Clips
from train.metrics.classifier import ClipClassifier, train_classifier
from train.metrics.subject import SubjectEncoder, train_subject_encoder
from train.models.autoencoder import weights_hash


@dataclass(frozen=True)
class JudgeOptions:
    """How they are trained.

    Attributes:
        gesture_steps: of the classifier.
        subject_steps: of the subject encoder.
        seconds: ends either training earlier, at the price of exact repetition; None does not.
        seed: of weights, order and augmentation.
    """

    gesture_steps: int = 600
    subject_steps: int = 800
    seconds: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Judges:
    """Networks trained on a training split's real clips.

    Attributes:
        gesture: reads labels; None where there are fewer than two.
        subject: tells people apart; None where fewer than two are known on either side.
    """

    gesture: ClipClassifier | None
    subject: SubjectEncoder | None

    @property
    def identity(self) -> str:
        """Hashes of their weights: scores by judges of another identity do not compare."""
        networks = (self.gesture, self.subject)
        return "-".join("none" if n is None else weights_hash(n) for n in networks)


def train_judges(
    clips: Clips, folder: Path, device: torch.device, options: JudgeOptions | None = None
) -> Judges:
    """Train what the store has labels and subjects for; what is trained already is loaded.

    Args:
        clips: of which the training split is learned.
        folder: for checkpoints, in `gesture` and `subject`.
        device: to train on.
        options: None takes the defaults.

    Raises:
        UserError: the folder holds judges of another training split or other options.
    """
    chosen = options or JudgeOptions()
    gesture = subject = None
    labels = len(clips.store.attributes.labels)
    if labels > 1 and (clips.label[clips.train] >= 0).any():
        gesture = train_classifier(
            clips, labels, folder / "gesture", seconds=chosen.seconds, seed=chosen.seed,
            device=device, steps=chosen.gesture_steps,
        )  # fmt: skip
    if min(_known(clips, clips.train), _known(clips, clips.test)) > 1:
        subject = train_subject_encoder(
            clips, folder / "subject", seconds=chosen.seconds, seed=chosen.seed,
            device=device, steps=chosen.subject_steps,
        )  # fmt: skip
    return Judges(gesture, subject)


def _known(clips: Clips, indices: np.ndarray) -> int:
    """How many people are known among some clips."""
    subject = clips.store.column("subject")[indices]
    return len(np.unique(subject[subject >= 0]))
