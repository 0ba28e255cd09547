"""Two small networks that read clips, trained once for a store and a split, used for every run.

The clip classifier says whether a generated clip shows what was asked for. It sees what changed
since the first frame, at 32x32, so that it reads motion and not the person. The subject encoder
says whether the person stays the same, also for people it has not seen: it is trained to name the
training split's subjects from frames at 64x64, and a clip's features, the mean over its later
frames, are matched to the nearest of the test subjects' means over *other* real test clips of
theirs. The first frame is left out, and so is the real clip that a generated one started from. All
that a frame shows of a person counts: clothes, build and surroundings.

Both are this project's own; their accuracy on real test clips stands next to every use. What their
last layers read, `FEATURES` numbers a clip, are the features of two Fréchet distances.
"""

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

FEATURES = 32
"""Numbers that describe a clip; few, so that some dozens of clips suffice for a covariance."""

_CLIP_SIDE, _CLIP_GRID = 32, 4
_SUBJECT_SIDE, _SUBJECT_CHANNELS = 64, (16, 32, 64, 64)
_SUBJECT_FRAMES = 2
"""Later frames of each clip in a training step of the subject encoder."""


@dataclass(frozen=True)
class EvaluationNetworkOptions:
    """Training of the evaluation networks.

    Attributes:
        gesture_steps: of the classifier.
        subject_steps: of the subject encoder.
        seed: of weights, order and augmentation.
    """

    gesture_steps: int = 600
    subject_steps: int = 800
    seed: int = 0

    @classmethod
    def of(cls, judge_steps: int) -> EvaluationNetworkOptions:
        """Steps of the classifier, and a third more of the subject encoder."""
        return cls(judge_steps, max(1, 4 * judge_steps // 3))


@dataclass(frozen=True)
class EvaluationNetworks:
    """Networks trained on the real clips of a training split.

    Attributes:
        gesture: reads labels; None where there are fewer than two.
        subject: describes people; None where fewer than two are known on either side.
    """

    gesture: ClipClassifier | None
    subject: SubjectEncoder | None

    @property
    def identity(self) -> str:
        """Hashes of the weights; results by networks of another identity do not compare."""
        networks = (self.gesture, self.subject)
        return "-".join("none" if n is None else weights_hash(n) for n in networks)


def train_evaluation_networks(
    clips: Clips,
    folder: Path,
    device: torch.device,
    options: EvaluationNetworkOptions | None = None,
) -> EvaluationNetworks:
    """Train the networks that the store has labels and subjects for, or load those trained before.

    Args:
        clips: of which the training split is learned.
        folder: for checkpoints, in `gesture` and `subject`.
        device: to train on.
        options: None takes the defaults.

    Raises:
        UserError: the folder holds networks of another training split or other options.
    """
    chosen = options or EvaluationNetworkOptions()
    gesture = subject = None
    if len(clips.store.attributes.labels) > 1 and (clips.label[clips.train] >= 0).any():
        gesture = train_classifier(clips, folder / "gesture", device, chosen)
    if min(_subject_count(clips, clips.train), _subject_count(clips, clips.test)) > 1:
        subject = train_subject_encoder(clips, folder / "subject", device, chosen)
    return EvaluationNetworks(gesture, subject)


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
        features = 2 * width * _CLIP_GRID**2
        self.time = nn.Sequential(
            nn.Conv1d(features, 128, 1), nn.SiLU(), nn.Dropout(0.3),
            nn.Conv1d(128, 128, 3, padding=1), nn.SiLU(),
            nn.Conv1d(128, 128, 3, padding=1, stride=2), nn.SiLU(),
            nn.Conv1d(128, 128, 3, padding=1), nn.SiLU(),
        )  # fmt: skip
        self.summary = nn.Sequential(nn.Dropout(0.3), nn.LazyLinear(FEATURES))
        self.output = nn.Linear(FEATURES, labels)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (B, labels) of uint8 clips (B, T, 3, H, W)."""
        return self.output(self.features(frames))

    def features(self, frames: Tensor) -> Tensor:
        """Features (B, FEATURES) of uint8 clips (B, T, 3, H, W)."""
        x = self.space(_changes(frames).flatten(0, 1)).flatten(1)  # (B T-1, 2 width 4 4)
        x = x.unflatten(0, (len(frames), -1)).transpose(1, 2)  # (B, 2 width 4 4, T-1)
        return self.summary(self.time(x).flatten(1))


def _changes(frames: Tensor) -> Tensor:
    """Change since frame 0 and since the frame before: (B, T-1, 6, 32, 32), about unit scale."""
    small = F.interpolate(
        frames.flatten(0, 1).float(), size=(_CLIP_SIDE, _CLIP_SIDE), mode="bilinear", antialias=True
    ).unflatten(0, frames.shape[:2])  # (B, T, 3, 32, 32)
    since_first, since_last = small[:, 1:] - small[:, :1], small[:, 1:] - small[:, :-1]
    return torch.cat([since_first, since_last], dim=2) / 64


def train_classifier(
    clips: Clips, folder: Path, device: torch.device, options: EvaluationNetworkOptions
) -> ClipClassifier:
    """Train on the labelled clips of the training split, shifted at random."""
    labels, seed = len(clips.store.attributes.labels), options.seed
    torch.manual_seed(seed)
    network = ClipClassifier(labels)
    # Shapes the last layer; on the CPU, so that its first weights are the same on every device.
    network(clips.frames(clips.batch(clips.train[:1], torch.device("cpu"))))
    network.to(device)
    usable = clips.train[clips.label[clips.train] >= 0]

    def loss(network: nn.Module, tensors: dict[str, Tensor], part: BatchSlice) -> dict[str, Tensor]:
        batch = ClipBatch(**tensors)
        generator = generator_for(seed, part.step, part.start)
        torch.manual_seed(generator.initial_seed())  # for dropout
        logits = network(_shift_clips(clips.frames(batch), generator))
        return {"loss": F.cross_entropy(logits, batch.label, label_smoothing=0.1)}

    stage = Stage(
        title="classifier",
        folder=folder,
        network=network,
        clips=usable,
        seed=seed,
        read=partial(clips.tensors, LARGE),
        loss=loss,
        config={"labels": labels, **_config(clips, usable, seed)},
        options=_training(options.gesture_steps),
        device=device,
    )
    trained = fit(stage)
    assert isinstance(trained, ClipClassifier)
    return trained.eval()


class SubjectEncoder(nn.Module):
    """Convolutions down to 4x4, then a linear layer.

    Args:
        subjects: number of people in training.
    """

    def __init__(self, subjects: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, made in pairwise((3, *_SUBJECT_CHANNELS)):
            layers += [nn.Conv2d(given, made, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2)]
        side = _SUBJECT_SIDE >> len(_SUBJECT_CHANNELS)
        summary = nn.Linear(_SUBJECT_CHANNELS[-1] * side**2, FEATURES)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), summary)
        self.output = nn.Linear(FEATURES, subjects)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (N, subjects) of frames (N, 3, H, W) in grey levels."""
        return self.output(self.features(frames))

    def features(self, frames: Tensor) -> Tensor:
        """Features (N, FEATURES) of frames (N, 3, H, W) in grey levels."""
        resized = F.interpolate(
            frames.float(), size=(_SUBJECT_SIDE, _SUBJECT_SIDE), mode="bilinear", antialias=True
        )
        return self.body(resized / 127.5 - 1)


def train_subject_encoder(
    clips: Clips, folder: Path, device: torch.device, options: EvaluationNetworkOptions
) -> SubjectEncoder:
    """Train on later frames of the training split's clips of known subjects, shifted at random."""
    seed = options.seed
    subject = clips.store.column("subject").astype(np.int64)
    usable = clips.train[subject[clips.train] >= 0]
    names = np.unique(subject[usable])
    torch.manual_seed(seed)
    network = SubjectEncoder(len(names)).to(device)

    def read(indices: NDArray[np.int64], *, pinned: bool) -> dict[str, Tensor]:
        wanted = torch.from_numpy(np.searchsorted(names, subject[indices]))
        return {**clips.tensors(LARGE, indices, pinned=pinned), "subject": wanted}

    def loss(network: nn.Module, tensors: dict[str, Tensor], part: BatchSlice) -> dict[str, Tensor]:
        wanted = tensors.pop("subject")
        batch = ClipBatch(**tensors)
        generator = generator_for(seed, part.step, part.start)
        torch.manual_seed(generator.initial_seed())  # for dropout
        frames = clips.frames(batch)
        shape = (len(frames), _SUBJECT_FRAMES)
        chosen = torch.randint(1, frames.shape[1], shape, generator=generator)
        rows = torch.arange(len(frames), device=device)[:, None]
        picked = frames[rows, chosen.to(device)]  # (B, _SUBJECT_FRAMES, 3, H, W)
        logits = network(_shift_clips(picked, generator).flatten(0, 1))
        target = wanted.repeat_interleave(_SUBJECT_FRAMES)
        return {"loss": F.cross_entropy(logits, target, label_smoothing=0.1)}

    stage = Stage(
        title="subject encoder",
        folder=folder,
        network=network,
        clips=usable,
        seed=seed,
        read=read,
        loss=loss,
        config={"subjects": len(names), **_config(clips, usable, seed)},
        options=_training(options.subject_steps),
        device=device,
    )
    trained = fit(stage)
    assert isinstance(trained, SubjectEncoder)
    return trained.eval()


@torch.no_grad()
def subject_features(network: SubjectEncoder, frames: Tensor, device: torch.device) -> Tensor:
    """Mean features of the later frames of clips: float32 (B, FEATURES) of (B, T, 3, H, W)."""
    later = frames[:, 1:]
    flat = network.features(later.flatten(0, 1).to(device)).cpu()  # (B T-1, FEATURES)
    return flat.unflatten(0, later.shape[:2]).mean(dim=1)


@dataclass(frozen=True)
class Gallery:
    """Real clips of known subjects, for generated clips to be matched with.

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
        """People in the gallery, sorted."""
        return np.unique(self.subject)

    def match(self, features: NDArray[np.floating], clip: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the nearest subject of each row, by distance to the mean of the subject's clips.

        Args:
            features: of the clips to be matched, shape (N, d).
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


def _training(steps: int) -> TrainingOptions:
    return TrainingOptions(
        steps=steps, batch=16, learning_rate=2e-3, warmup=20, decay=True, ema=0.98,
        weight_decay=0.01, checkpoint_every=10_000, keep=1,
    )  # fmt: skip


def _config(clips: Clips, usable: NDArray[np.int64], seed: int) -> dict[str, object]:
    """Training data of a network, for its checkpoints: which clips, at what size.

    Stores of the same clips by other search options hold the same frames, and share their networks.
    """
    attributes = clips.store.attributes
    return {
        "features": FEATURES,
        "seed": seed,
        "plan_hash": attributes.plan_hash,
        "size": attributes.options.size.option,
        "clips": hashlib.sha256(usable.tobytes()).hexdigest()[:16],
    }


def _shift_clips(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Clips (B, T, 3, H, W), each shifted at random by up to 1/16 of its shorter side; float."""
    reach = max(1, min(frames.shape[-2:]) // 16)
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


def _subject_count(clips: Clips, indices: NDArray[np.int64]) -> int:
    """Number of known people among some clips."""
    subject = clips.store.column("subject")[indices]
    return len(np.unique(subject[subject >= 0]))
