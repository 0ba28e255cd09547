"""Scores of a tiny run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from shared.store.store import Store
from tests.train.stores import LABELS, OPTIONS, make_store

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def evaluated(run: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.train.conftest import call_train

    out = run / "evaluation"
    assert call_train("evaluate", "--run", run, "--store", store.path, "--seconds", 1) == 0
    return out


def test_scores_are_complete_and_plausible(evaluated: Path) -> None:
    scores = json.loads((evaluated / "scores.json").read_text())
    assert scores["clips"] == len(LABELS)
    assert 0 <= scores["read_as_asked"] <= len(LABELS)
    assert 0 <= scores["classifier_accuracy_real"] <= 1
    decibels = {name: value for name, value in scores.items() if name.startswith("psnr")}
    assert len(decibels) == 6
    assert all(0 < value < 100 for value in decibels.values())
    assert scores["psnr_reconstruction"] > scores["psnr_vectors_alone"]
    assert scores["motion_ratio"] > 0


def test_generated_clips_are_kept_with_the_clips_they_belong_to(
    evaluated: Path, store: Store
) -> None:
    arrays = load_file(evaluated / "generated.safetensors")
    assert arrays["frames"].shape == (len(LABELS), OPTIONS.frames, 3, 16, 16)
    assert store.column("label")[arrays["clip"]].tolist() == list(range(len(LABELS)))
    assert arrays["label"].tolist() == list(range(len(LABELS)))
    for index, clip, real in zip(arrays["clip"], arrays["frames"], arrays["real"], strict=True):
        first = store.clip("first_frame", index)
        assert (clip[0] == first).all() and (real[0] == first).all()
    assert arrays["motion"].shape == (len(LABELS), OPTIONS.frames - 1, 2, 4, 4)


def test_another_store_is_refused(cli: Cli, run: Path, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"search_range": 5})
    other = make_store(tmp_path / "other", options=options)
    code, _, err = cli("evaluate", "--run", run, "--store", other.path, "--out", tmp_path / "out")
    assert code == 2
    assert "search_range (run: 3, store: 5)" in err
