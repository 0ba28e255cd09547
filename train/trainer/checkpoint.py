"""Checkpoints: safetensors for tensors, JSON for everything else, never pickle.

A stage's folder holds `config.json` and the folders `step-00001000`, `step-00002000` ...; each is
written aside and renamed, so that a folder of that name is complete. Disks and copies can cut it
all the same: a checkpoint that is not whole is named and passed over. Other names are ignored.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shared.console import errors
from shared.errors import UserError
from shared.store.paths import put_in_place, sync, write_whole
from train.options import without_deleted_fields

CHECKPOINT_VERSION = 1

_MAX_SHOWN = 80
"""Longest text of two values that an error shows, in characters."""


def save_config(folder: Path, config: dict[str, Any]) -> None:
    """Write FOLDER/config.json: what is needed to build a stage's networks again."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"checkpoint_version": CHECKPOINT_VERSION, **config}
    write_whole(folder / "config.json", json.dumps(content, indent=1, ensure_ascii=False).encode())


def load_config(folder: Path, remedy: str) -> dict[str, Any]:
    """Read what `save_config` wrote.

    Raises:
        UserError: the file is missing or damaged, has another version or uses a deleted option;
            the message says what to do.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
        config.items()
    except FileNotFoundError:
        raise UserError(f"nothing trained in {folder}; {remedy}") from None
    except (ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged ({error}); {remedy}") from None
    if config.pop("checkpoint_version", None) != CHECKPOINT_VERSION:
        raise UserError(
            f"{folder} has another checkpoint version than {CHECKPOINT_VERSION}; {remedy}"
        )
    return without_deleted_fields(config)


def check_same_config(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a folder that holds a run with another config.

    Raises:
        UserError: it does; what differs is named.
    """
    if not (folder / "config.json").exists():
        return
    remedy = "choose another --out, or delete that folder to train anew"
    if found := differences(load_config(folder, remedy), config):
        raise UserError(f"{folder} holds a run with another {', '.join(found)}; {remedy}")


def differences(then: Any, now: Any, name: str = "") -> list[str]:
    """Differences of two JSON values, as `path.to.field (run: 8, here: 16)`."""
    found = []
    for path, values in differing(then, now, name):
        shown = "run: {}, here: {}".format(*map(json.dumps, values))
        found.append(f"{path} ({shown})" if len(shown) < _MAX_SHOWN else path)
    return found


def differing(
    one: Any, other: Any, name: str = "", missing: Any = None
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Both values of every field in which two JSON values differ, with its path, by the paths.

    Args:
        one: a JSON value.
        other: likewise.
        name: path of both.
        missing: value of a field that only one of them has.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            path = f"{name}.{key}" if name else key
            yield from differing(one.get(key, missing), other.get(key, missing), path, missing)
    elif one != other:
        yield name, (one, other)


def save_checkpoint(
    folder: Path,
    state: dict[str, Any],
    networks: dict[str, nn.Module],
    optimisers: dict[str, torch.optim.Optimizer],
    keep: int,
) -> Path:
    """Write the checkpoint of step `state["step"]`, then delete all but the newest `keep`.

    Write, fsync, rename; then rename old ones away before deleting them. A kill leaves at least one
    complete checkpoint. A step that is saved already is not saved again.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: the disk is full or cannot be written to; earlier checkpoints are kept.
    """
    final = folder / f"step-{state['step']:08d}"
    if final.exists() and not damage(final):
        return final
    for torn in folder.glob(".step-*"):  # left by a kill
        shutil.rmtree(torn)
    scratch = folder / f".{final.name}.{os.getpid()}"
    tensors = {name: network.state_dict() for name, network in networks.items()}
    tensors |= {name: _moments(optimiser) for name, optimiser in optimisers.items()}
    try:
        scratch.mkdir(parents=True)
        for name, by_name in tensors.items():
            save_tensors(scratch / f"{name}.safetensors", by_name)
        content = {**state, "files": sorted(tensors)}
        (scratch / "state.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        for file in scratch.iterdir():
            sync(file)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)  # a full disk needs its space
        raise
    if final.exists():  # damaged
        shutil.rmtree(final.rename(folder / f".{final.name}.old"))
    put_in_place(scratch, final)
    kept = whole_checkpoints(folder)[-keep:]
    for old in checkpoints(folder):
        if old not in kept:
            shutil.rmtree(old.rename(folder / f".{old.name}.old"))
    return final


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file; raises OSError where the disk cannot be written to."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from None


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a stage by their names, oldest first, whole or not."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)]
    return sorted((path for path in found if path.is_dir()), key=lambda path: int(path.name[5:]))


def damage(checkpoint: Path) -> str:
    """Reason why a checkpoint is not whole; empty if it is. Tensors' values are not read."""
    try:
        state = load_state(checkpoint)
        if not isinstance(state["step"], int):
            return "state.json names no step"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"state.json: {error}"
    for name in state.get("files", ("network", "ema")):  # earlier versions did not list them
        file = checkpoint / f"{name}.safetensors"
        try:
            with safe_open(file, "pt"):  # compares the file's length with its header
                pass
        except (OSError, SafetensorError) as error:
            return f"{file.name}: {error}"
    return ""


def whole_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a stage that can be loaded, oldest first."""
    return [path for path in checkpoints(folder) if not damage(path)]


def newest_checkpoint(folder: Path) -> Path | None:
    """Newest whole checkpoint of a stage, None if it has none; later ones are named.

    Raises:
        UserError: there are checkpoints, and none of them is whole.
    """
    damaged: list[str] = []
    for path in reversed(checkpoints(folder)):
        if not (reason := damage(path)):
            for line in damaged:
                errors.print(f"{line}; {path.name} is used instead")
            return path
        damaged.append(f"{path} is not whole: {reason}")
    if damaged:
        raise UserError("\n".join(damaged) + f"\ndelete {folder} to train anew")
    return None


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Read the `state` that `save_checkpoint` was given."""
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_bytes())
    return state


def load_network(checkpoint: Path, name: str, network: nn.Module) -> None:
    """Fill a network's weights from a checkpoint.

    Raises:
        UserError: the file's tensors do not fit the network.
    """
    try:
        network.load_state_dict(load_file(checkpoint / f"{name}.safetensors"))
    except RuntimeError as error:
        raise UserError(
            f"{checkpoint} does not fit the network its config describes: {error}"
        ) from None


def load_trained(folder: Path, network: nn.Module) -> nn.Module:
    """Fill a network with the averaged weights of a stage's newest checkpoint, for inference.

    Raises:
        UserError: the stage has no checkpoint, or one that does not fit.
    """
    found = newest_checkpoint(folder)
    if found is None:
        raise UserError(f"no checkpoint in {folder}: its training did not get that far")
    load_network(found, "ema", network)
    return network.eval().requires_grad_(False)


def load_optimiser(checkpoint: Path, name: str, optimiser: torch.optim.Optimizer) -> None:
    """Fill an optimiser's moments from a checkpoint; its options stay as they are."""
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in load_file(checkpoint / f"{name}.safetensors").items():
        index, moment = key.split(".", 1)
        moments.setdefault(int(index), {})[moment] = tensor
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )


def _moments(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state tensors, by `INDEX.NAME` of a parameter and a moment."""
    return {
        f"{index}.{name}": tensor
        for index, moments in optimiser.state_dict()["state"].items()
        for name, tensor in moments.items()
    }
