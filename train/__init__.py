"""Learn to generate the codec form of videos, and generate: PyTorch, on CUDA or the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dvdm import require_own

if TYPE_CHECKING:
    from train.api import Model, StoreDataset

require_own("shared")


def load(run: str | Path, device: str = "auto") -> Model:
    """Load a trained run.

    Args:
        run: its folder, an exported one, or hf://USER/NAME or hf://USER/NAME@REVISION of a model
            on the Hugging Face Hub.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UserError: it is not there, or its training did not get that far.
    """
    from train.api import load

    return load(run, device)


def dataset(
    store: str,
    fields: Sequence[str] = ("frames", "label"),
    *,
    side: str | None = None,
    split: str | None = None,
) -> StoreDataset:
    """Clips of a store as a PyTorch dataset, whose items are dicts of tensors.

    Args:
        store: path of a sealed store, or of an export of one.
        fields: `frames`, uint8 (T, 3, H, W), exact; `first_frame`, `motion` and `residual` as the
            store has them; `label`, int64.
        side: train or test; None: all clips.
        split: protocol that `side` is of; None: the store's first.

    Raises:
        UserError: there is no such store, field, side or split.
    """
    from train.api import StoreDataset

    return StoreDataset(store, fields, side, split)
