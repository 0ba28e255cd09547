from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from shared.errors import UserError
from train.trainer import checkpoint
from train.trainer.checkpoint import (
    check_same_config,
    checkpoints,
    differences,
    load_state,
    save_checkpoint,
    save_config,
)


class KilledError(Exception):
    """Stands for a kill at the worst moment."""


def save(folder: Path, step: int, keep: int = 1) -> Path:
    network = nn.Linear(2, 2)
    optimiser = torch.optim.AdamW(network.parameters())
    return save_checkpoint(folder, {"step": step}, {"network": network}, {"adamw": optimiser}, keep)


@pytest.mark.parametrize("call", range(1, 15))
def test_whenever_a_save_is_cut_a_whole_checkpoint_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Every call that changes the folder is the last one in turn."""
    save(tmp_path, 1)
    calls = 0
    for module, name in (
        (Path, "rename"), (Path, "replace"), (Path, "mkdir"), (Path, "write_text"), (os, "fsync"),
        (checkpoint.shutil, "rmtree"),
    ):  # fmt: skip
        original = getattr(module, name)

        def counted(*args: object, _original: object = original, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                raise KilledError
            return _original(*args, **options)  # type: ignore[operator]

        monkeypatch.setattr(module, name, counted)
    try:
        save(tmp_path, 2)
    except KilledError:
        assert calls == call
    monkeypatch.undo()
    newest = checkpoints(tmp_path)[-1]
    assert load_state(newest)["step"] in (1, 2)
    assert {path.name for path in newest.iterdir()} == {
        "network.safetensors", "adamw.safetensors", "state.json",
    }  # fmt: skip
    save(tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_a_step_that_is_saved_is_not_saved_again(tmp_path: Path) -> None:
    first = (save(tmp_path, 1) / "network.safetensors").read_bytes()
    assert (save(tmp_path, 1) / "network.safetensors").read_bytes() == first


def test_differences_are_named_by_their_path() -> None:
    then = {"store": {"options": {"block": 8, "size": [64, 64]}, "labels": ["a"] * 50}, "seed": 0}
    now = {"store": {"options": {"block": 16, "size": [64, 64]}, "labels": ["b"] * 50}, "new": None}
    assert differences(then, now) == [
        "seed (run: 0, here: null)", "store.labels", "store.options.block (run: 8, here: 16)",
    ]  # fmt: skip
    assert differences(then, then) == []


def test_another_block_size_and_labels_are_named(tmp_path: Path) -> None:
    config = {"store": {"options": {"block": 8, "size": [64, 64]}, "labels": ["wave"]}}
    check_same_config(tmp_path, config)
    save_config(tmp_path, config)
    check_same_config(tmp_path, config)
    other = {"store": {"options": {"block": 16, "size": [128, 128]}, "labels": ["wave", "clap"]}}
    with pytest.raises(UserError) as error:
        check_same_config(tmp_path, other)
    for part in ("block (run: 8, here: 16)", "size (run: [64, 64], here: [128", "labels (run: "):
        assert part in str(error.value)
