from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from shared.conventions import REFERENCES, Reference
from shared.store import Store
from tests.train.stores import LABELS, OPTIONS, SUBJECTS, write_store
from train.data import Clips, normalise_frame

CPU = torch.device("cpu")


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize(("size", "unit"), [(16, 1), (13, 1), (16, 2), (13, 4)])
def test_frames_are_the_original_clips(
    tmp_path: Path, size: int, unit: int, reference: Reference
) -> None:
    changes = {"size": size, "reference": reference, "vector_unit": unit}
    options = OPTIONS.model_copy(update=changes)
    originals = write_store(tmp_path / "store", options=options)
    clips = Clips(Store(tmp_path / "store"), None)
    batch = clips.batch(np.arange(len(originals)), CPU)
    assert np.array_equal(clips.frames(batch).numpy(), np.stack(originals))


def test_slots_that_are_not_valid_never_appear(store: Store) -> None:
    clips = Clips(store, None)
    count = len(SUBJECTS) * len(LABELS)
    assert store.attributes.clips == count + 2
    assert sorted([*clips.train, *clips.test]) == list(range(count))
    assert clips.label.tolist() == list(range(len(LABELS))) * len(SUBJECTS)
    batch = clips.batch(np.arange(count), CPU)
    assert int(batch.motion.abs().max()) <= OPTIONS.search_range
    assert batch.label.tolist() == clips.label.tolist()


def test_entries_read_twice_are_equal(store: Store) -> None:
    clips = Clips(store, None)
    first, again = clips.batch([3, 1, 3], CPU), clips.batch([3, 1, 3], CPU)
    assert first.residual.equal(again.residual)
    assert first.residual[0].equal(first.residual[2])
    assert not first.residual[0].equal(first.residual[1])
    first.residual.zero_()
    assert clips.batch([3, 1, 3], CPU).residual.equal(again.residual)


def test_frames_are_scaled_to_minus_one_to_one() -> None:
    grey = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    assert normalise_frame(grey).tolist() == pytest.approx([-1, -1 / 255, 1 / 255, 1], abs=1e-6)
