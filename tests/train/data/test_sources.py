"""`--store` takes a store or an export of it, local or in S3: the same training, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocess.executor import ExecutorOptions
from preprocess.steps.export import export_store
from shared.console import Progress
from shared.store.export import Export
from shared.store.paths import Location, put_in_place, sizes
from shared.store.store import Store
from tests.s3 import new_place, s3_endpoint
from tests.train.conftest import NO_REFINER, TINY_FLOW, TINY_PLANES, train_stages
from tests.train.stores import make_store
from train.data.clips import Clips, split_clips

CPU = torch.device("cpu")


def weights(run: Path) -> dict[str, bytes]:
    """Every weight of a run, by file."""
    found = {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*.safetensors")}
    assert found
    return found


def upload(folder: Path, place: Location, scratch: Path) -> None:
    copy = shutil.copytree(folder, scratch)
    for name in sizes(copy):
        put_in_place(copy / name, place / name)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    store = make_store(tmp_path / "store")
    return export_store(store.path, tmp_path / "out", "webdataset", ExecutorOptions(), Progress())


def test_batches_are_equal(export: Export, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for protocol in store.attributes.splits:
        for ours, theirs in zip(
            split_clips(store, protocol), split_clips(export, protocol), strict=True
        ):
            assert ours.tolist() == theirs.tolist()
    order = np.random.default_rng(0).permutation(len(store))
    one, two = Clips(store, None).batch(order, CPU), Clips(export, None).batch(order, CPU)
    for name in ("first_frame", "motion", "residual", "label"):
        assert getattr(one, name).equal(getattr(two, name))


SYSTEMS = {
    "ed_vdm_demo": (NO_REFINER, "latents"),
    "lfdm_demo": (TINY_FLOW, "flows"),
    "pvdm_demo": (TINY_PLANES, "planes"),
}
"""Changes, and the arrays cached next to the store, by recipe."""


@pytest.mark.parametrize(
    "recipe",
    [
        "ed_vdm_demo",
        *(pytest.param(name, marks=pytest.mark.slow) for name in SYSTEMS if name != "ed_vdm_demo"),
    ],
)
def test_training_is_the_same_from_all_of_them(export: Export, tmp_path: Path, recipe: str) -> None:
    runs = {name: tmp_path / f"run-{name}" for name in ("store", "out", "s3")}
    own, cached = SYSTEMS[recipe]
    changes = own | {"autoencoder_training.steps": "2", "diffusion_training.steps": "2"}

    def train(store: Location, run: Path) -> list[int]:
        return train_stages(store, run, changes, recipe=recipe)  # type: ignore[arg-type]

    assert train(tmp_path / "store", runs["store"]) == [0, 0, 0]
    assert train(tmp_path / "out", runs["out"]) == [0, 0, 0]
    with s3_endpoint() as bucket:
        place = new_place(bucket)
        upload(tmp_path / "store", place, tmp_path / "copy")
        assert train(place, runs["s3"]) == [0, 0, 0]
        neighbours = [path.name for path in place.parent.iterdir()]
        assert any(name.startswith(f"{place.name}.{cached}") for name in neighbours)
    assert weights(runs["out"]) == weights(runs["store"])
    assert weights(runs["s3"]) == weights(runs["store"])
