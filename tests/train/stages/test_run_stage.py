from __future__ import annotations

import pytest
import torch

from shared.errors import UserError
from train.recipes import load_recipe
from train.stages import run_stage
from train.stages.run_stage import process_count

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("given", "stage", "recipe", "device", "expected"),
    [
        ("auto", "diffusion", "ed_vdm_demo", CPU, 3),
        ("auto", "diffusion", "ed_vdm_demo", GPU, 1),
        ("2", "diffusion", "ed_vdm_demo", GPU, 2),
        ("auto", "encode", "ed_vdm_demo", CPU, 1),
        ("auto", "vae", "ed_vdm_demo", CPU, 3),
        ("auto", "vae", "vdm_demo", CPU, 1),
        # The refining network's batch is 4, the denoiser's 8, the autoencoder's 16.
        ("64", "diffusion", "ed_vdm_demo", CPU, 4),
        ("64", "diffusion", "lfdm_demo", CPU, 8),
        ("64", "vae", "ed_vdm_demo", CPU, 16),
    ],
)
def test_number_of_processes(
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    stage: str,
    recipe: str,
    device: torch.device,
    expected: int,
) -> None:
    monkeypatch.setattr(run_stage, "usable_cores", lambda: 3)
    assert process_count(given, stage, load_recipe(recipe, []), device) == expected


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5", ""])
def test_a_number_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="must be auto or a number of processes"):
        process_count(given, "vae", load_recipe("ed_vdm_demo", []), CPU)
