"""Small stores, and the command line of `train` in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.store.store import Store
from tests.train.stores import make_store

STAGES = ("vae", "encode", "diffusion")

Overrides = dict[str, str | None]
"""Values by the path of a recipe's field."""

TINY: Overrides = {
    "autoencoder.latent_channels": "4",
    "autoencoder.hidden": "16",
    "denoiser.dim": "16",
    "denoiser.heads": "2",
    "denoiser.head_dim": "8",
    "denoiser.context": "8",
    "denoiser.label_dim": "8",
    "refiner.width": "8",
    "sampler.steps": "4",
    "sampler.guidance": "3",
} | {
    f"{stage}_training.{field}": value
    for stage in ("autoencoder", "diffusion", "refiner")
    for field, value in {
        "steps": "4",
        "seconds": "null",
        "batch": "2",
        "learning_rate": "1e-2",
        "warmup": "1",
        "decay": "false",
        "log_every": "1",
    }.items()
}
"""Overrides with which the demo's recipe trains in about a second."""

NO_REFINER: Overrides = {"refiner": "null", "refiner.width": None}

TINY_PAPER: Overrides = {
    "autoencoder.hidden": None,
    "autoencoder.channels": "[8, 8, 8]",
    "autoencoder.layers_per_block": "1",
    "text.encoder": "null",
    "denoiser.mults": "[1, 2]",
    "denoiser.blocks": "1",
    "refiner.width": None,
}
"""Changes to `TINY` for the paper's recipe, without a refiner."""

TINY_FLOW: Overrides = {
    "refiner.width": None,
    "autoencoder.hidden": None,
    "autoencoder.latent_channels": None,
    "autoencoder.widths": "[8, 8, 16]",
    "autoencoder.dense.widths": "[8, 8, 16]",
}
"""Changes to `TINY` for LFDM's demo recipe."""

TINY_LATENT: Overrides = {"refiner.width": None, "space.factor": "4"}
TINY_PIXELS: Overrides = {
    "refiner.width": None,
    "autoencoder.hidden": None,
    "autoencoder.latent_channels": None,
    "denoiser.mults": "[1, 2]",
}
TINY_FLOW = TINY_PIXELS | {"autoencoder.widths": "[8, 8, 8]", "autoencoder.dense.widths": "[8, 8]"}
TINY_FILLED = TINY_PIXELS | {
    "autoencoder.widths": "[8, 8, 8]",
    "autoencoder.store.widths": "[8, 8]",
}
"""Changes to `TINY` for recipes of spaces other than the codec's."""

TINY_PLANES: Overrides = {
    "refiner.width": None,
    "autoencoder.hidden": None,
    "autoencoder.latent_channels": "4",
    "denoiser.head_dim": None,
    "denoiser.context": None,
    "denoiser.mults": "[1, 2]",
} | {
    f"autoencoder.{field}": value
    for field, value in {
        "patch": "4",
        "width": "16",
        "depth": "1",
        "heads": "2",
        "head_dim": "4",
        "expansion": "1",
        "projection_depth": "1",
        "projection_heads": "2",
        "projection_head_dim": "4",
        "projection_hidden": "8",
    }.items()
}
"""Changes to `TINY` for PVDM's demo recipe."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """3 subjects x 4 labels, predicted from the first frame, two slots not valid. Not to change."""
    return make_store(tmp_path_factory.mktemp("stores") / "first")


def call_train(*arguments: object) -> int:
    """Run the command line of `train` in this process; returns its exit code."""
    from train.__main__ import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stop:
            main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def train_stages(
    store: Path,
    run: Path,
    changes: Overrides | None = None,
    stages: tuple[str, ...] = STAGES,
    recipe: str = "ed_vdm_demo",
    further: tuple[object, ...] = (),
) -> list[int]:
    """Train a tiny run; returns the exit codes, of the stages up to the first that failed.

    `changes` go over `TINY`; None leaves the recipe's own value. `further` are arguments.
    """
    values = {name: value for name, value in (TINY | (changes or {})).items() if value is not None}
    overrides = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    codes = []
    for stage in stages:
        arguments = ("--recipe", recipe, "--store", store, "--out", run, *overrides, *further)
        codes.append(call_train(stage, *arguments))
        if codes[-1]:
            break
    return codes


@pytest.fixture(scope="session")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on `store`, refiner and all. Not to change."""
    path = tmp_path_factory.mktemp("runs") / "run"
    assert train_stages(store.path, path) == [0, 0, 0]
    return path


@pytest.fixture(scope="session")
def flow_run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of LFDM, trained on `store`. Not to change."""
    path = tmp_path_factory.mktemp("runs") / "flow_run"
    assert train_stages(store.path, path, TINY_FLOW, recipe="lfdm_demo") == [0, 0, 0]
    return path


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG to start from, wider than high."""
    pixels = np.random.default_rng(0).integers(60, 200, (20, 30, 3), np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Call the command line of `train`: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = call_train(*arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call
