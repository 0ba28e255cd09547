"""Before any stage: the label texts through the text encoder, once, into RUN/texts.

Later stages read them from there, the denoiser's checkpoints hold them too, so that neither going
on with training nor sampling a label needs the encoder.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.store.export import ClipReader
from train.models.text_encoder import TextEncoder, TextIdentity
from train.recipe import Recipe
from train.trainer.checkpoint import load_config, save_config

FOLDER = "texts"
_FILE = "texts.safetensors"


def encode_texts(recipe: Recipe, store: ClipReader, run: Path, device: torch.device) -> None:
    """Write RUN/texts where the recipe names a text encoder and the store has labels.

    Raises:
        UserError: the encoder cannot be loaded, or a text is too long for it.
    """
    name, labels = recipe.text.encoder, list(store.attributes.labels)
    if name is None or not labels or _is_done(run / FOLDER, name, labels):
        return
    encoder = TextEncoder(name)
    (run / FOLDER).mkdir(parents=True, exist_ok=True)
    save_file({"texts": encoder(labels)}, run / FOLDER / _FILE)
    save_config(run / FOLDER, {"labels": labels, **asdict(encoder.identity)})


def load_texts(recipe: Recipe, run: Path) -> tuple[Tensor, TextIdentity] | tuple[None, None]:
    """The label texts' embeddings, float32, (labels, D), and by which encoder; or no such thing."""
    if recipe.text.encoder is None or not (run / FOLDER).exists():
        return None, None
    content = load_config(run / FOLDER, "run the stage before again")
    del content["labels"]
    return load_file(run / FOLDER / _FILE)["texts"], TextIdentity(**content)


def _is_done(folder: Path, encoder: str, labels: list[str]) -> bool:
    if not (folder / "config.json").exists():
        return False
    content = load_config(folder, "delete it")
    return content["encoder"] == encoder and content["labels"] == labels
