from __future__ import annotations

import os
import resource
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
    load_config,
    load_state,
    newest_checkpoint,
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


def cut(file: Path, kept: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])


@pytest.mark.parametrize("name", ["network.safetensors", "adamw.safetensors", "state.json"])
@pytest.mark.parametrize("kept", [0, 0.01, 0.5, 0.9, None])
def test_a_checkpoint_that_is_not_whole_is_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, kept: float | None
) -> None:
    save(tmp_path, 9, keep=3)
    save(tmp_path, 10, keep=3)
    whole = (tmp_path / "step-00000010" / name).read_bytes()
    if kept is None:
        (tmp_path / "step-00000010" / name).unlink()
    else:
        cut(tmp_path / "step-00000010" / name, kept)
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000009"
    err = capsys.readouterr().err
    assert f"{tmp_path / 'step-00000010'} is not whole: {name}" in err
    assert "step-00000009 is used instead" in err
    assert newest_checkpoint(save(tmp_path, 10, keep=3).parent) == tmp_path / "step-00000010"
    assert len((tmp_path / "step-00000010" / name).read_bytes()) == len(whole)
    cut(tmp_path / "step-00000010" / name, 0)
    cut(tmp_path / "step-00000009" / name, 0.2)
    with pytest.raises(UserError, match=r"(?s)10 is not whole.*09 is not whole.*delete .* anew"):
        newest_checkpoint(tmp_path)


def test_strays_are_ignored(tmp_path: Path) -> None:
    save(tmp_path, 9)
    for name in ("step-00000010.bak", "step-00000011 (copy)", "step-x", "step-"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000012").write_text("a file")
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000009"
    assert newest_checkpoint(tmp_path / "nowhere") is None
    save(tmp_path, 99_999_999)
    save(tmp_path, 100_000_000)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-100000000"]
    assert (tmp_path / "step-00000010.bak").is_dir()


def test_a_full_disk_keeps_what_was_saved_and_leaves_no_scratch(tmp_path: Path) -> None:
    save(tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000001"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"checkpoint_version": 1'])
def test_a_damaged_config_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json is damaged .*; delete it"):
        load_config(tmp_path, "delete it")


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
