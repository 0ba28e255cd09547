"""The networks that judge clips: trained once for a store and a split, then used for every run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.schema import LARGE
from train.data.batches import BatchSlice, generator_for
from train.data.clips import ClipBatch, Clips
from train.models.autoencoder import weights_hash
from train.trainer.loop import Stage, fit
from train.trainer.schedule import TrainingOptions

# MERGED: A small classifier of clips, trained on real ones: does a generated clip show what was asked?
#
# It sees what changed since the first frame, at 32x32, so that it judges motion, not the subject.
# It is a stand-in of this project's own; its accuracy on real test clips stands beside every use.
# What its last layer reads, `FEATURES` numbers a clip, are the features of the Fréchet stand-in.


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

    def loss(network: nn.Module, tensors: dict[str, Tensor], part: BatchSlice) -> dict[str, Tensor]:
        batch = ClipBatch(**tensors)
        generator = generator_for(seed, part.step, part.start)
        torch.manual_seed(generator.initial_seed())  # for dropout
        logits = network(shift_clips(clips.frames(batch), generator))
        return {"loss": F.cross_entropy(logits, batch.label, label_smoothing=0.1)}

    config = {"labels": labels, "features": FEATURES, "seed": seed, **training_data(clips, usable)}
    stage = Stage(
        title="classifier", folder=folder, network=network, clips=usable, seed=seed,
        read=partial(clips.tensors, LARGE), loss=loss, config=config, options=options,
        device=device,
    )  # fmt: skip
    trained = fit(stage)
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


# MERGED: Does the person stay? A small network that tells people apart, for people it has not seen.
#
# It is trained to name the training split's subjects from frames at 64x64. On test clips, whose
# subjects may be others, no name is read: a clip's features, the mean over its later frames, are
# matched to the nearest of the test subjects' means over *other* real test clips of theirs. The
# first frame is left out, and so is the real clip that a generated one started from. What is matched
# is all that a frame shows of a person: clothes, build and surroundings.


_SUBJECT_SIDE = 64
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
        summary = nn.Linear(_CHANNELS[-1] * (_SUBJECT_SIDE >> len(_CHANNELS)) ** 2, FEATURES)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), summary)
        self.output = nn.Linear(FEATURES, subjects)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) in grey levels to logits (N, subjects)."""
        return self.output(self.features(frames))

    def features(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) in grey levels to features (N, FEATURES)."""
        resized = F.interpolate(
            frames.float(), size=(_SUBJECT_SIDE, _SUBJECT_SIDE), mode="bilinear", antialias=True
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

    def read(indices: NDArray[np.int64], *, pinned: bool) -> dict[str, Tensor]:
        wanted = torch.from_numpy(np.searchsorted(names, subject[indices]))
        return {**clips.tensors(LARGE, indices, pinned=pinned), "subject": wanted}

    def loss(network: nn.Module, tensors: dict[str, Tensor], part: BatchSlice) -> dict[str, Tensor]:
        wanted = tensors.pop("subject")
        batch = ClipBatch(**tensors)
        generator = generator_for(seed, part.step, part.start)
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
    stage = Stage(
        title="subject encoder", folder=folder, network=network, clips=usable, seed=seed, read=read,
        loss=loss, config=config, options=options, device=device,
    )  # fmt: skip
    trained = fit(stage)
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
