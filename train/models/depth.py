"""Depth of single frames by a pretrained network: pseudo-labels, never trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from train.models.autoencoder import weights_hash
from train.models.pretrained import load_pretrained


class DepthModel:
    """A depth estimation network of transformers, such as DPT or Depth Anything.

    Args:
        name: local folder with config.json, model.safetensors and preprocessor_config.json, or a
            name on the Hugging Face hub.

    Raises:
        UserError: transformers is not installed, or no such network could be loaded.
    """

    def __init__(self, name: str | Path) -> None:
        def load() -> tuple[Any, Any]:
            from transformers import AutoImageProcessor, AutoModelForDepthEstimation

            network, loading = AutoModelForDepthEstimation.from_pretrained(
                name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
            if loading["missing_keys"]:
                raise ValueError("its weights are not those of its config.json")
            # Of the two ways to prepare pictures the one that needs nothing else.
            return network, AutoImageProcessor.from_pretrained(name, backend="pil")

        self._network, self._prepare = load_pretrained("a depth model", str(name), load)
        self.identity = weights_hash(self._network)

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Tensor:
        """Relative inverse depth of frames, the nearer the larger.

        Args:
            frames: uint8, shape (N, 3, H, W).

        Returns:
            Float32, shape (N, 1, H, W).
        """
        pixels = self._prepare(images=list(frames.cpu().numpy()), return_tensors="pt")
        self._network.to(frames.device)
        found = self._network(pixels["pixel_values"].to(frames.device)).predicted_depth
        return F.interpolate(found[:, None], frames.shape[-2:], mode="bilinear")
