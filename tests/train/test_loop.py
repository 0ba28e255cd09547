"""The training loop, on a network of a few numbers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from shared.errors import UserError
from train.checkpoint import checkpoints, load_network, load_state
from train.log import read_metrics
from train.loop import Stage, TrainingOptions, fit, trained
from train.optimisers import OptimiserName
from train.share import Share

CPU = torch.device("cpu")
OPTIONS = TrainingOptions(
    steps=20, learning_rate=0.05, warmup=5, decay=True, ema=0.9, checkpoint_every=10, log_every=1,
    weight_decay=0.01,
)  # fmt: skip


class StoppedError(Exception):
    """Stands for whatever ends a process."""


def small_network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.BatchNorm1d(4), nn.Linear(4, 1))


def toy_stage(
    folder: Path,
    *,
    options: TrainingOptions = OPTIONS,
    losses: list[float] | None = None,
    before: Callable[[int], object] = lambda step: None,
    init: int = 0,
    config: dict | None = None,
) -> Stage:
    """Learns the sum of three random numbers; keeps its losses in `losses`."""
    network = small_network(init)

    def load(share: Share) -> Tensor:
        before(share.step)
        rows = [torch.randn(3, generator=g) for g in share.generators(7, CPU)]
        return torch.stack(rows)

    def loss(network: nn.Module, x: Tensor, share: Share) -> dict[str, Tensor]:
        value = (network(x)[:, 0] - x.sum(1)).square().mean()
        if losses is not None:
            losses.append(value.item())
        return {"loss": value}

    return Stage("toy", folder, network, load, loss, config or {"width": 4}, options, CPU)


def stop_at(last: int) -> Callable[[int], None]:
    def check(step: int) -> None:
        if step == last:
            raise StoppedError

    return check


def names(folder: Path) -> list[str]:
    return [path.name for path in checkpoints(folder)]


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    network = small_network(99)
    load_network(checkpoints(folder)[-1], name, network)
    return network.state_dict()


@pytest.mark.parametrize("optimiser", get_args(OptimiserName))
def test_a_resumed_run_equals_an_undisturbed_one(tmp_path: Path, optimiser: OptimiserName) -> None:
    options = replace(OPTIONS, optimiser=optimiser)
    whole: list[float] = []
    undisturbed = fit(toy_stage(tmp_path / "whole", losses=whole, options=options))
    first: list[float] = []
    with pytest.raises(StoppedError):
        fit(toy_stage(tmp_path / "cut", losses=first, before=stop_at(13), options=options))
    assert names(tmp_path / "cut") == ["step-00000010"]
    rest: list[float] = []
    resumed = fit(toy_stage(tmp_path / "cut", losses=rest, init=5, options=options))
    assert first == whole[:13]
    assert rest == whole[10:]
    for name in ("network", "ema"):
        expected, got = weights(tmp_path / "whole", name), weights(tmp_path / "cut", name)
        assert all(got[key].equal(value) for key, value in expected.items())
    assert all(
        a.equal(b) for a, b in zip(undisturbed.parameters(), resumed.parameters(), strict=True)
    )
    whole_step, cut_step = (tmp_path / name / "step-00000020" for name in ("whole", "cut"))
    files = sorted(path.name for path in whole_step.glob("*.safetensors"))
    assert len(files) >= 3
    assert all((whole_step / n).read_bytes() == (cut_step / n).read_bytes() for n in files)


def test_a_resumed_log_has_each_step_once(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        fit(toy_stage(tmp_path, before=stop_at(13)))
    fit(toy_stage(tmp_path))
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 23


def test_training_goes_on_with_a_larger_budget(tmp_path: Path) -> None:
    options = replace(OPTIONS, decay=False)
    fit(toy_stage(tmp_path / "cut", options=replace(options, steps=7)))
    fit(toy_stage(tmp_path / "cut", options=options, init=5))
    fit(toy_stage(tmp_path / "whole", options=options))
    expected = weights(tmp_path / "whole", "network")
    assert all(weights(tmp_path / "cut", "network")[key].equal(v) for key, v in expected.items())


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    done = fit(toy_stage(tmp_path))
    again = fit(toy_stage(tmp_path, init=5, before=stop_at(20)))
    assert all(a.equal(b) for a, b in zip(done.parameters(), again.parameters(), strict=True))


def test_another_config_is_refused_by_name(tmp_path: Path) -> None:
    fit(toy_stage(tmp_path))
    with pytest.raises(UserError, match="another depth, width; choose another --out"):
        fit(toy_stage(tmp_path, config={"width": 5, "depth": 1}))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    stage = toy_stage(tmp_path)
    sound = stage.loss

    def loss(network: nn.Module, x: Tensor, share: Share) -> dict[str, Tensor]:
        return {"loss": sound(network, x, share)["loss"] * (math.nan if share.step == 16 else 1)}

    stage.loss = loss
    with pytest.raises(UserError, match="toy: the loss is not finite at step 16"):
        fit(stage)
    assert names(tmp_path) == ["step-00000010"]
    assert all(value.isfinite().all() for value in weights(tmp_path, "network").values())


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    fit(toy_stage(tmp_path, options=replace(OPTIONS, steps=6, checkpoint_every=1, keep=2)))
    assert names(tmp_path) == ["step-00000005", "step-00000006"]


def test_nothing_is_pickled(tmp_path: Path) -> None:
    fit(toy_stage(tmp_path))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files if "tfevents" not in path.name}
    assert kinds == {".json", ".jsonl", ".safetensors"}
    assert not [path for path in files if path.read_bytes()[:2] in (b"PK", b"\x80\x02")]


def test_a_torn_checkpoint_is_ignored(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        fit(toy_stage(tmp_path, before=stop_at(13)))
    torn = tmp_path / ".step-00000012.4711"
    torn.mkdir()
    (torn / "network.safetensors").write_bytes(b"half of it")
    seen: list[int] = []
    fit(toy_stage(tmp_path, before=seen.append))
    assert seen[0] == 10


def test_wall_clock_ends_training(tmp_path: Path) -> None:
    seen: list[int] = []

    def slowly(step: int) -> None:
        seen.append(step)
        time.sleep(0.02)

    options = replace(OPTIONS, steps=10**9, seconds=0.2)
    fit(toy_stage(tmp_path, options=options, before=slowly))
    assert 1 <= len(seen) <= 10
    state = load_state(checkpoints(tmp_path)[-1])
    assert state["step"] == len(seen)
    assert 0.2 <= state["seconds"] < 5
    fit(toy_stage(tmp_path, options=options, before=stop_at(len(seen))))


def test_the_learning_rate_rises_then_falls(tmp_path: Path) -> None:
    fit(toy_stage(tmp_path / "both"))
    got = [line["lr"] for line in read_metrics(tmp_path / "both")]
    half_cosine = [0.5 * (1 + math.cos(math.pi * s / 20)) for s in range(20)]
    assert got == pytest.approx([0.05 * min(1, (s + 1) / 5) * half_cosine[s] for s in range(20)])
    fit(toy_stage(tmp_path / "flat", options=replace(OPTIONS, warmup=0, decay=False)))
    assert {line["lr"] for line in read_metrics(tmp_path / "flat")} == {0.05}


def test_training_learns_and_previews_see_the_average(tmp_path: Path) -> None:
    losses: list[float] = []
    seen: list[tuple[int, bool]] = []
    stage = toy_stage(tmp_path, losses=losses, options=replace(OPTIONS, steps=900, warmup=1))
    stage.options = replace(stage.options, checkpoint_every=600)
    stage.preview = lambda network, log, step: seen.append((step, network is stage.network))
    fit(stage)
    assert sum(losses[-50:]) < 0.75 * sum(losses[:50])  # normalising over 8 leaves a floor
    assert seen == [(600, False), (900, False)]


def test_trained_needs_a_checkpoint_that_fits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        trained(tmp_path, small_network(0))
    fit(toy_stage(tmp_path))
    network = trained(tmp_path, small_network(0))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(UserError, match="does not fit the network its config describes"):
        trained(tmp_path, nn.Linear(3, 1))


def test_another_checkpoint_version_is_refused(tmp_path: Path) -> None:
    fit(toy_stage(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"checkpoint_version": 99}))
    with pytest.raises(UserError, match="another checkpoint version than 1"):
        fit(toy_stage(tmp_path))
