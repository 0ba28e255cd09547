"""A sealed store as batches of tensors: which clips train and test, reading, frames."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.conventions import NO_INDEX
from shared.errors import UserError
from shared.schema import ARRAYS, LARGE, TEST, TRAIN, ArraySpec, CodecOptions, StoreAttributes
from shared.store.reader import ClipReader
from train.data.motion_compensation import decode_clips

_IN_MEMORY_BYTES = 2 * 1024**3


def split_clips(
    store: ClipReader, protocol: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of training and test clips among a store's valid clips.

    Args:
        store: records the side of every clip in each split protocol.
        protocol: name of a split protocol; None takes the first.

    Returns:
        Two sorted int64 arrays without overlap. Clips that the protocol leaves out are in neither.

    Raises:
        UserError: the store has no such protocol, or it leaves one side empty.
    """
    names = list(store.attributes.splits)
    name = protocol or next(iter(names), "any")
    if name not in names:
        raise UserError(f"the store has no split {name!r}; it has: {', '.join(names) or 'none'}")
    side = store.column("split")[:, names.index(name)]
    train, test = np.flatnonzero(side == TRAIN), np.flatnonzero(side == TEST)
    for found, kind in ((train, "training"), (test, "test")):
        if not len(found):
            raise UserError(
                f"split {name!r} leaves no {kind} clips of the {len(store)} in the store: extract"
                " more videos, or choose another split with --set split=NAME; it has:"
                f" {', '.join(names)}"
            )
    return train, test


def untrained_labels(store: ClipReader, protocol: str | None) -> list[str]:
    """Labels of a store that no training clip of a split protocol has; see `split_clips`."""
    train, _ = split_clips(store, protocol)
    present = set(store.column("label")[train].tolist())
    return [label for i, label in enumerate(store.attributes.labels) if i not in present]


class ClipArray(Protocol):
    """An array with one entry for each valid clip, read by several threads at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an entry."""

    @property
    def dtype(self) -> np.dtype:
        """Type of an entry's values."""

    def read_into(self, index: int, out: np.ndarray) -> None:
        """Read the entry of the clip at `index` among the valid clips into `out`."""


@dataclass(frozen=True)
class ClipBatch:
    """B clips as the store holds them.

    Attributes:
        first_frame: uint8, shape (B, 3, H, W).
        motion: int8, shape (B, T-1, 2, h, w), or (B, T-1, 3, h, w) if blocks choose their
            reference.
        residual: int16, shape (B, T-1, 3, H, W).
        label: int64, shape (B,); -1 = none.
    """

    first_frame: Tensor
    motion: Tensor
    residual: Tensor
    label: Tensor


class Clips:
    """The valid clips of a store. Arrays that fit into memory are kept there once read.

    Threads may read at the same time. What was read before never changes what is read.

    Attributes:
        store: the sealed store.
        train, test: indices of the training and test clips.
        label: int64, shape (N,).
    """

    def __init__(
        self,
        store: ClipReader,
        split: str | None,
        derived: Mapping[str, ClipArray] = MappingProxyType({}),
        *,
        in_memory_bytes: int = _IN_MEMORY_BYTES,
    ) -> None:
        """
        Args:
            store: a sealed store or a finished export.
            split: one of its split protocols; None takes the first.
            derived: more arrays of the same clips, such as `latent`, by name. `stride` is there
                always: the mean distance between a clip's frames, frames of its video, shape (1,).
            in_memory_bytes: memory for all arrays; each is kept if it fits into what is left.
        """
        self.store = store
        self.train, self.test = split_clips(store, split)
        self.label = store.column("label").astype(np.int64)
        stored = {name: _StoredArray(store, name) for name in LARGE}
        self._arrays: dict[str, ClipArray] = {**stored, "stride": _Stride(store), **derived}
        self._cached: dict[str, _MemoryCache | None] = {}
        self._bytes_left = in_memory_bytes
        self._lock = threading.Lock()

    def read(
        self, name: str, indices: Sequence[int] | NDArray[np.int64], *, pinned: bool = False
    ) -> Tensor:
        """Read entries of one array, shape (B, ...), on the CPU.

        Args:
            name: of the array.
            indices: among the valid clips, shape (B,).
            pinned: into page-locked memory, from which a GPU copies while it computes.

        Raises:
            UserError: an entry's file is missing or damaged.
        """
        array, chosen = self._arrays[name], np.asarray(indices, np.int64)
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        batch = torch.empty((len(chosen), *array.shape), dtype=dtype, pin_memory=pinned)
        cache = self._cache(name)
        if cache is not None:
            cache.read(chosen, batch.numpy())
        else:
            for index, row in zip(chosen.tolist(), batch.numpy(), strict=True):
                array.read_into(index, row)
        return batch

    def tensors(
        self,
        names: Sequence[str],
        indices: Sequence[int] | NDArray[np.int64],
        *,
        pinned: bool = False,
    ) -> dict[str, Tensor]:
        """`read` several arrays, by name, with `label`: int64, shape (B,)."""
        label = torch.from_numpy(self.label[indices])
        return {
            **{name: self.read(name, indices, pinned=pinned) for name in names},
            "label": label.pin_memory() if pinned else label,
        }

    def batch(self, indices: Sequence[int] | NDArray[np.int64], device: torch.device) -> ClipBatch:
        """Read all that the store holds of some clips, onto a device."""
        return ClipBatch(**on_device(self.tensors(LARGE, indices), device))

    def frames(self, batch: ClipBatch) -> Tensor:
        """The clips' frames, exact: uint8, shape (B, T, 3, H, W)."""
        return stored_frames(batch, self.store.options)

    def frame(self, indices: NDArray[np.int64], number: int) -> Tensor:
        """One frame of each clip, by its index within the clip: uint8, (B, 3, H, W), on the CPU."""
        if number == 0:
            return self.read("first_frame", indices)
        return self.frames(self.batch(indices, torch.device("cpu")))[:, number]

    def _cache(self, name: str) -> _MemoryCache | None:
        """The cache of an array, None if it does not fit into memory."""
        with self._lock:
            if name not in self._cached:
                array, count = self._arrays[name], len(self.label)
                needed = count * int(np.prod(array.shape)) * array.dtype.itemsize
                fits = needed <= self._bytes_left
                self._cached[name] = _MemoryCache(array, count) if fits else None
                self._bytes_left -= needed if fits else 0
            return self._cached[name]


@dataclass(frozen=True)
class _StoredArray:
    """A large array of a store, as a `ClipArray`."""

    store: ClipReader
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self._spec.shape(self.store.attributes)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self._spec.dtype)

    def read_into(self, index: int, out: np.ndarray) -> None:
        self.store.clip(self.name, index, out)

    @property
    def _spec(self) -> ArraySpec:
        [spec] = [spec for spec in ARRAYS if spec.name == self.name]
        return spec


@dataclass(frozen=True)
class _Stride:
    """Mean distance between a clip's frames, frames of its video, as a `ClipArray`."""

    shape: ClassVar[tuple[int, ...]] = (1,)
    dtype: ClassVar[np.dtype] = np.dtype(np.float32)
    store: ClipReader

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """Of all clips, shape (N,)."""
        index = self.store.column("frame_index")
        return ((index[:, -1] - index[:, 0]) / (index.shape[1] - 1)).astype(np.float32)

    def read_into(self, index: int, out: np.ndarray) -> None:
        out[:] = self.values[index]


class _MemoryCache:
    """An array in memory, filled as its entries are asked for.

    Two threads that miss the same entry both read it, to the same bytes.
    """

    def __init__(self, array: ClipArray, count: int) -> None:
        self._array = array
        self._values = np.empty((count, *array.shape), array.dtype)
        self._filled = np.zeros(count, bool)

    def read(self, indices: NDArray[np.int64], out: np.ndarray) -> None:
        for index in indices[~self._filled[indices]].tolist():
            self._array.read_into(index, self._values[index])
            self._filled[index] = True
        # numpy copies in this thread alone; torch would start threads of its own in each.
        np.take(self._values, indices, axis=0, out=out, mode="clip")


def on_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Copy tensors to a device, without waiting for those that come from pinned memory."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}


def stored_frames(batch: ClipBatch, options: CodecOptions) -> Tensor:
    """Decode the frames of stored clips, exactly: uint8, shape (B, T, 3, H, W)."""
    return decode_clips(batch.first_frame, batch.motion, batch.residual, options.codec)


def chosen_frames(batch: ClipBatch, options: CodecOptions, steps: Tensor) -> Tensor:
    """Decode some frames of each stored clip, exactly.

    Where all frames are predicted from frame 0, no other one is decoded.

    Args:
        batch: as the store holds it.
        options: of the store.
        steps: indices of the frames, int64, on the batch's device, shape (B, K).

    Returns:
        uint8, shape (B, K, 3, H, W).
    """
    rows = torch.arange(len(steps), device=steps.device)[:, None]
    if options.reference != "first":
        return stored_frames(batch, options)[rows, steps]
    later = (steps - 1).clamp_min(0)
    residual, motion = batch.residual[rows, later], batch.motion[rows, later]
    decoded = decode_clips(batch.first_frame, motion, residual, options.codec)[:, 1:]
    given = (steps == 0)[..., None, None, None]
    return torch.where(given, batch.first_frame[:, None], decoded)


def normalise_frame(first_frame: Tensor) -> Tensor:
    """Scale uint8 grey levels to [-1, 1]."""
    return first_frame.float() / 127.5 - 1


def check_same_store(config: dict[str, Any], store: ClipReader, folder: Path) -> None:
    """Refuse a store that a run does not belong to; name what differs.

    Args:
        config: of a stage; `store` holds the attributes of the store it was trained on.
        store: given now.
        folder: of the stage, for the message.

    Raises:
        UserError: an option of the store or its labels differ.
    """
    # Completed, because a run may be older than an option: it then had what is now its default.
    then, now = StoreAttributes.model_validate(config["store"]), store.attributes
    options = dict(then.options)
    differing = [
        f"{key} (run: {options[key]}, store: {value})"
        for key, value in dict(now.options).items()
        if options[key] != value
    ]
    if list(then.labels) != list(now.labels):
        differing.append("labels")
    if differing:
        raise UserError(
            f"{folder} was trained on a store with other {', '.join(differing)}; give the store it"
            " was trained on, or another --out"
        )


def clips_before(store: ClipReader) -> NDArray[np.int64]:
    """Index of the clip before each valid clip, shape (N,); -1 where there is none.

    It is of the same video and segment, has the same distance between frames, ends that distance
    before the clip begins, and lies on the same side of every split.
    """
    names = ("video", "segment", "frame_index", "split")
    video, segment, frames, side = (store.column(name) for name in names)
    step = frames[:, -1] - frames[:, -2]

    def key(clip: int, frame: int) -> tuple[object, ...]:
        return (
            video[clip], int(segment[clip]), int(step[clip]), side[clip].tobytes(), int(frame)
        )  # fmt: skip

    steady = (np.diff(frames, axis=1) == step[:, None]).all(axis=1)
    ends = {key(n, frames[n, -1] + step[n]): n for n in np.flatnonzero(steady).tolist()}
    found = [
        ends.get(key(n, frames[n, 0]), NO_INDEX) if steady[n] else NO_INDEX
        for n in range(len(frames))
    ]
    return np.array(found, np.int64)


def before_name(name: str) -> str:
    """Name of an array's entries of the clip before."""
    return f"{name}_before"


@dataclass(frozen=True)
class ClipBefore:
    """Entries of the clips before, of another array; zeros where there is none.

    Attributes:
        of: the other array.
        before: as `clips_before` gives it.
    """

    of: ClipArray
    before: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an entry."""
        return self.of.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of an entry's values."""
        return self.of.dtype

    def read_into(self, index: int, out: np.ndarray) -> None:
        """Read the entry of the clip before the one at `index`, or zeros."""
        before = int(self.before[index])
        if before == NO_INDEX:
            out.fill(0)
        else:
            self.of.read_into(before, out)
