"""The paper's recipes without text, shrunk, and the demo recipes as they are: trained, sampled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.schema import CodecOptions
from tests.train.conftest import TINY_PIXELS, Overrides, train_stages
from tests.train.stores import OPTIONS, make_store
from train.recipes import load_recipe

Cli = Callable[..., tuple[int, str, str]]

SMALL: Overrides = {"denoiser.mults": "[1, 2]", "denoiser.blocks": "1", "refiner.width": None}
KL: Overrides = {"autoencoder.hidden": None, "autoencoder.layers_per_block": "1"}
BAIR: dict[str, Overrides] = {
    "vdm_bair": TINY_PIXELS | SMALL,
    "d_vdm_bair": TINY_PIXELS | SMALL,
    "ldm_bair": SMALL | KL | {"autoencoder.channels": "[8, 8, 8]", "space.factor": "4"},
    "ed_vdm_bair": SMALL | KL | {"autoencoder.channels": "[8, 8, 8]"},
}


@pytest.mark.parametrize("recipe", BAIR)
def test_recipes_without_text_need_no_labels(
    cli: Cli, picture: Path, tmp_path: Path, recipe: str
) -> None:
    options = OPTIONS.model_copy(update={"reference": "previous"})
    store = make_store(tmp_path / "store", options=options, labels=())
    run, out = tmp_path / "run", tmp_path / "v.mp4"
    assert train_stages(store.path, run, BAIR[recipe], recipe=recipe) == [0, 0, 0]
    assert not (run / "texts").exists()
    assert cli("sample", "--run", run, "--image", picture, "--out", out)[0] == 0
    with Image.open(out.with_suffix(".png")) as sheet:
        assert sheet.size == (4 * 16 + 3 * 2, 16)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        "vdm_demo",
        "d_vdm_demo",
        "ldm_demo",
        "ed_vdm_demo",
        "lfdm_demo",
        "pvdm_demo",
        "ed_vdm_filled_demo",
        "movideo_demo",
    ],
)
def test_demo_recipes_train_and_sample_as_they_are(
    cli: Cli, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks, clips and grids in full; few steps of a clip each, and one clip in a preview."""
    monkeypatch.setattr("train.stages.diffusion._PREVIEW_CLIPS", 1)
    options = CodecOptions(size=64, block=8, search_range=24, reference="first")
    # A clip to train on and one to test with.
    few: dict[str, Any] = {"labels": ("Go",), "subjects": ("a", "c")}
    store, run = make_store(tmp_path / "store", options=options, **few), tmp_path / "run"
    trained = ["autoencoder", "diffusion", "refiner", "decoder"]
    trained += ["guide.diffusion"] if load_recipe(recipe, []).guide else []
    short = [f"{n}_training.{w}" for n in trained
             for w in ("steps=1", "batch=1", "seconds=null")]  # fmt: skip
    changes = (*short, "sampler.steps=1", "sampler.guidance=1")
    given = [part for change in changes for part in ("--set", change)]
    for stage in ("vae", "encode", "diffusion"):
        code, _, err = cli(stage, "--recipe", recipe, "--store", store.path, "--out", run, *given)
        assert code == 0, err
    frame = tmp_path / "frame.png"
    Image.fromarray(store.clip("first_frame", 0).transpose(1, 2, 0)).save(frame)
    asked = ("--run", run, "--image", frame, "--text", "go", "--out", tmp_path / "v.mp4")
    code, out, err = cli("sample", *asked)
    assert code == 0, err
    assert "64x64, taken as it is" in out
    with Image.open(tmp_path / "v.png") as sheet:
        assert sheet.size == (16 * 64 + 15 * 2, 64)
