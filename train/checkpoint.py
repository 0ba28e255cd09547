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


def save_checkpoint(
    folder: Path,
    state: dict[str, Any],
    networks: dict[str, nn.Module],
    optimisers: dict[str, torch.optim.Optimizer],
    keep: int,
) -> Path:
    """Write the checkpoint of step `state["step"]`, then delete all but the newest `keep`."""
    from safetensors.torch import save_file

    final = folder / f"step-{state['step']:08d}"
    scratch = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name, network in networks.items():
        save_file(_contiguous(network.state_dict()), scratch / f"{name}.safetensors")
    for name, optimiser in optimisers.items():
        save_file(_optimiser_tensors(optimiser), scratch / f"{name}.safetensors")
    (scratch / "state.json").write_text(json.dumps(state, indent=1))
    shutil.rmtree(final, ignore_errors=True)
    scratch.rename(final)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
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


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": tensor.contiguous()
        for index, moments in optimiser.state_dict()["state"].items()
        for name, tensor in moments.items()
    }


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
