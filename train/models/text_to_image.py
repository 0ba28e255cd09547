"""First frames from a text, by a pretrained text-to-image pipeline of diffusers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import UserError


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
