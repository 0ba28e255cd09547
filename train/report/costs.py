"""What the run's recipe costs on clips of its store, counted and not measured."""

from __future__ import annotations

import torch

from shared import html
from shared.html import Html
from shared.schema import CodecOptions
from train.cost import GIGA, costed
from train.recipe import Recipe


def cost_table(recipe: Recipe, store: CodecOptions) -> Html:
    """Parameters, operations and memory, by the convention of `train.cost`."""
    case, denoiser, coder = costed(recipe, torch.device("cpu"), store)
    parameters = denoiser.unet_parameters + denoiser.first_frame_parameters
    rows: list[tuple[str, html.Cell]] = [
        ("what is generated, x₀: channels, time, height, width", " × ".join(map(str, case.target))),
        ("parameters of the denoiser, million", parameters / 1e6),
        ("GFLOP of a training pass of one clip, forward and backward", denoiser.gflop),
        ("GFLOP of one sampling step, without guidance", denoiser.forward_gflop),
        ("memory to train on one clip, GB, counted", denoiser.training_bytes / GIGA),
    ]
    if coder is not None:
        rows += [
            ("parameters of the autoencoder, million", coder.parameters / 1e6),
            ("GFLOP to encode a clip", coder.encode_gflop),
            ("GFLOP to decode a clip", coder.decode_gflop),
        ]
    return html.table(rows)
