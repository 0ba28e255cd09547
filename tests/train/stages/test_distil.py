"""Distilled runs, from a run of a few steps to sampled videos."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from shared.store.store import Store
from tests.train.conftest import TINY, call_train
from train.generate.generator import load_generator
from train.models.autoencoder import weights_hash
from train.trainer.checkpoint import checkpoints, load_state
from train.trainer.monitor import read_metrics

Cli = Callable[..., tuple[int, str, str]]
CPU = torch.device("cpu")
SHORT = tuple(
    part
    for name in ("batch", "warmup", "log_every", "preview")
    if (value := TINY.get(f"diffusion_training.{name}")) is not None
    for part in ("--set", f"diffusion_training.{name}={value}")
)


def distil(teacher: Path, store: Store, out: Path, *more: object) -> int:
    return call_train(
        "distil", "--from", teacher, "--store", store.path, "--out", out, *SHORT,
        "--set", "diffusion_training.steps=2", *more,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["run", "flow_run"])
def test_the_student_is_a_run_like_any_other(
    kind: str, store: Store, tmp_path: Path, picture: Path, request: pytest.FixtureRequest, cli: Cli
) -> None:
    teacher, student = request.getfixturevalue(kind), tmp_path / "student"
    assert distil(teacher, store, student, "--steps", 3) == 0
    made, taught = load_generator(student, CPU), load_generator(teacher, CPU)
    sampler = made.recipe.sampler
    assert (sampler.name, sampler.steps, sampler.guidance) == ("ddim", 3, 1.0)
    assert made.space.identity == taught.space.identity
    assert made.space.statistics == taught.space.statistics
    assert weights_hash(made.network) != weights_hash(taught.network)
    code, _, err = cli("sample", "--run", student, "--image", picture, "--text", "Go",
                       "--out", tmp_path / "v.mp4")  # fmt: skip
    assert code == 0, err
    assert ("refiner" in [path.name for path in student.iterdir()]) == (kind == "run")


def test_a_student_with_nothing_to_learn_has_no_loss(
    flow_run: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of its teacher, without guidance, in each of its own."""
    recipe = json.loads((flow_run / "recipe.json").read_text())
    alike = tmp_path / "alike"
    alike.mkdir()
    for path in flow_run.iterdir():
        if path.name != "recipe.json":
            (alike / path.name).symlink_to(path)
    recipe["sampler"] |= {"guidance": 1.0}
    (alike / "recipe.json").write_text(json.dumps(recipe))
    monkeypatch.setattr("train.stages.distil.SUBSTEPS", 1)
    still = ("--set", "diffusion_training.learning_rate=1e-12")
    assert distil(alike, store, tmp_path / "same", *still) == 0
    assert read_metrics(tmp_path / "same/diffusion")[0]["loss"] < 1e-6
    monkeypatch.setattr("train.stages.distil.SUBSTEPS", 4)
    assert distil(alike, store, tmp_path / "other", *still) == 0
    assert read_metrics(tmp_path / "other/diffusion")[0]["loss"] > 1e-5
    assert load_state(checkpoints(tmp_path / "other/diffusion")[-1])["step"] == 2


def test_what_cannot_be_distilled_is_named(
    flow_run: Path, store: Store, tmp_path: Path, cli: Cli
) -> None:
    out = ("--store", store.path, "--out", tmp_path / "new")
    code, _, err = cli("distil", "--from", tmp_path, *out)
    assert code == 2
    assert "whose stage diffusion was trained" in err
    guided = tmp_path / "guided"
    guided.mkdir()
    (guided / "diffusion").symlink_to(flow_run / "diffusion")
    code, _, err = cli("distil", "--from", guided, *out)
    assert (code, "no recipe.json in it" in err) == (2, True)
    (guided / "recipe.json").write_text('{"guide": {"name": "motion"}}')
    code, _, err = cli("distil", "--from", guided, *out)
    assert (code, "is not distilled" in err) == (2, True)
    assert not (tmp_path / "new").exists()
