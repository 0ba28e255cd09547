"""Statistics of the encode stage, and their checks by later stages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shared.conventions import REFERENCES, Reference
from shared.store.store import Store
from tests.train.conftest import NO_REFINER, TINY_PIXELS, Overrides, train_stages
from tests.train.stores import OPTIONS, make_store, write_store
from train.data.clips import split_clips


def statistics(run: Path) -> dict[str, list[float]]:
    return json.loads((run / "statistics/config.json").read_text())


@pytest.mark.parametrize("split", [None, "videos"])
@pytest.mark.parametrize("reference", REFERENCES)
def test_statistics_are_those_of_the_training_clips_alone(
    tmp_path: Path, reference: Reference, split: str | None
) -> None:
    """Against numpy, of the clips themselves; test clips are much brighter and would show."""
    options = OPTIONS.model_copy(update={"reference": reference})
    clips = write_store(tmp_path / "dark", options=options)
    train, test = split_clips(Store(tmp_path / "dark"), split)
    for index in test:
        clips[index] = 255 - clips[index] // 4
    write_store(tmp_path / "store", options=options, clips=clips)
    changes = TINY_PIXELS | {"split": split or "null"}
    stages = ("encode",)
    run = tmp_path / "run"
    assert train_stages(tmp_path / "store", run, changes, stages, recipe="vdm_demo") == [0]
    frames = np.stack([clips[index] for index in train])[:, 1:] / 127.5 - 1
    found = statistics(run)
    assert found["mean"] == pytest.approx(frames.mean(axis=(0, 1, 3, 4)).tolist(), abs=1e-6)
    assert found["std"] == pytest.approx(frames.std(axis=(0, 1, 3, 4)).tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("recipe", "changes", "stage"),
    [("vdm_demo", TINY_PIXELS, "statistics"), ("ed_vdm_demo", NO_REFINER, "vae")],
)
def test_statistics_of_other_clips_are_refused(
    tmp_path: Path,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    recipe: str,
    changes: Overrides,
    stage: str,
) -> None:
    """Also where a space has no autoencoder to notice."""

    def message(path: Path, more: Overrides) -> str:
        stages = ("diffusion",)
        assert train_stages(path, tmp_path / "run", changes | more, stages, recipe) == [2]
        return capsys.readouterr().err

    earlier = ("vae", "encode")
    assert train_stages(store.path, tmp_path / "run", changes, earlier, recipe) == [0, 0]
    found = message(store.path, {"split": "videos"})
    assert f"{stage} learned from the training clips of another split" in found
    assert "(then: the store's first, now: videos)" in found
    other = make_store(tmp_path / "other", options=OPTIONS.model_copy(update={"block": 8}))
    found = message(other.path, {})
    assert f"{stage} was trained on a store with other block (run: 4, store: 8)" in found
    # Stores record draws where there are several.
    more = {"clips": "random_sorted", "draws": 3}
    drawn = make_store(tmp_path / "drawn", options=OPTIONS.model_copy(update=more))
    assert "draws (run: 1, store: 3)" in message(drawn.path, {})
    labels = make_store(tmp_path / "labels", labels=("a", "b", "c", "d"))
    assert f"{stage} was trained on a store with other labels;" in message(labels.path, {})


def test_statistics_that_name_no_store_are_refused(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs older than this check have such statistics."""

    def train(*stages: str) -> list[int]:
        return train_stages(store.path, tmp_path / "run", TINY_PIXELS, stages, recipe="vdm_demo")

    assert train("encode") == [0]
    config = statistics(tmp_path / "run")
    del config["store"]
    (tmp_path / "run/statistics/config.json").write_text(json.dumps(config))
    assert train("diffusion") == [2]
    assert "is of an earlier version and does not name its store" in capsys.readouterr().err
    assert train("encode", "diffusion") == [0, 0]
