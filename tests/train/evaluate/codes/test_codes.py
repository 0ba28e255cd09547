from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from shared.schema import CodecOptions
from shared.store.store import Store
from tests.train.stores import make_store
from train.data.clips import Clips
from train.evaluate.codes.picture import busiest
from train.evaluate.codes.score import score_first_frame
from train.evaluate.metrics.frames import psnr, ssim

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = CodecOptions(size=16, frames=4, block=4, search_range=3, reference="previous")
NAMES = "zero,dct,klt,block,contextual"


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("stores") / "previous", options=OPTIONS)


def test_the_whole_comparison(previous: Store, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "codes"
    arguments = ("codes", "--store", previous.path, "--out", out, "--codes", NAMES)
    arguments = (*arguments, "--numbers", 8, "--seconds", 2)
    code, text, _ = cli(*arguments)
    assert code == 0
    content = json.loads((out / "codes.json").read_text())
    rows = content["codes"]
    assert list(rows) == ["first frame repeated", *NAMES.split(",")]
    closed = {name: row["closed"]["psnr"] for name, row in rows.items()}
    assert closed["klt"] > closed["dct"] > closed["zero"]
    assert rows["klt"]["closed"]["psnr_last"] > rows["klt"]["open"]["psnr_last"]
    assert rows["zero"]["open"]["psnr"] == pytest.approx(closed["zero"])
    table = (out / "codes.md").read_text()
    assert table in text
    assert "Hardware: " in table and "`subjects`" in table and "python -m train codes" in table
    assert len([line for line in table.splitlines() if line.startswith("| ")]) == 2 + len(rows)
    width, height = Image.open(out / "codes.png").size
    assert (width, height) == (3 * (8 * 3 + 2) - 2, (1 + 5) * (8 * 3 + 2) - 2)

    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    scored = {path: path.read_text() for path in out.rglob("score.json")}
    assert cli(*arguments)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == made
    assert {path: path.read_text() for path in out.rglob("score.json")} == scored
    assert json.loads((out / "codes.json").read_text())["codes"] == rows


def test_predicted_from_the_first_frame_both_loops_are_one(
    store: Store, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "codes"
    arguments = ("--out", out, "--codes", "klt,contextual", "--numbers", 4)
    assert cli("codes", "--store", store.path, *arguments)[0] == 0
    for row in json.loads((out / "codes.json").read_text())["codes"].values():
        assert row["closed"] == row["open"]


def test_unknown_codes_and_other_codes_of_the_name_are_refused(
    previous: Store, tmp_path: Path, cli: Cli
) -> None:
    arguments = ("codes", "--store", previous.path, "--out", tmp_path / "codes")
    code, _, err = cli(*arguments, "--codes", "klt,jpeg")
    assert code == 2
    assert "unknown code 'jpeg'; known: zero, dct, klt, block, kl, contextual" in err
    assert cli(*arguments, "--codes", "klt", "--numbers", 4)[0] == 0
    code, _, err = cli(*arguments, "--codes", "klt", "--numbers", 5)
    assert code == 2
    assert "another autoencoder.latent_channels (run: 4, here: 5)" in err


def test_scores_are_means_over_frames_of_each_frames_own(previous: Store) -> None:
    clips = Clips(previous, None)
    loss = score_first_frame(clips, clips.test, torch.device("cpu"))
    real = clips.frames(clips.batch(clips.test, torch.device("cpu")))
    shown = real[:, :1].expand_as(real)
    assert loss.psnr == pytest.approx(float(psnr(shown, real)[:, 1:].mean()), rel=1e-5)
    assert loss.psnr_last == pytest.approx(float(psnr(shown, real)[:, -1].mean()), rel=1e-5)
    assert loss.ssim == pytest.approx(float(ssim(shown, real)[:, 1:].mean()), rel=1e-4)
    assert loss.milliseconds is None


def test_the_picture_is_cut_where_most_changes() -> None:
    frames = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)
    frames[2, :, 9:13, 2:4] = 200
    top, left, side = busiest(frames)
    assert side == 8
    assert 5 <= top <= 9 < 13 <= top + side + 4
    assert left <= 2


def test_a_contextual_code_trains_samples_and_is_named(
    previous: Store, tmp_path: Path, cli: Cli
) -> None:
    """As any other autoencoder, from the recipe's options to the report's clause."""
    from tests.train.conftest import NO_REFINER, train_stages
    from train.evaluate.deviations import additions

    changes = {"autoencoder.latent_channels": "4", "autoencoder.hidden": None}
    changes = {"autoencoder.kind": "contextual", "space.closed_loop": "true", **changes}
    run = tmp_path / "run"
    assert train_stages(previous.path, run, NO_REFINER | changes) == [0, 0, 0]
    recipe = json.loads((run / "recipe.json").read_text())
    clauses = additions(recipe, previous.options)
    assert "each residual's linear code follows from what the decoder knows already" in clauses


def test_frames_have_no_context_to_code_them_by(previous: Store, tmp_path: Path, cli: Cli) -> None:
    arguments = ("--store", previous.path, "--out", tmp_path / "run", "--recipe", "ldm_demo")
    code, _, err = cli("vae", *arguments, "--set", "autoencoder.kind=contextual")
    assert code == 2
    assert "space.kind=codec only" in err
