"""Split protocols: how a data set is divided into training and test. Pure descriptions.

A manifest names them, `preprocess` applies them to the clips it plans, and the store carries the
outcome for every clip, so that training needs the store alone.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Protocol(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RandomSplit(_Protocol):
    """Groups drawn for the test by a seeded shuffle of their sorted names.

    The share of the test is `test_fraction`, or test / (train + test): the counts that a paper
    states come out where the data set is whole.
    """

    kind: Literal["random"] = "random"
    by: Literal["subject", "video", "segment"]
    """What is never on both sides."""
    test_fraction: float | None = Field(default=None, ge=0, le=1)
    train: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _one_share(self) -> RandomSplit:
        counts = self.train is not None and self.test is not None
        if counts == (self.test_fraction is not None):
            raise ValueError("give either test_fraction or both train and test")
        return self

    @property
    def share(self) -> float:
        """Part of the groups that goes to the test, in [0, 1]."""
        if self.train is None or self.test is None:
            return self.test_fraction or 0.0
        return self.test / (self.train + self.test)


class SubjectSplit(_Protocol):
    """Subjects by name; those on neither list are not used."""

    kind: Literal["subjects"]
    train: tuple[str, ...]
    test: tuple[str, ...]


class PathSplit(_Protocol):
    """Regular expressions, searched for in the video's path; train is tried first."""

    kind: Literal["paths"]
    train: str
    test: str

    @field_validator("train", "test")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        return compiled(pattern)


class ListSplit(_Protocol):
    """Text files below the root, one video a line; names count without folder and ending."""

    kind: Literal["lists"]
    train: str
    test: str


Split = Annotated[RandomSplit | SubjectSplit | PathSplit | ListSplit, Field(discriminator="kind")]


def compiled(pattern: str) -> str:
    """The pattern itself, once it is known to be a regular expression; ValueError else."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern
