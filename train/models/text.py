"""Label embeddings that a frozen text encoder gave, in the place of learned ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TextTable(nn.Module):
    """Texts as condition: a fixed table of their embeddings, normalised, behind a learned map.

    The encoder itself is not part of the network: it is run once a label, and what it said is
    saved with the weights. The null condition is learned.

    Args:
        texts: embeddings of the labels, float, shape (labels, D).
        width: numbers that the network takes of a label.
    """

    optimiser = "adamw"

    def __init__(self, texts: Tensor, width: int) -> None:
        super().__init__()
        self.null_label = len(texts)
        self.texts: Tensor
        # A row for the null condition too, so that texts that come later have indices behind it.
        self.register_buffer(
            "texts", torch.cat([texts.float(), texts.new_zeros(1, texts.shape[1])])
        )
        self.project = nn.Sequential(nn.LayerNorm(texts.shape[1]), nn.Linear(texts.shape[1], width))
        self.null = nn.Parameter(torch.randn(width))

    def forward(self, label: Tensor) -> Tensor:
        """Indices (...) to (..., width)."""
        is_null = (label == self.null_label)[..., None]
        return torch.where(is_null, self.null, self.project(self.texts[label]))

    def append(self, text: Tensor) -> int:
        """Add one text's embedding, shape (D,), for sampling; returns its index."""
        self.texts = torch.cat([self.texts, text.to(self.texts)[None]])
        return len(self.texts) - 1
