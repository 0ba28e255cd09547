"""Stores of the same small clips, as a comparison wants them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.schema import CodecOptions
from tests.train.stores import write_store
from train.evaluate.compare.systems import PAPERS, StoreChoice

CHOICES = (PAPERS, StoreChoice("first", 5, 24))
SPLITS = {"unseen-subject": {"kind": "subjects", "train": tuple("abdegh"), "test": tuple("cf")}}
SUBJECTS = tuple("abcf")


@pytest.fixture(scope="session")
def compare_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people, four labels, 32x32: the paper's store, and one of the first frame."""
    folder = tmp_path_factory.mktemp("compare_stores")
    for choice in CHOICES:
        options = CodecOptions(
            size=32,
            frames=4,
            block=8,
            search_range=choice.search_range,
            reference=choice.reference,
            motion_cost=choice.motion_cost,
        )
        write_store(folder / choice.name, options=options, subjects=SUBJECTS, splits=SPLITS)
    return folder
