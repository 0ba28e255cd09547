"""Size of frames: (height, width) in code and shapes, WIDTHxHEIGHT for people and in files."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pydantic_core import CoreSchema, core_schema

MAX_SIDE_PX = 4096
"""Largest height and width of stored frames."""


class FrameSize(NamedTuple):
    """Height and width, pixels.

    Its text is WIDTHxHEIGHT, as FFmpeg writes sizes; pydantic's models read any notation of `parse`
    and write that of `option`.
    """

    height: int
    width: int

    @classmethod
    def parse(cls, value: object) -> FrameSize:
        """Read a size: a whole number, the side of a square; or WIDTHxHEIGHT, as in 256x144.

        Raises:
            ValueError: it is neither, or too small or large.
        """
        if isinstance(value, cls):
            sides = value
        else:
            text = str(value) if type(value) is int or isinstance(value, str) else ""
            found = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text, re.ASCII)
            width, height = (found[1], found[2] or found[1]) if found else (0, 0)
            sides = cls(int(height), int(width))
        if not all(1 <= side <= MAX_SIDE_PX for side in sides):
            raise ValueError(
                f"must be the side of a square, or WIDTHxHEIGHT as in 256x144; 1 to {MAX_SIDE_PX}"
                " pixels a side"
            )
        return sides

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def option(self) -> int | str:
        """Value in options and files, which `parse` reads: 64 for a square, else 256x144."""
        return self.width if self.width == self.height else str(self)

    @property
    def pixels(self) -> int:
        """Number of pixels of a frame."""
        return self.height * self.width

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Schema of pydantic: `parse`, and back by `option`."""
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda size: size.option
            ),
        )
