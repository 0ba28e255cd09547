"""Before any stage: embed the label texts with the text encoder, once, into RUN/texts.

Later stages read the embeddings from there, and the denoiser's checkpoints hold them: neither
resuming a training nor sampling a label needs the encoder.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from shared.errors import UserError
from shared.store.reader import ClipReader
from train.models.text_encoder import TextEncoder, TextIdentity
from train.recipe import Recipe
from train.run import RunFolder
from train.trainer.checkpoint import load_config, save_config, save_tensors

_FILE = "texts.safetensors"


def encode_texts(recipe: Recipe, store: ClipReader, run: RunFolder, device: torch.device) -> None:
    """Write RUN/texts where the recipe names a text encoder and the store has labels.

    Raises:
        UserError: the encoder cannot be loaded, or a text is too long for it.
    """
    name, labels = recipe.text.encoder, list(store.attributes.labels)
    if name is None or not labels or _is_done(run.texts, name, labels):
        return
    encoder = TextEncoder(name)
    (run.texts).mkdir(parents=True, exist_ok=True)
    save_tensors(run.texts / _FILE, {"texts": encoder(labels)})
    save_config(run.texts, {"labels": labels, **asdict(encoder.identity)})


def load_texts(recipe: Recipe, run: RunFolder) -> tuple[Tensor, TextIdentity] | tuple[None, None]:
    """Embeddings of the label texts, float32, (labels, D), and their encoder; None without one.

    Raises:
        UserError: the files are missing or damaged.
    """
    if recipe.text.encoder is None or not (run.texts).exists():
        return None, None
    content = load_config(run.texts, "run the stage before again")
    del content["labels"]
    try:
        return load_file(run.texts / _FILE)["texts"], TextIdentity(**content)
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(
            f"the embeddings of the texts, {run.texts / _FILE}, are damaged or missing ({error});"
            f" delete the folder {run.texts} and run the same command again"
        ) from None


def _is_done(folder: Path, encoder: str, labels: list[str]) -> bool:
    if not (folder / "config.json").exists():
        return False
    content = load_config(folder, "delete it")
    return content["encoder"] == encoder and content["labels"] == labels
