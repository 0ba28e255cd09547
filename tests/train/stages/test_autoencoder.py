"""An autoencoder that starts from another run's: adapting LFDM's decoder to another store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from shared.store.store import Store
from tests.train.conftest import TINY_FLOW, Overrides, train_stages
from tests.train.stores import OPTIONS, make_store
from train.run import RunFolder
from train.trainer.checkpoint import checkpoints

Cli = Callable[..., tuple[int, str, str]]
DECODER = TINY_FLOW | {"autoencoder.train": "decoder"}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """Two stores of one shape; the second one has no labels."""
    folder = tmp_path_factory.mktemp("stores")
    options = OPTIONS.model_copy(update={"reference": "first"})
    return (
        make_store(folder / "one", options=options),
        make_store(folder / "other", options=options, labels=()),
    )


@pytest.fixture(scope="module")
def trained(stores: tuple[Store, Store], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder(tmp_path_factory.mktemp("runs") / "one")
    assert train_stages(stores[0].path, run.root, TINY_FLOW, recipe="lfdm_demo") == [0, 0, 0]
    return run


def go_on(
    start: RunFolder, store: Store, out: Path, changes: Overrides, *, given: bool = True
) -> int:
    origin = ("--from", start.root) if given else ()
    [code] = train_stages(store.path, out, changes, ("vae",), "lfdm_demo", origin)
    return code


def averaged(run: RunFolder) -> dict[str, Tensor]:
    return load_file(checkpoints(run.autoencoder)[-1] / "ema.safetensors")


def changed_parts(one: RunFolder, other: RunFolder) -> set[str]:
    before, after = averaged(one), averaged(other)
    return {name.split(".")[0] for name in before if not before[name].equal(after[name])}


def test_a_decoder_alone_is_adapted_and_the_denoiser_kept(
    trained: RunFolder, stores: tuple[Store, Store], picture: Path, tmp_path: Path, cli: Cli
) -> None:
    run = RunFolder(tmp_path / "run")
    assert go_on(trained, stores[1], run.root, DECODER) == 0
    assert changed_parts(trained, run) == {"decoder"}
    asked = ("--run", run.root, "--image", picture, "--text", "go", "--out", tmp_path / "v.mp4")
    code, _, err = cli("sample", *asked)
    assert code == 0, err


def test_an_autoencoder_that_learns_as_a_whole_needs_its_own_denoiser(
    trained: RunFolder, stores: tuple[Store, Store], tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    assert go_on(trained, stores[1], run.root, TINY_FLOW) == 0
    assert changed_parts(trained, run) == {"decoder", "encoder", "predictor"}
    assert not run.statistics.exists() and not run.diffusion.exists()


def test_a_resumed_one_gives_the_same_and_must_name_its_start(
    trained: RunFolder, stores: tuple[Store, Store], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    assert go_on(trained, stores[1], whole.root, DECODER) == 0
    half = DECODER | {"autoencoder_training.steps": "2"}
    assert go_on(trained, stores[1], cut.root, half) == 0
    assert go_on(trained, stores[1], cut.root, DECODER, given=False) == 2
    assert "holds a run with another from" in capsys.readouterr().err
    assert go_on(trained, stores[1], cut.root, DECODER) == 0
    one, other = averaged(whole), averaged(cut)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"autoencoder.widths": "[8, 16, 16]"},
            "other layers than the recipe's; give",
        ),
        (None, "no checkpoint in"),
    ],
)
def test_starts_that_do_not_fit_are_refused(
    trained: RunFolder, stores: tuple[Store, Store], tmp_path: Path,
    capsys: pytest.CaptureFixture, changes: Overrides | None, message: str,
) -> None:  # fmt: skip
    start = RunFolder(tmp_path / "nothing") if changes is None else trained
    assert go_on(start, stores[1], tmp_path / "run", DECODER | (changes or {})) == 2
    assert message in " ".join(capsys.readouterr().err.split())
