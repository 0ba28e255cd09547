"""Checkpoints: safetensors for tensors, JSON for everything else, never pickle.

A stage's folder holds `config.json` and `step-00001000/`, `step-00002000/` ...; a step's folder
is written aside and renamed, so that one that exists is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared.errors import UserError

CHECKPOINT_VERSION = 1

_LONG = 80
"""Characters of two values that an error no longer shows."""


def save_config(folder: Path, config: dict[str, Any]) -> None:
    """Write what is needed to build the networks again, beside their checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".config.{os.getpid()}"
    content = {"checkpoint_version": CHECKPOINT_VERSION, **config}
    scratch.write_text(json.dumps(content, indent=1, ensure_ascii=False))
    scratch.replace(folder / "config.json")


def load_config(folder: Path, remedy: str) -> dict[str, Any]:
    """Read what `save_config` wrote.

    Raises:
        UserError: there is none, or it has another version; the message ends with `remedy`.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError:
        raise UserError(f"nothing trained in {folder}; {remedy}") from None
    if config.pop("checkpoint_version", None) != CHECKPOINT_VERSION:
        raise UserError(
            f"{folder} has another checkpoint version than {CHECKPOINT_VERSION}; {remedy}"
        )
    return config


def check_same_config(folder: Path, config: dict[str, Any]) -> None:
    """Name what differs where a folder holds a run with another config.

    Raises:
        UserError: it does.
    """
    if not (folder / "config.json").exists():
        return
    remedy = "choose another --out, or delete that folder to train anew"
    if found := differences(load_config(folder, remedy), config):
        raise UserError(f"{folder} holds a run with another {', '.join(found)}; {remedy}")


def differences(then: Any, now: Any, name: str = "") -> list[str]:
    """What differs between two JSON values, as `path.to.field (run: 8, here: 16)`."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = sorted(then.keys() | now.keys())
        inner = [differences(then.get(k), now.get(k), f"{name}.{k}" if name else k) for k in keys]
        return [line for lines in inner for line in lines]
    if then == now:
        return []
    values = f"run: {json.dumps(then)}, here: {json.dumps(now)}"
    return [f"{name} ({values})" if len(values) < _LONG else name]


def save_checkpoint(
    folder: Path,
    state: dict[str, Any],
    networks: dict[str, nn.Module],
    optimisers: dict[str, torch.optim.Optimizer],
    keep: int,
) -> Path:
    """Write the checkpoint of step `state["step"]`, then delete all but the newest `keep`.

    It reaches the disk before it gets its name, and old ones lose theirs before they are deleted:
    whatever has a name is whole, and one always has. A step that is saved is not saved again.
    """
    from safetensors.torch import save_file

    final = folder / f"step-{state['step']:08d}"
    if final.exists():
        return final
    for torn in folder.glob(".step-*"):
        shutil.rmtree(torn)
    scratch = folder / f".{final.name}.{os.getpid()}"
    scratch.mkdir(parents=True)
    for name, network in networks.items():
        save_file(_contiguous(network.state_dict()), scratch / f"{name}.safetensors")
    for name, optimiser in optimisers.items():
        save_file(_optimiser_tensors(optimiser), scratch / f"{name}.safetensors")
    (scratch / "state.json").write_text(json.dumps(state, indent=1))
    for path in (*scratch.iterdir(), scratch):
        _to_disk(path)
    scratch.rename(final)
    _to_disk(folder)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old.rename(folder / f".{old.name}.old"))
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a stage, oldest first."""
    return sorted(folder.glob("step-*"))


def load_state(checkpoint: Path) -> dict[str, Any]:
    """The counters of a checkpoint."""
    return json.loads((checkpoint / "state.json").read_text())


def load_network(checkpoint: Path, name: str, network: nn.Module) -> None:
    """Fill a network's weights from a checkpoint.

    Raises:
        UserError: the file's tensors do not fit the network.
    """
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(checkpoint / f"{name}.safetensors"))
    except RuntimeError as error:
        raise UserError(
            f"{checkpoint} does not fit the network its config describes: {error}"
        ) from None


def load_optimiser(checkpoint: Path, name: str, optimiser: torch.optim.Optimizer) -> None:
    """Fill an optimiser's moments from a checkpoint; its options stay as they are."""
    from safetensors.torch import load_file

    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in load_file(checkpoint / f"{name}.safetensors").items():
        index, moment = key.split(".", 1)
        moments.setdefault(int(index), {})[moment] = tensor
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": tensor.contiguous()
        for index, moments in optimiser.state_dict()["state"].items()
        for name, tensor in moments.items()
    }


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
