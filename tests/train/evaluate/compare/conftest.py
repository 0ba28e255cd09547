"""Stores of the same small clips, as a comparison wants them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.schema import CodecOptions
from tests.train.stores import write_store

SPLITS = {"unseen-subject": {"kind": "subjects", "train": tuple("abdegh"), "test": tuple("cf")}}
SUBJECTS = tuple("abcf")
PAPER = CodecOptions(size=32, frames=4, block=8, motion_cost=0, search_range=16)
FIRST = CodecOptions(size=32, frames=4, block=8, reference="first", motion_cost=5, search_range=24)


@pytest.fixture(scope="session")
def compare_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people, four labels, 32x32: the paper's extraction, and ours. Not to change."""
    folder = tmp_path_factory.mktemp("compare_stores")
    for name, options in {"paper": PAPER, "ours": FIRST}.items():
        write_store(folder / name, options=options, subjects=SUBJECTS, splits=SPLITS)
    return folder
