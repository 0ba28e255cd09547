"""Networks of others: depth, tokens of a picture, pictures from a text; never trained here.

They come from a local folder, or the Hugging Face hub, with errors that name the remedy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import UserError
from train.models.autoencoder import weights_hash

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures in [0, 1], by colour (Radford et al. 2021)."""


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


class ImageTokens:
    """Tokens of a picture by a CLIP vision model, one for each patch, without the class token.

    They are taken before pooling, which keeps layout and details (MoVideo, Liang et al., ECCV 2024,
    section 3.2).

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


def picture_from_text(
    folder: Path, text: str, seed: int, device: torch.device
) -> NDArray[np.uint8]:
    """Generate a picture; nothing is downloaded, and no code of the folder is run.

    Args:
        folder: of a pipeline, as diffusers' `save_pretrained` writes it.
        text: what the picture shows.
        seed: of its noise.
        device: to generate on.

    Returns:
        RGB, shape (H, W, 3); the pipeline's own size.

    Raises:
        UserError: there is no such pipeline.
    """
    named, remedy = f"--image-model {folder}", "give the folder of a pipeline that makes pictures"
    if not (folder / "model_index.json").is_file():
        raise UserError(f"{named}: no model_index.json in it; {remedy}, as diffusers saves it")
    from diffusers import DiffusionPipeline  # slow to import: seconds

    try:
        pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True).to(device)
        pipeline.set_progress_bar_config(desc="first frame")
        generator = torch.Generator().manual_seed(seed)
        made = pipeline(prompt=text, generator=generator, output_type="np").images[0]
    except Exception as error:  # whatever the parts of a pipeline raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{named}: {lines[0].rstrip('.')}; {remedy}") from None
    return np.rint(255 * np.clip(made, 0, 1)).astype(np.uint8)
