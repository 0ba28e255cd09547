"""Texts as condition: a pretrained CLIP text encoder, run once for each label or free prompt.

The paper: "We use the pre-trained CLIP (Radford et al. 2021) to encode text y as text embedding."
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic.dataclasses import dataclass as options_dataclass
from torch import Tensor, nn

from shared.conventions import find_label, normalised
from shared.errors import UserError
from train.models.autoencoder import weights_hash
from train.options import STRICT


class LabelEmbedding(nn.Module):
    """Learned map of a fixed table of normalised text embeddings.

    The encoder itself is not part of the network: it runs once for each label, and its embeddings
    are saved with the weights. The null condition is learned.

    Args:
        texts: embeddings of the labels, float, shape (labels, D).
        width: numbers that the network takes of a label.
    """

    optimiser = "adamw"

    def __init__(self, texts: Tensor, width: int) -> None:
        super().__init__()
        self.null_label = len(texts)
        self.texts: Tensor
        # The null condition has a row too: texts added later get the indices after it.
        self.register_buffer(
            "texts", torch.cat([texts.float(), texts.new_zeros(1, texts.shape[1])])
        )
        self.project = nn.Sequential(nn.LayerNorm(texts.shape[1]), nn.Linear(texts.shape[1], width))
        self.null = nn.Parameter(torch.randn(width))

    def forward(self, label: Tensor) -> Tensor:
        """Embeddings (..., width) of indices (...)."""
        is_null = (label == self.null_label)[..., None]
        return torch.where(is_null, self.null, self.project(self.texts[label]))

    def append(self, text: Tensor) -> int:
        """Add one text's embedding, shape (D,), for sampling; returns its index."""
        self.texts = torch.cat([self.texts, text.to(self.texts)[None]])
        return len(self.texts) - 1


_REMEDY = (
    "give a folder with config.json, model.safetensors and the tokenizer's files, or a name on"
    " the Hugging Face hub and a network; text.encoder=null learns an embedding of each label"
)


@options_dataclass(frozen=True, config=STRICT)
class TextOptions:
    """Source of the embeddings of label texts."""

    encoder: str | None = None
    """Folder or hub name of a CLIP text encoder; none: an embedding of each label is learned, and
    no other text is understood."""


@dataclass(frozen=True)
class TextIdentity:
    """Identity of the encoder that a network was trained with, as its run records it.

    Attributes:
        encoder: folder or hub name.
        hash: of the encoder's weights.
        width: numbers D in an embedding.
    """

    encoder: str
    hash: str
    width: int


class TextEncoder:
    """A CLIP text encoder on the CPU; its embedding of a text is the pooled output.

    Args:
        name: folder or hub name.

    Raises:
        UserError: transformers is not installed, or no CLIP text encoder could be loaded.
    """

    def __init__(self, name: str) -> None:
        _refuse_missing_folder(name)
        try:
            self._tokenizer, self._network = _load(name)
        except ModuleNotFoundError as error:
            if error.name != "transformers":
                raise
            raise UserError(
                f"text.encoder {name!r} needs transformers: pip install 'dvdm[text]'"
            ) from None
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"text.encoder {name!r}: {_first_line(error)}; {_REMEDY}") from None
        config = self._network.config
        self._longest = config.max_position_embeddings
        self.identity = TextIdentity(name, weights_hash(self._network), config.hidden_size)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embeddings, float32, shape (len(texts), D).

        Raises:
            UserError: a text has more tokens than the encoder takes.
        """
        if not texts:
            return torch.empty(0, self.identity.width)
        tokens = self._tokenizer(list(texts), padding=True, return_tensors="pt")
        lengths = tokens["attention_mask"].sum(dim=1)
        if int(lengths.max()) > self._longest:
            raise UserError(
                f"text {texts[int(lengths.argmax())]!r} has {int(lengths.max())} tokens;"
                f" {self.identity.encoder} takes at most {self._longest}: shorten it"
            )
        return self._network(**tokens).pooler_output


def _load(name: str) -> tuple[Any, Any]:
    """Tokenizer and network, without the library's report of weights it has no use for."""
    from transformers import AutoTokenizer, CLIPTextModel, logging  # slow to import: seconds

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(name)
    network, loading = CLIPTextModel.from_pretrained(
        name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    # Weights that a file lacks are drawn at random, and nothing fails.
    if loading["missing_keys"]:
        raise ValueError("its weights are not those of a CLIP text encoder")
    return tokenizer, network.eval().requires_grad_(False)


def text_condition(
    network: nn.Module,
    text: str,
    labels: Sequence[str],
    identity: TextIdentity | None,
    moved_to: str | None = None,
) -> int:
    """The label index to sample with: of the label that `find_label` finds, or of a free prompt,
    which is encoded and added to the network's table.

    Args:
        network: a U-Net; has `label`.
        text: what was asked for.
        labels: texts of the labels it was trained on.
        identity: of the text encoder it was trained with, if any.
        moved_to: folder or hub name where that encoder is now, if not where it was.

    Raises:
        UserError: several labels may be meant; or no label has that text, and there is no encoder,
            or it is another one.
    """
    if getattr(network, "label", None) is None:
        raise UserError("--text: labels are no condition of this run; leave it out")
    if (index := find_label(text, labels)) is not None:
        return index
    known = ", ".join(repr(label) for label in labels) or "none: it was trained without labels"
    fault = f"--text {text!r} is not a label of this run; its labels: {known}"
    table = getattr(network, "label", None)
    if identity is None or not isinstance(table, LabelEmbedding):
        raise UserError(f"{fault}. Free prompts need a run trained with text.encoder")
    try:
        encoder = TextEncoder(moved_to or identity.encoder)
    except UserError as error:
        raise UserError(
            f"{fault}. A free prompt needs the run's text encoder: {error}; --text-encoder says"
            " where it is now"
        ) from None
    if encoder.identity.hash != identity.hash:
        raise UserError(
            f"{fault}. A free prompt needs the run's text encoder, and {encoder.identity.encoder}"
            f" has other weights ({encoder.identity.hash}, the run's {identity.hash})"
        )
    return table.append(encoder([normalised(text)])[0])


def _refuse_missing_folder(name: str) -> None:
    if name.startswith(("/", ".", "~")) and not Path(name).is_dir():
        raise UserError(f"text.encoder {name!r}: there is no such folder; {_REMEDY}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
