"""Systems whose stages go through several processes learn what they learn in one."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from shared.store.store import Store
from tests.train.conftest import TINY_FLOW, TINY_PLANES, Overrides, train_stages
from train.run import RunFolder
from train.trainer.checkpoint import checkpoints
from train.trainer.monitor import read_metrics

SYSTEMS = {"lfdm_demo": TINY_FLOW, "pvdm_demo": TINY_PLANES}


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "changes"), SYSTEMS.items())
def test_two_processes_learn_what_one_learns(
    store: Store, tmp_path: Path, recipe: str, changes: Overrides
) -> None:
    """The first steps alone: Adam's enlarge the last digits of gradients near zero."""
    few = {f"{stage}_training.learning_rate": "1e-3" for stage in ("autoencoder", "diffusion")}
    runs = []
    for count in (1, 2):
        run = RunFolder(tmp_path / str(count))
        asked = ("--processes", count)
        codes = train_stages(store.path, run.root, changes | few, recipe=recipe, further=asked)
        assert codes == [0, 0, 0]
        runs.append(run)
    for folders in zip(*(run.trained_stages.values() for run in runs), strict=True):
        if not folders[0].exists():
            continue
        one, two = ([line["loss"] for line in read_metrics(folder)] for folder in folders)
        assert two == pytest.approx(one, rel=1e-3)
        weights = [load_file(checkpoints(folder)[-1] / "ema.safetensors") for folder in folders]
        for name, tensor in weights[0].items():
            assert (tensor.float() - weights[1][name].float()).abs().max() < 2e-3, name
