"""A system that is one space, its models and its recipe passes through everything there is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from shared.store.store import Store
from tests.train import toy_space
from tests.train.stores import make_store
from train.data.clips import Clips
from train.evaluate.make_clips import load_run, run_identity
from train.generate.generator import Generator, generate_frames, load_generator
from train.recipe import Recipe, recipe_from_dict
from train.run import RunFolder
from train.stages.run_stage import train_stage
from train.trainer.checkpoint import checkpoints
from train.trainer.distributed import world

CPU = torch.device("cpu")
STAGES = ("vae", "encode", "diffusion")
CHANGE = toy_space.KIND_OF_CONDITION


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    with toy_space.registered():
        yield


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of its own: the derived arrays lie next to it."""
    return make_store(tmp_path_factory.mktemp("toy") / "store")


def train(path: Path, store: Store, recipe: Recipe) -> RunFolder:
    run = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        train_stage(stage, recipe, store, run, CPU, world())
    return run


@pytest.fixture(scope="module")
def run(own_store: Store, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("toy_run") / "run", own_store, toy_space.recipe())


@pytest.fixture(scope="module")
def generator(run: RunFolder) -> Generator:
    return load_generator(run.root, CPU)


@pytest.fixture
def first(own_store: Store) -> Tensor:
    return torch.from_numpy(own_store.clip("first_frame", 0))[None].expand(2, -1, -1, -1)


def test_its_recipe_survives_json() -> None:
    recipe = toy_space.recipe()
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_every_stage_trains_it_and_its_guide(run: RunFolder, own_store: Store) -> None:
    for part in (run, run.guide):
        assert len(checkpoints(part.diffusion)) == 2
        assert (part.statistics / "config.json").exists()
        assert part.recipe() is not None
    assert len(checkpoints(run.autoencoder)) == 2
    assert not run.guide.autoencoder.exists(), "the guide has no autoencoder"
    [cache] = own_store.path.parent.glob("store.colours-*")
    assert cache.name == "store.colours-mean", "both spaces share one derived array"


def test_x0_has_its_own_shape(generator: Generator) -> None:
    assert generator.space.shape == (3, 3)
    assert generator.guide is not None
    assert generator.guide.space.shape == (3,)


@pytest.mark.parametrize("part", ["itself", "guide"])
@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_a_killed_training_resumes_bit_for_bit(
    run: RunFolder, own_store: Store, tmp_path: Path, part: str, stage: str
) -> None:
    again = RunFolder(shutil.copytree(run.root, tmp_path / "run"))
    there, here = (r.guide if part == "guide" else r for r in (run, again))
    folder = getattr(here, stage)
    if not folder.exists():
        pytest.skip("the guide has no autoencoder")
    [_, newest] = checkpoints(folder)
    shutil.rmtree(newest)
    train(again.root, own_store, toy_space.recipe())
    for name in ("network", "ema"):
        one, two = (
            load_file(getattr(r, stage) / newest.name / f"{name}.safetensors")
            for r in (there, here)
        )
        assert one.keys() == two.keys()
        assert all(one[key].equal(two[key]) for key in one)


def test_the_guide_is_sampled_first_and_known_to_the_space(
    generator: Generator, first: Tensor
) -> None:
    guided = generator(first, [1, None], [5, 6])
    assert guided.parts["change"].abs().sum() > 0
    again = generator(first[:1], [1], [5])
    assert torch.allclose(guided.parts["change"][:1], again.parts["change"], atol=1e-6)
    assert guided.frames[:1].equal(again.frames), "a clip depends on its own seed alone"


def test_without_a_guide_the_condition_is_null(
    own_store: Store, tmp_path: Path, first: Tensor
) -> None:
    run = train(tmp_path / "run", own_store, toy_space.recipe(guided=False))
    alone = load_generator(run.root, CPU)
    assert alone.guide is None
    decoded = alone(first, [0, 1], [5, 6])
    assert not decoded.parts["change"].any()
    given = alone(first, [0, 1], [5, 6], known={"change": torch.ones(2, 3)})
    assert given.parts["change"].eq(1).all()
    assert not given.parts["colours"].equal(decoded.parts["colours"])


def test_longer_videos_go_on_as_the_space_says(generator: Generator, first: Tensor) -> None:
    """Clips of 4 frames that add 4: none is dropped."""
    whole = generate_frames(generator, first, [1, None], [5, 6], 10)
    assert whole.frames.shape == (2, 10, 3, 16, 16)
    head = generator(first, [1, None], [5, 6])
    assert whole.frames[:, :4].equal(head.frames)
    assert whole.frames[:, 4].equal(head.frames[:, -1]), "the next clip's given frame"
    assert {part.shape for part in whole.parts.values()} == {(2, 10, 3)}
    changes = whole.parts["change"].split(4, dim=1)
    assert all(change.eq(change[:, :1]).all() for change in changes)
    given = whole.frames[:, 4].float().mean(dim=(-2, -1)) / 255
    assert torch.allclose(whole.parts["colours"][:, 4], given)


def test_clips_are_made_anew_where_anything_that_shapes_them_changed(
    run: RunFolder, own_store: Store
) -> None:
    loaded, clips = load_run(run.root, CPU), Clips(own_store, None)

    def identity(of: Generator) -> str:
        changed = replace(loaded, generator=of, recipe=of.recipe)
        return run_identity(changed, clips, reconstruct=False)

    assert loaded.generator is not None and loaded.generator.guide is not None
    generator, guide = loaded.generator, loaded.generator.guide
    retrained = deepcopy(guide)
    with torch.no_grad():
        next(retrained.network.parameters()).add_(1)
    dropout = replace(generator.recipe, condition_dropout={CHANGE: 0.25})
    guidance = replace(guide.recipe, sampler=replace(guide.recipe.sampler, guidance=3.0))
    found = {
        "as it is": identity(generator),
        "guide trained anew": identity(replace(generator, guide=retrained)),
        "guide sampled otherwise": identity(
            replace(generator, guide=replace(guide, recipe=guidance))
        ),
        "no guide": identity(replace(generator, guide=None)),
        "other dropout": identity(replace(generator, recipe=dropout)),
    }
    assert len(set(found.values())) == len(found)
    assert identity(deepcopy(generator)) == found["as it is"]


def test_it_is_sampled_scored_and_reported(
    run: RunFolder, own_store: Store, picture: Path, tmp_path: Path, cli: Callable[..., tuple]
) -> None:
    out = tmp_path / "v.mp4"
    asked = ("--image", picture, "--text", "go", "--frames", "6", "--out", out)
    code, said, err = cli("sample", "--run", run.root, *asked)
    assert code == 0, err
    assert "each from the colours of the one before" in said
    scoring = ("--run", run.root, "--store", own_store.path, "--count", "2", "--judge-steps", "4")
    code, _, err = cli("evaluate", *scoring)
    assert code == 0, err
    assert json.loads((run.evaluation / "scores.json").read_text())
    code, _, err = cli("report", run.root, "--store", own_store.path)
    assert code == 0, err
    assert "colours of frames" in (run.report / "index.html").read_text()
