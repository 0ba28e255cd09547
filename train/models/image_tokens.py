"""Tokens of a picture by a pretrained CLIP vision model, before they are pooled.

MoVideo (Liang et al., ECCV 2024, section 3.2): the embedding "before the last average pooling
layer" keeps layout and details.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from train.models.autoencoder import weights_hash
from train.models.pretrained import load_pretrained

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures in [0, 1], by colour (Radford et al. 2021)."""


class ImageTokens:
    """A CLIP vision model; a token for each patch, without the class token.

    Args:
        name: local folder with config.json and model.safetensors, or a name on the hub.

    Raises:
        UserError: transformers is not installed, or no such network could be loaded.
    """

    def __init__(self, name: str) -> None:
        def load() -> tuple[Any, Any]:
            from transformers import CLIPVisionModel

            network, loading = CLIPVisionModel.from_pretrained(
                name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            if loading["missing_keys"]:
                raise ValueError("its weights are not those of a CLIP vision model")
            return network, network.config

        self._network, config = load_pretrained("a CLIP vision model", name, load)
        self._size_px: int = config.image_size
        self.identity = weights_hash(self._network)
        self.shape = ((config.image_size // config.patch_size) ** 2, config.hidden_size)

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Tensor:
        """Tokens of frames, float32, shape (N, L, D).

        Args:
            frames: uint8, shape (N, 3, H, W).
        """
        size = (self._size_px, self._size_px)
        pixels = F.interpolate(frames.float() / 255, size, mode="bicubic", antialias=True)
        mean, deviation = pixels.new_tensor((_MEAN, _DEVIATION))[..., None, None]
        self._network.to(frames.device)
        found = self._network(pixel_values=(pixels.clamp(0, 1) - mean) / deviation)
        return found.last_hidden_state[:, 1:]
