from __future__ import annotations

import re

from train.evaluate.report.page import _stage_row, stage_charts

LINES = [
    {
        "step": step,
        "loss": 1 / step,
        "loss_t0-250": 2 / step,
        **({"loss_t250-500": 3 / step} if step > 1 else {}),
        "gradient_norm": 0.5,
        "lr": 1e-3,
        "seconds": 2.0 * step,
        "clips_per_second": float(step),
        "wait": 0.25,
        "memory_gib": 0.75,
    }
    for step in (1, 2, 3)
]


def test_every_curve_is_drawn_once_and_bands_together() -> None:
    charts = "".join(stage_charts("diffusion", LINES))
    titles = re.findall(r'aria-label="diffusion: ([^"]*)"', charts)
    assert titles == [
        "loss",
        "loss by time step, 0 = no noise",
        "norm of the gradient",
        "throughput",
        "fraction of the time spent waiting for data",
        "learning rate",
    ]
    assert "0 to 250" in charts and "250 to 500" in charts


def test_losses_below_zero_are_drawn_too() -> None:
    lines = [{"step": 1, "loss": -0.5, "seconds": 1.0}, {"step": 2, "loss": 0.5, "seconds": 2.0}]
    assert len(stage_charts("refiner", lines)) == 1


def test_one_line_makes_no_curve() -> None:
    assert stage_charts("vae", LINES[:1]) == []


def test_a_stage_is_a_row_of_its_last_and_mean_figures() -> None:
    assert _stage_row("diffusion", LINES) == ["diffusion", 3, 6.0, 1 / 3, 2.0, 25.0, 0.75]
    short = [{"step": 9, "loss": 1.5, "seconds": 3.25}]
    assert _stage_row("vae", short) == ["vae", 9, 3.2, 1.5, None, None, None]
