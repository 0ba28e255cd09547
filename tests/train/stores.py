"""Small real stores: random clips, exact residuals, some slots that are not valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.conventions import NO_INDEX, motion_channels
from shared.motion_compensation import residual
from shared.schema import CodecOptions, StoreAttributes
from shared.store.store import Store, create_store, seal_store
from tests.stores import write_partition

LABELS = ("Go", "Halt", "Turn Left", "Turn Right")
SUBJECTS = ("a", "b", "c")
SPLITS: dict[str, dict[str, Any]] = {
    "subjects": {"kind": "subjects", "train": tuple("abdegh"), "test": tuple("cf")},
    "videos": {"kind": "random", "by": "video", "test_fraction": 0.2, "seed": 0},
}
OPTIONS = CodecOptions(size=16, frames=4, block=4, search_range=3, reference="first")

_SHARD_CLIPS = 5
_INVALID = (2, 9)
_EVERY = 5
"""The protocol `videos` takes every fifth video for the test."""


def random_clip(options: CodecOptions, seed: int) -> NDArray[np.uint8]:
    """A random picture that brightens and gets noisier."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(30, 200, (3, *options.size))
    change = rng.integers(-20, 30, (options.frames, *picture.shape)).cumsum(axis=0)
    return (picture + change).clip(0, 255).astype(np.uint8)


def random_motion(options: CodecOptions, seed: int) -> NDArray[np.int8]:
    """Vectors within the search range, about half of them zero; any reference index."""
    rng = np.random.default_rng([seed, 1])
    reach, shape = options.vector_limit, (options.frames - 1, 2, *options.grid)
    moves = rng.random((shape[0], 1, *shape[2:])) < 0.5
    vectors = rng.integers(-reach, reach + 1, shape) * moves
    indices = rng.integers(0, 2, (shape[0], motion_channels(options.reference) - 2, *shape[2:]))
    return np.concatenate([vectors, indices], axis=1).astype(np.int8)


def write_store(
    path: Path,
    *,
    options: CodecOptions = OPTIONS,
    labels: tuple[str, ...] = LABELS,
    subjects: tuple[str, ...] = SUBJECTS,
    splits: dict[str, dict[str, Any]] = SPLITS,
    clips: list[NDArray[np.uint8]] | None = None,
    plan_hash: str = "plan",
    consecutive: int = 1,
) -> list[NDArray[np.uint8]]:
    """Write and seal a store of one clip a subject and label, and two slots that are not valid.

    So many `consecutive` slots are of one video, each where the one before ends.

    Returns:
        The valid clips, in the store's order.
    """
    pairs = [(s, k) for s in range(len(subjects)) for k in range(len(labels) or 4)]
    clips = clips or [random_clip(options, seed) for seed in range(len(pairs))]
    rows = [
        _row(options, clip, random_motion(options, seed), label if labels else NO_INDEX, subject)
        | {"split": _sides(subjects[subject], seed)[: len(splits) or 1]}
        for seed, (clip, (subject, label)) in enumerate(zip(clips, pairs, strict=True))
    ]
    for place in _INVALID:
        rows.insert(place, _failed(rows[0]))
    create_store(path, _attributes(options, labels, subjects, splits, len(rows), plan_hash))
    for partition, start in enumerate(range(0, len(rows), _SHARD_CLIPS)):
        piece = rows[start : start + _SHARD_CLIPS]
        columns = {name: np.stack([row[name] for row in piece]) for name in piece[0]}
        video, place = np.divmod(start + np.arange(len(piece)), consecutive)
        columns["video"] = np.array([f"v{number}.mp4" for number in video])
        columns["start_frame"] += (place * options.frames).astype(np.int32)
        columns["frame_index"] += columns["start_frame"][:, None]
        write_partition(path, partition, columns, [])
    seal_store(path)
    return clips


def make_store(path: Path, **options: Any) -> Store:
    """`write_store`, then open it."""
    write_store(path, **options)
    return Store(path)


def _sides(subject: str, number: int) -> NDArray[np.int8]:
    """By the protocols of `SPLITS`: 0 is training, 1 is test."""
    return np.array([subject in SPLITS["subjects"]["test"], number % _EVERY == 0], np.int8)


def _row(
    options: CodecOptions, clip: np.ndarray, motion: np.ndarray, label: int, subject: int
) -> dict[str, np.ndarray]:
    rest = residual(
        clip,
        motion,
        options.codec,
    )
    return {
        "first_frame": clip[0],
        "motion": motion,
        "residual": rest,
        "label": np.array(label, np.int16),
        "subject": np.array(subject, np.int16),
        "video": np.array(""),
        "segment": np.array(0, np.int32),
        "start_frame": np.array(0, np.int32),
        "frame_index": np.arange(options.frames, dtype=np.int32),
        "valid": np.array(True),
    }


def _failed(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A slot whose video failed, filled with values that no reader may return."""
    failed = {name: np.full_like(array, 77) for name, array in row.items() if name != "video"}
    return failed | {"video": row["video"], "valid": np.array(False)}


def _attributes(
    options: CodecOptions,
    labels: tuple[str, ...],
    subjects: tuple[str, ...],
    splits: dict[str, dict[str, Any]],
    clips: int,
    plan_hash: str,
) -> StoreAttributes:
    return StoreAttributes(
        dataset="toy",
        manifest_hash="m",
        options=options,
        labels=labels,
        subjects=subjects,
        splits=splits,
        clips=clips,
        shard_clips=_SHARD_CLIPS,
        plan_hash=plan_hash,
    )
