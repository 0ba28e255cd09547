"""The Karhunen-Loeve transform of residual blocks: the best linear code there is.

No other linear code of K numbers a block has a lower squared error on the blocks it was taken from
(Eckart and Young 1936).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from train.models.blocks import active, principal, to_blocks
from train.models.linear import LinearAutoencoder
from train.options import STRICT


@dataclass(frozen=True, config=STRICT)
class KltOptions:
    """Options of `KltAutoencoder`."""

    kind: Literal["klt"] = "klt"
    latent_channels: Annotated[int, Field(ge=1)] = 16


class KltAutoencoder(LinearAutoencoder):
    """Coordinates along the K leading eigenvectors of the training blocks' second moments."""

    def __init__(self, options: KltOptions, block: int) -> None:
        super().__init__(options.latent_channels, block)

    @torch.no_grad()
    def start_from(self, picture: Tensor, context: Tensor | None = None) -> None:
        """See `Autoencoder.start_from`; blocks without residual say nothing."""
        basis, _ = principal(active(to_blocks(picture, self.block)), self.latent_channels)
        self.analysis.copy_(basis)
        self.synthesis.copy_(basis.T)
