"""The costs of recipes as a table to read, in Markdown, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from train.cost import PAPER, Cost
from train.passes import GIGA

_HEADINGS = (
    "recipe",
    "x0: C, T, h, w",
    "U-Net, M",
    "first frame, M",
    "GFLOP (paper)",
    "below VDM",
    "activations, GB",
    "training, GB (paper)",
    "autoencoder, M",
    "encode, decode GFLOP",
)

_CONVENTION = """\
GFLOP: forward and backward pass of one 16-frame clip, of which 15 are diffused; 2 FLOP a
multiply-accumulate, by torch's FlopCounterMode. Paper: its Table 4.
Activations: {activations}, under bfloat16 autocast.
Training: weights, gradients and AdamW's moments in float32, 16 bytes a parameter, and the
activations of one clip; the average of the weights takes 4 bytes a parameter more.
Autoencoder: all 15 pictures of a clip once; latents are cached, so no other column contains it."""
_COUNTED = "what autograd saves for the backward pass, counted and not measured"
_MEASURED = "the most a GPU's allocator held beside the network, measured"


def cost_table(costs: Sequence[Cost]) -> str:
    """A Markdown table, a row a recipe, and the convention under it."""
    rows = [_HEADINGS, *map(_row, costs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    rule = [f"{'-' * (width - 1)}{':' if index else '-'}" for index, width in enumerate(widths)]
    measured = any(cost.denoiser.measured for cost in costs)
    convention = _CONVENTION.format(activations=_MEASURED if measured else _COUNTED)
    return "\n".join([lines[0], _line(rule, widths), *lines[1:], "", convention])


def cost_data(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """As JSON can hold it, the paper's figures beside."""
    rows = []
    for cost in costs:
        paper = PAPER.get(cost.recipe)
        rows.append(
            asdict(cost)
            | {"below_vdm": cost.below_vdm, "training_bytes": cost.denoiser.training_bytes}
            | {"paper": paper and asdict(paper)}
        )
    return rows


def _row(cost: Cost) -> tuple[str, ...]:
    denoiser, coder, paper = cost.denoiser, cost.autoencoder, PAPER.get(cost.recipe)
    return (
        cost.recipe,
        ", ".join(map(str, cost.target)),
        f"{denoiser.unet_parameters / 1e6:.1f}",
        f"{denoiser.first_frame_parameters / 1e6:.2f}",
        f"{denoiser.gflop:,.1f}" + (f" ({paper.gflop:,})" if paper else ""),
        f"{cost.below_vdm:.1f}x",
        f"{denoiser.activation_bytes / GIGA:.2f}",
        f"{denoiser.training_bytes / GIGA:.2f}" + (f" ({paper.gigabytes})" if paper else ""),
        f"{coder.parameters / 1e6:.1f}" if coder else "",
        f"{_few(coder.encode_gflop)}, {_few(coder.decode_gflop)}" if coder else "",
    )


def _few(number: float) -> str:
    """With one decimal where that matters."""
    return f"{number:,.1f}" if number < 100 else f"{number:,.0f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.rjust(width) if index else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "| " + " | ".join([first, *rest]) + " |"
