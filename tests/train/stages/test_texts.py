"""Runs with a text encoder: trained, resumed and sampled, with the encoder and without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.store.store import Store
from tests.train.clip import WIDTH, make_clip_folder
from tests.train.conftest import TINY_PIXELS, train_stages
from tests.train.stores import LABELS
from train.generate.generator import load_generator
from train.models.text_encoder import TextEncoder

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip_folder(tmp_path_factory.mktemp("clip") / "text")


def train(store: Store, run: Path, encoder: Path, **changes: str) -> list[int]:
    options = TINY_PIXELS | {"text.encoder": str(encoder), "denoiser.mults": "[1, 2]"} | changes
    return train_stages(store.path, run, options, ("encode", "diffusion"), recipe="vdm_demo")


@pytest.fixture(scope="module")
def run(store: Store, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    assert train(store, path, encoder) == [0, 0]
    return path


def test_the_run_holds_the_texts_and_names_their_encoder(run: Path, encoder: Path) -> None:
    generator = load_generator(run, torch.device("cpu"))
    reader = TextEncoder(str(encoder))
    texts = generator.network.label.texts
    assert texts.shape == (len(LABELS) + 1, WIDTH)
    assert torch.allclose(texts[:-1], reader(LABELS), atol=1e-6)
    config = json.loads((run / "diffusion" / "config.json").read_text())
    assert config["text_encoder"] == {
        "encoder": str(encoder), "hash": reader.identity.hash, "width": WIDTH
    }  # fmt: skip


def test_training_goes_on_and_labels_are_sampled_without_the_encoder(
    store: Store, run: Path, encoder: Path, tmp_path: Path, picture: Path, cli: Call
) -> None:
    moved, gone = tmp_path / "moved", tmp_path / "gone"
    shutil.copytree(run, moved)
    shutil.copytree(encoder, gone)
    for config in (moved / "texts", moved / "diffusion"):
        path = config / "config.json"
        path.write_text(path.read_text().replace(str(encoder), str(gone)))
    shutil.rmtree(gone)
    assert train(store, moved, gone, **{"diffusion_training.steps": "6"}) == [0, 0]
    sample = ("sample", "--run", moved, "--image", picture, "--out", tmp_path / "clip.mp4")
    assert cli(*sample, "--text", "turn left")[0] == 0
    code, _, err = cli(*sample, "--text", "dance")
    assert code == 2
    assert "'dance' is not a label of this run" in err
    assert "no such folder" in err
    assert "--text-encoder says where it is now" in err
    assert cli(*sample, "--text", "dance", "--text-encoder", encoder)[0] == 0


@pytest.mark.parametrize("damage", ["cut", "noise", "gone"])
def test_damaged_embeddings_are_named(
    damage: str,
    store: Store,
    run: Path,
    encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And are made again once they are deleted, as the message says."""
    copy = shutil.copytree(run, tmp_path / "run")
    file = copy / "texts" / "texts.safetensors"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"\xff" * 99)
    steps = {"diffusion_training.steps": "6"}
    assert train(store, copy, encoder, **steps) == [0, 2]
    error = capsys.readouterr().err
    assert f"the embeddings of the texts, {file}, are damaged or missing" in error
    assert f"delete the folder {copy / 'texts'} and run the same command again" in error
    assert "Traceback" not in error
    shutil.rmtree(copy / "texts")
    assert train(store, copy, encoder, **steps) == [0, 0]
    assert file.read_bytes() == content


def test_a_free_prompt_is_sampled_with_the_encoder(
    run: Path, picture: Path, tmp_path: Path, cli: Call
) -> None:
    out = tmp_path / "clip.mp4"
    sample = ("sample", "--run", run, "--image", picture, "--out", out)
    assert cli(*sample, "--text", "turn about and left")[0] == 0
    assert out.stat().st_size > 0


def test_prompts_differ_as_labels_do(run: Path, store: Store) -> None:
    generator = load_generator(run, torch.device("cpu"))
    with torch.no_grad():
        for parameter in generator.network.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    frame = torch.from_numpy(np.stack([store.clip("first_frame", 0)] * 2))
    indices = [generator.label_index(text) for text in ("up and down", "left left left")]
    assert indices == [len(LABELS) + 1, len(LABELS) + 2]
    first, second = generator(frame, indices, [0, 0]).frames
    assert not first.equal(second)


def test_another_encoder_cannot_resume_the_run(
    store: Store, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    other = make_clip_folder(tmp_path / "other", seed=1)
    assert train(store, copy, other, **{"diffusion_training.steps": "6"}) == [0, 2]
    assert "text_encoder" in capsys.readouterr().err


def test_a_missing_encoder_is_an_error_before_anything_is_trained(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"text.encoder": str(tmp_path / "none")}
    assert train_stages(store.path, tmp_path / "run", changes, ("vae",)) == [2]
    assert "no such folder" in capsys.readouterr().err
    assert not (tmp_path / "run" / "vae").exists()
