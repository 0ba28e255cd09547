"""Loading of pretrained networks and files of weights, with errors that name the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from shared.errors import UserError


def load_pretrained(title: str, name: str, load: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Load a network and what prepares its input; the network then computes, and never learns.

    Args:
        title: of the kind of network, for messages.
        name: local folder, or name on the Hugging Face hub.
        load: imports transformers, and loads both.

    Raises:
        UserError: transformers is not installed, or there is no such network.
    """
    remedy = (
        f"give a folder with {title}'s config.json, model.safetensors and preprocessor_config.json,"
        " or a name on the Hugging Face hub and a network"
    )
    if name.startswith(("/", ".", "~")) and not Path(name).is_dir():
        raise UserError(f"{title} {name!r}: there is no such folder; {remedy}")
    try:
        from transformers import logging  # slow to import: seconds

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        network, further = load()
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise UserError(
            f"{title} {name!r} needs transformers: pip install 'dvdm[movideo]'"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{title} {name!r}: {lines[0].rstrip('.')}; {remedy}") from None
    return network.eval().requires_grad_(False), further


def read_weights(title: str, path: Path, remedy: str) -> dict[str, Any]:
    """Read a file of tensors by name, as torch saves it; no code in it is run.

    Args:
        title: of the file, for messages.
        path: of it.
        remedy: where such a file is to be had.

    Raises:
        UserError: it is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise UserError(f"{title}: there is no such file; {remedy}")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage leads the unpickler to errors of any kind
        raise UserError(
            f"{title}: cannot be read ({type(error).__name__}): damaged, cut short or another"
            f" format; {remedy}"
        ) from error
    if not isinstance(weights, dict):
        raise UserError(f"{title}: holds a {type(weights).__name__}; {remedy}")
    return weights
