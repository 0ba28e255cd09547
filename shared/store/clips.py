"""Clips of a store as arrays, channels last, and as pictures in a notebook: `shared.open_store`."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from shared.conventions import NO_INDEX
from shared.motion_compensation import decode_clip
from shared.schema import CodecOptions
from shared.store.reader import ClipReader, open_path

_SHOWN = 6
"""Most clips of a store that a notebook shows."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip of a store; its arrays are read when they are first asked for.

    Attributes:
        store: that it belongs to.
        index: among the store's valid clips.
    """

    store: StoredClips
    index: int

    @cached_property
    def first_frame(self) -> NDArray[np.uint8]:
        """Frame 0, uint8 RGB, shape (H, W, 3)."""
        return np.moveaxis(self._stored("first_frame"), -3, -1)

    @cached_property
    def motion(self) -> NDArray[np.int8]:
        """Vectors of frames 1...T-1, int8, x and y in units of 1/vector_unit pixel.

        Shape (T-1, h, w, 2); with the reference `either` (T-1, h, w, 3), the frame chosen last.
        """
        return np.moveaxis(self._stored("motion"), -3, -1)

    @cached_property
    def residual(self) -> NDArray[np.int16]:
        """Frames 1...T-1 minus what vectors predict, int16 grey levels, shape (T-1, H, W, 3)."""
        return np.moveaxis(self._stored("residual"), -3, -1)

    @cached_property
    def frames(self) -> NDArray[np.uint8]:
        """All frames, decoded exactly, uint8 RGB, shape (T, H, W, 3)."""
        return np.moveaxis(self._film, -3, -1)

    @property
    def label(self) -> str | None:
        """Text of its class; None where the data set has none."""
        return self.store.name_of("label", self.index)

    @property
    def subject(self) -> str | None:
        """Name of the person; None where the data set has none."""
        return self.store.name_of("subject", self.index)

    @property
    def video(self) -> str:
        """Path of its video, relative to the data set's folder."""
        return str(self.store.column("video")[self.index])

    @property
    def frame_index(self) -> list[int]:
        """Indices of its frames among those of the video, T of them."""
        return [int(index) for index in self.store.column("frame_index")[self.index]]

    @cached_property
    def _film(self) -> NDArray[np.uint8]:
        """Frames as the store has them, shape (T, 3, H, W)."""
        first_frame, motion, residual = map(self._stored, ("first_frame", "motion", "residual"))
        return decode_clip(first_frame, motion, residual, self.store.options.codec)

    def _stored(self, name: str) -> NDArray[Any]:
        return self.store.reader.clip(name, self.index)

    def __len__(self) -> int:
        return self.store.options.frames

    def __repr__(self) -> str:
        options = self.store.options
        return f"Clip({len(self)} frames of {options.size}, {self._caption})"

    def _repr_html_(self) -> str:
        """The clip as a looping picture, its vectors drawn on it."""
        from shared.report.pictures import vector_film

        drawn = vector_film(self._film, self._stored("motion"), self.store.options, len(self) - 1)
        return looping_picture(drawn, self._caption)

    @property
    def _caption(self) -> str:
        names = (self.label, self.subject, f"{self.video} from frame {self.frame_index[0]}")
        return ", ".join(name for name in names if name is not None)


@dataclass(frozen=True, eq=False)
class StoredClips(Sequence[Clip]):
    """Valid clips of a store or an export: a sequence that reads what is asked for.

    Attributes:
        reader: of the store.
        chosen: indices of these clips in the store.
    """

    reader: ClipReader
    chosen: range

    @property
    def options(self) -> CodecOptions:
        """The options that shaped the store's bytes."""
        return self.reader.options

    @property
    def labels(self) -> tuple[str, ...]:
        """Texts of all classes."""
        return self.reader.attributes.labels

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of all persons."""
        return self.reader.attributes.subjects

    @overload
    def __getitem__(self, index: int) -> Clip: ...

    @overload
    def __getitem__(self, index: slice) -> StoredClips: ...

    def __getitem__(self, index: int | slice) -> Clip | StoredClips:
        if isinstance(index, slice):
            return self._of(self.chosen[index])
        return Clip(self, self.chosen[index])

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Clip]:
        return (Clip(self, index) for index in self.chosen)

    def column(self, name: str) -> NDArray[np.generic]:
        """A small array of all the store's clips: label, subject, video, frame_index, split..."""
        if name not in self._columns:
            self._columns[name] = self.reader.column(name)
        return self._columns[name]

    def name_of(self, column: str, index: int) -> str | None:
        """Text of a clip's `label` or `subject`; None where it has none."""
        position = int(self.column(column)[index])
        names = self.labels if column == "label" else self.subjects
        return None if position == NO_INDEX else names[position]

    def __repr__(self) -> str:
        return f"StoredClips({len(self)} of {self.reader.path}, {len(self.labels)} labels)"

    def _repr_html_(self) -> str:
        """A few clips, evenly spaced."""
        from shared.report.pictures import evenly_spaced

        shown = "".join(self[int(k)]._repr_html_() for k in evenly_spaced(len(self), _SHOWN))
        return f"<div>{html.escape(repr(self))}</div><div>{shown}</div>"

    @cached_property
    def _columns(self) -> dict[str, NDArray[np.generic]]:
        return {}

    def _of(self, chosen: range) -> StoredClips:
        part = StoredClips(self.reader, chosen)
        part._columns.update(self._columns)
        return part


def open_store(path: str) -> StoredClips:
    """Open the clips of a sealed store or a finished export, local or on S3.

    Raises:
        UserError: there is none, it cannot be reached, or it is not finished.
    """
    reader = open_path(path)
    return StoredClips(reader, range(len(reader)))


def looping_picture(film: NDArray[np.uint8], caption: str) -> str:
    """HTML of an animation that needs no other file.

    Args:
        film: shape (T, 3, H, W).
        caption: plain text below it.
    """
    from shared.report.pictures import animation

    content = base64.b64encode(animation(film)).decode()
    return (
        '<figure style="display:inline-block;margin:4px">'
        f'<img src="data:image/webp;base64,{content}" alt="{html.escape(caption)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
