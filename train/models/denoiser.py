"""The interface of denoisers: networks that predict v or epsilon from a noisy target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from train.models.text_encoder import LabelEmbedding

Conditions = Mapping[str, Tensor]
"""Conditions of B clips by name, each of shape (B, ...). `label` holds indices, -1 = null."""


@dataclass(frozen=True)
class DenoiserInput:
    """Shapes of one clip as a denoiser takes it, without the batch axis.

    Attributes:
        x0: of the target, channels first.
        cell: pixels that a cell of the target's grid covers, in each direction.
        conditions: of every condition, by name, in their order.
        parts: shapes of arrays that are flattened and joined along x_0's last axis, where it is no
            grid itself.
    """

    x0: tuple[int, ...]
    cell: int
    conditions: tuple[tuple[str, tuple[int, ...]], ...]
    parts: tuple[tuple[int, int], ...] = ()

    def zeros(self) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Arguments of a pass of one clip, on the default device."""
        index = torch.zeros(1, dtype=torch.long)
        conditions = {name: torch.zeros(1, *shape) for name, shape in self.conditions}
        return torch.zeros(1, *self.x0), index, {**conditions, "label": index}


class Denoiser(nn.Module, ABC):
    """A network that predicts v or epsilon; built as `type(options, input, labels, texts)`.

    Attributes:
        options_type: dataclass of its options.
        label: embeddings of label indices, where it takes texts as conditions.
    """

    options_type: ClassVar[type]
    label: nn.Embedding | LabelEmbedding

    @abstractmethod
    def forward(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        """Prediction of the shape of `noisy`.

        Args:
            noisy: float, shape (B, C, ...).
            t: diffusion time steps, int64, shape (B,).
            conditions: see `Conditions`.
        """

    def null(self, name: str, condition: Tensor) -> Tensor:
        """The null value of a condition, of its shape: label -1, zeros of any other."""
        return torch.full_like(condition, -1) if name == "label" else torch.zeros_like(condition)

    def parameter_groups(self) -> dict[str, int]:
        """Numbers of parameters of parts that are counted apart, by name."""
        return {}


def with_null(
    network: Denoiser, conditions: Conditions, names: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Conditions with some rows made null.

    Args:
        network: states each null value.
        conditions: shape (B, ...) each.
        names: which rows of which condition: bool, shape (B,).
    """
    changed = dict(conditions)
    for name, rows in names.items():
        value = conditions[name]
        rows = rows.view(-1, *(1,) * (value.ndim - 1))
        changed[name] = torch.where(rows, network.null(name, value), value)
    return changed
