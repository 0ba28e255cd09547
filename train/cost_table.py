"""The costs of recipes as a table to read and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from train.cost import GIGA, PAPER, Cost

CONVENTION = (
    "GFLOP: forward and backward pass of one 16-frame clip, 15 frames of it diffused, 2 FLOP a"
    " multiply-accumulate (torch's FlopCounterMode).\n"
    "Training memory: weights, gradients and AdamW's moments in float32 (16 bytes a parameter), and"
    " the activations of\none clip under bfloat16 autocast; the average of the weights takes 4 bytes"
    " a parameter more.\n"
    "Activations: {activations}.\n"
    "Paper: its Table 4. Autoencoder: of the 15 pictures of a clip; not part of the other columns."
)
_COUNTED = "the tensors that autograd saves, counted and not measured"
_MEASURED = "the most that the GPU's allocator held beside the network, measured"


def cost_table(costs: Sequence[Cost]) -> Table:
    """A row a recipe."""
    table = Table(caption=_caption(costs), caption_justify="left")
    for heading in (
        "recipe", "target C T h w", "U-Net, M", "first\nframe, M", "GFLOP", "below\nVDM",
        "activations,\nGB", "training,\nGB", "paper:\nGFLOP, GB", "autoencoder, M:\nencode, decode",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "recipe" else "right")
    for cost in costs:
        table.add_row(*_row(cost))
    return table


def cost_data(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """As JSON can hold it, the paper's figures beside."""
    rows = []
    for cost in costs:
        gflop, gigabytes = PAPER.get(cost.recipe, (None, None))
        rows.append(
            asdict(cost)
            | {"below_vdm": cost.below_vdm, "training_bytes": cost.denoiser.training_bytes}
            | {"paper_gflop": gflop, "paper_gigabytes": gigabytes}
        )
    return rows


def _row(cost: Cost) -> tuple[str, ...]:
    denoiser, paper, coder = cost.denoiser, PAPER.get(cost.recipe), cost.autoencoder
    return (
        cost.recipe,
        " ".join(map(str, cost.target)),
        f"{denoiser.unet_parameters / 1e6:.1f}",
        f"{denoiser.first_frame_parameters / 1e6:.2f}",
        f"{denoiser.gflop:,.1f}",
        f"{cost.below_vdm:.1f}x",
        f"{denoiser.activation_bytes / GIGA:.2f}",
        f"{denoiser.training_bytes / GIGA:.2f}",
        f"{paper[0]:,}, {paper[1]}" if paper else "",
        f"{coder.parameters / 1e6:.1f}: {coder.encode_gflop:,.0f}, {coder.decode_gflop:,.0f}"
        if coder
        else "",
    )


def _caption(costs: Sequence[Cost]) -> str:
    measured = any(cost.denoiser.measured for cost in costs)
    return CONVENTION.format(activations=_MEASURED if measured else _COUNTED)
