"""Exported runs: whole without their training, readable later, and found on the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import train
from shared.errors import UserError

Cli = Callable[..., tuple[int, str, str]]

FIXTURE = Path(__file__).parent / "exported"
"""Configs of a run exported by version 0.1.0; its weights are made up here, by name and shape."""


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from train.evaluate.export import export_run

    out = tmp_path_factory.mktemp("exported") / "model"
    export_run(run, out, "cc-by-4.0")
    return out


def test_an_exported_run_gives_the_same_videos(exported: Path, run: Path, picture: Path) -> None:
    videos = [train.load(folder).sample(picture, "Go", steps=2) for folder in (run, exported)]
    assert np.array_equal(videos[0].frames, videos[1].frames)


def test_it_holds_weights_configs_and_a_card_alone(exported: Path) -> None:
    files = [path.relative_to(exported) for path in exported.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    assert kinds - {".png"} == {".json", ".safetensors", ".md"}  # a picture, once it is evaluated
    assert {path.stem for path in files if path.suffix == ".safetensors"} == {"ema"}
    _, head, body = (exported / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(head)
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["pipeline_tag"] == "image-to-video"
    assert "**Recipe**: `ed_vdm_demo`" in body
    assert "vectors pay a cost" in body


def test_what_cannot_be_exported_is_named(
    cli: Cli, exported: Path, run: Path, tmp_path: Path
) -> None:
    code, _, err = cli("export", run, "--out", exported, "--license", "other")
    assert code == 2
    assert "is there already" in err
    code, _, err = cli("export", tmp_path, "--out", tmp_path / "new", "--license", "other")
    assert code == 2
    assert "nothing trained in" in err
    assert not (tmp_path / "new").exists()


def test_a_run_exported_by_an_earlier_version_is_read(picture: Path, tmp_path: Path) -> None:
    shapes = json.loads((FIXTURE / "shapes.json").read_text())
    for name, tensors in shapes.items():
        weights = {key: torch.zeros(shape) + 0.01 for key, shape in tensors.items()}
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, tmp_path / name)
        step = int(Path(name).parent.name.removeprefix("step-"))
        state = {"step": step, "files": ["ema"]}
        (tmp_path / name).with_name("state.json").write_text(json.dumps(state))
    for config in FIXTURE.rglob("config.json"):
        target = tmp_path / config.relative_to(FIXTURE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(config.read_bytes())
    video = train.load(tmp_path).sample(picture, "Go", steps=1)
    assert video.frames.shape == (4, 16, 16, 3)


def test_a_model_of_the_hub_is_read_from_its_cache(
    exported: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub's own layout of a cache, offline: the path that every later start takes."""
    import shutil

    from huggingface_hub import constants

    revision = "0123456789abcdef0123456789abcdef01234567"
    home = tmp_path / "hub" / "models--someone--model"
    shutil.copytree(exported, home / "snapshots" / revision)
    (home / "refs").mkdir()
    for name in ("main", "v1"):
        (home / "refs" / name).write_text(revision)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("hf://someone/model", "hf://someone/model@v1"):
        video = train.load(name).sample(picture, "Go", steps=1)
        assert video.frames.shape == (4, 16, 16, 3)
    with pytest.raises(UserError, match="hf://someone/other: not found"):
        train.load("hf://someone/other")
    with pytest.raises(UserError, match="give hf://USER/NAME"):
        train.load("hf://someone")
