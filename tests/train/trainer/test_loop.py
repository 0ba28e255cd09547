"""The training loop, on a network of a few numbers."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.errors import StoreError, UserError
from tests.train.toy import EXACT, OPTIONS, small_network, toy_stage
from train.data.batches import BatchSlice
from train.trainer.checkpoint import checkpoints, load_network, load_state, load_trained
from train.trainer.loop import fit
from train.trainer.monitor import read_metrics
from train.trainer.schedule import OptimiserName, learning_rate_scale
from train.trainer.signals import StoppedError


class CutError(Exception):
    """Stands for anything that ends a process."""


class Clock:
    """Seconds that pass only where a test says so."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


def stop_at(last: int) -> Callable[[int], None]:
    def check(step: int) -> None:
        if step == last:
            raise CutError

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
    with pytest.raises(CutError):
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
    with pytest.raises(CutError):
        fit(toy_stage(tmp_path, before=stop_at(13)))
    fit(toy_stage(tmp_path))
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 23


def test_training_continues_with_a_larger_budget(tmp_path: Path) -> None:
    options = replace(OPTIONS, decay=False)
    fit(toy_stage(tmp_path / "cut", options=replace(options, steps=7)))
    fit(toy_stage(tmp_path / "cut", options=options, init=5))
    fit(toy_stage(tmp_path / "whole", options=options))
    expected = weights(tmp_path / "whole", "network")
    assert all(weights(tmp_path / "cut", "network")[key].equal(v) for key, v in expected.items())


def test_a_finished_run_does_not_train_again(tmp_path: Path) -> None:
    done = fit(toy_stage(tmp_path))
    again = fit(toy_stage(tmp_path, init=5, before=stop_at(20)))
    assert all(a.equal(b) for a, b in zip(done.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_between_two_steps_and_saves(tmp_path: Path, number: int) -> None:
    def stop(step: int) -> None:
        if step == 6:
            os.kill(os.getpid(), number)

    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(StoppedError) as stopped:
        fit(toy_stage(tmp_path / "cut", before=stop))
    assert stopped.value.signal == number
    assert handlers == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    assert names(tmp_path / "cut") == ["step-00000007"]
    fit(toy_stage(tmp_path / "cut", init=5))
    fit(toy_stage(tmp_path / "whole"))
    expected = weights(tmp_path / "whole", "ema")
    assert all(weights(tmp_path / "cut", "ema")[key].equal(v) for key, v in expected.items())


def test_a_second_signal_does_not_wait_for_the_step(tmp_path: Path) -> None:
    def stop(step: int) -> None:
        # In this very thread, since signals that wait for another thread are merged into one.
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    # A shell starts what runs in the background with SIGINT ignored.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as stopped:
            fit(toy_stage(tmp_path, before=stop))
    finally:
        signal.signal(signal.SIGINT, ours)
    assert not isinstance(stopped.value, StoppedError)
    assert names(tmp_path) == []


def test_passes_add_up_to_one_step(tmp_path: Path) -> None:
    """Passes need not be of equal size: 8 clips in 3."""
    lines = {}
    for passes in (1, 3):
        folder = tmp_path / str(passes)
        fit(toy_stage(folder, options=replace(OPTIONS, accumulate=passes), norm=nn.LayerNorm))
        lines[passes] = read_metrics(folder)
    for one, three in zip(lines[1], lines[3], strict=True):
        assert {k: one[k] for k in EXACT} == pytest.approx({k: three[k] for k in EXACT}, rel=1e-4)


def test_more_passes_than_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="toy: a batch of 8 clips cannot be split into 9 passes"):
        fit(toy_stage(tmp_path, options=replace(OPTIONS, accumulate=9)))


def test_a_line_holds_means_since_the_one_before(tmp_path: Path) -> None:
    """Even if the run was resumed from a checkpoint between two lines."""
    fit(toy_stage(tmp_path / "each"))
    each = read_metrics(tmp_path / "each")
    options = replace(OPTIONS, log_every=4)
    with pytest.raises(CutError):
        fit(toy_stage(tmp_path / "cut", options=options, before=stop_at(11)))
    fit(toy_stage(tmp_path / "cut", options=options))
    lines = read_metrics(tmp_path / "cut")
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20]
    for number, line in enumerate(lines):
        steps = each[4 * number : 4 * number + 4]
        for name in ("loss", "gradient_norm"):
            mean = sum(step[name] for step in steps) / 4
            assert line[name] == pytest.approx(mean, rel=1e-6)
        assert line["lr"] == steps[-1]["lr"]


@pytest.mark.parametrize(("log_every", "steps"), [(50, [20]), (8, [8, 16, 20]), (10, [10, 20])])
def test_the_last_line_is_of_the_last_step(
    tmp_path: Path, log_every: int, steps: list[int]
) -> None:
    """Even of a stage that ends before its first line; resuming a finished one adds none."""
    fit(toy_stage(tmp_path / "each"))
    each = read_metrics(tmp_path / "each")
    for _ in range(2):
        fit(toy_stage(tmp_path / "run", options=replace(OPTIONS, log_every=log_every)))
        lines = read_metrics(tmp_path / "run")
        assert [line["step"] for line in lines] == steps
    last = each[steps[-2] if len(steps) > 1 else 0 :]
    mean = sum(line["loss"] for line in last) / len(last)
    assert lines[-1]["loss"] == pytest.approx(mean, rel=1e-6)


def test_a_line_has_the_rate_and_the_fraction_of_time_spent_waiting(tmp_path: Path) -> None:
    """A step of 8 clips waits 1 s for them and takes 4 s; previews do not count."""
    clock = Clock()
    options = replace(OPTIONS, log_every=10)
    stage = toy_stage(tmp_path, before=lambda step: clock.advance(1), options=options)
    loss = stage.loss

    def slow_loss(network: nn.Module, x: Tensor, part: BatchSlice) -> dict[str, Tensor]:
        clock.advance(3)
        return loss(network, x, part)

    stage.loss = slow_loss
    stage.preview = lambda *_: clock.advance(50)
    fit(stage, clock=clock)
    first, second = read_metrics(tmp_path)
    for line in (first, second):
        assert (line["wait"], line["clips_per_second"]) == (0.25, 2)
        assert 0.05 < line["memory_gib"] < 64
    assert (first["seconds"], second["seconds"]) == (36, 126)


@pytest.mark.parametrize("end", ["done", "error", "unreadable clip"])
def test_reading_threads_end_with_the_training(tmp_path: Path, end: str) -> None:
    stage = toy_stage(tmp_path, before=stop_at(13 if end == "error" else 99))
    read = stage.read

    def damaged(indices: np.ndarray, *, pinned: bool) -> dict[str, Tensor]:
        if end == "unreadable clip" and 9 in indices:
            raise StoreError("clip 9 of toy: damaged")
        return read(indices, pinned=pinned)

    stage.read = damaged
    if end == "done":
        fit(stage)
    else:
        with pytest.raises((CutError, UserError), match=r"clip 9 of toy: damaged|^$"):
            fit(stage)
    assert not [thread for thread in threading.enumerate() if "read-ahead" in thread.name]


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_under_the_same_names(tmp_path: Path) -> None:
    for name in ("plain", "compiled"):
        options = replace(OPTIONS, compile=name == "compiled")
        fit(toy_stage(tmp_path / name, options=options))
    plain, compiled = (weights(tmp_path / name, "network") for name in ("plain", "compiled"))
    assert all(torch.allclose(compiled[key], value, atol=1e-3) for key, value in plain.items())


def test_another_config_is_refused_by_name(tmp_path: Path) -> None:
    fit(toy_stage(tmp_path))
    with pytest.raises(UserError, match=r"another depth \(.*\), width \(run: 4, here: 5\); choose"):
        fit(toy_stage(tmp_path, config={"width": 5, "depth": 1}))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    stage = toy_stage(tmp_path)
    sound = stage.loss

    def loss(network: nn.Module, x: Tensor, part: BatchSlice) -> dict[str, Tensor]:
        return {"loss": sound(network, x, part)["loss"] * (math.nan if part.step == 16 else 1)}

    stage.loss = loss
    with pytest.raises(
        UserError, match=r"in step 17; the last good checkpoint is .*step-00000010;"
    ):
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
    with pytest.raises(CutError):
        fit(toy_stage(tmp_path, before=stop_at(13)))
    torn = tmp_path / ".step-00000012.4711"
    torn.mkdir()
    (torn / "network.safetensors").write_bytes(b"half of it")
    steps: list[int] = []
    fit(toy_stage(tmp_path, before=steps.append))
    assert steps[0] == 10


def test_wall_clock_ends_training(tmp_path: Path) -> None:
    clock = Clock()
    options = replace(OPTIONS, steps=10**9, seconds=7)
    with pytest.raises(CutError):
        fit(toy_stage(tmp_path, options=replace(options, checkpoint_every=1), before=stop_at(3)))

    def slowly(step: int) -> None:
        clock.advance(2)

    state = load_state(checkpoints(tmp_path)[-1])
    assert state["step"] == 3
    fit(toy_stage(tmp_path, options=options, before=slowly), clock=clock)
    left = 7 - state["seconds"]
    state = load_state(checkpoints(tmp_path)[-1])
    assert state["step"] == 3 + math.ceil(left / 2)
    assert 7 <= state["seconds"] < 9
    fit(toy_stage(tmp_path, options=options, before=stop_at(state["step"])), clock=clock)


def test_a_long_training_says_at_its_start_how_long_it_takes_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    options = replace(OPTIONS, steps=20)
    fit(
        toy_stage(tmp_path / "slow", options=options, before=lambda _: clock.advance(6)),
        clock=clock,
    )
    said = capsys.readouterr().out
    assert said.count("minutes") == 1
    assert "19 more steps, about 2 minutes at the rate of the first 1 on this machine" in said
    fit(
        toy_stage(tmp_path / "quick", options=options, before=lambda _: clock.advance(1)),
        clock=clock,
    )
    assert "minutes" not in capsys.readouterr().out


def test_the_learning_rate_rises_then_falls(tmp_path: Path) -> None:
    fit(toy_stage(tmp_path / "both"))
    got = [line["lr"] for line in read_metrics(tmp_path / "both")]
    half_cosine = [0.5 * (1 + math.cos(math.pi * s / 20)) for s in range(20)]
    assert got == pytest.approx([0.05 * min(1, (s + 1) / 5) * half_cosine[s] for s in range(20)])
    fit(toy_stage(tmp_path / "flat", options=replace(OPTIONS, warmup=0, decay=False)))
    assert {line["lr"] for line in read_metrics(tmp_path / "flat")} == {0.05}


def test_the_learning_rate_falls_at_the_steps_of_its_schedule() -> None:
    options = replace(OPTIONS, warmup=0, decay=False, rate_steps=((0.9, 0.01), (0.6, 0.1)))
    scales = [learning_rate_scale(options, step, step / 20) for step in range(20)]
    assert scales == [1.0] * 12 + [0.1] * 6 + [0.01] * 2


def test_training_learns_and_previews_see_the_average(tmp_path: Path) -> None:
    losses: list[float] = []
    seen: list[tuple[int, bool]] = []
    stage = toy_stage(tmp_path, losses=losses, options=replace(OPTIONS, steps=900, warmup=1))
    stage.options = replace(stage.options, checkpoint_every=600)
    stage.preview = lambda network, log, step: seen.append((step, network is stage.network))
    fit(stage)
    assert sum(losses[-50:]) < 0.3 * sum(losses[:50])
    assert seen == [(600, False), (900, False)]


def test_load_trained_needs_a_checkpoint_that_fits(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        load_trained(tmp_path, small_network(0))
    fit(toy_stage(tmp_path))
    network = load_trained(tmp_path, small_network(0))
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(UserError, match="does not fit the network its config describes"):
        load_trained(tmp_path, nn.Linear(3, 1))


def test_another_checkpoint_version_is_refused(tmp_path: Path) -> None:
    fit(toy_stage(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"checkpoint_version": 99}))
    with pytest.raises(UserError, match="another checkpoint version than 1"):
        fit(toy_stage(tmp_path))
