"""PVDM through its stages, on clips that follow each other; long videos, and none but noise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from shared.conventions import FrameSize
from shared.store.store import Store
from tests.train.models.test_planes_autoencoder import SMALL
from tests.train.stores import OPTIONS, make_store
from train.data.batches import split_batch
from train.generate.generator import Generator, generate_frames, load_generator
from train.recipe import Recipe
from train.recipes.pvdm_256 import RECIPE as PVDM_256
from train.run import RunFolder
from train.spaces.planes import PlanesSpaceOptions
from train.stages.encode import load_encoded
from train.stages.run_stage import train_stage
from train.trainer.checkpoint import checkpoints
from train.trainer.distributed import world

CPU = torch.device("cpu")
STEPS = 4


def recipe(*, first_frame: float, critics: bool = False) -> Recipe:
    """PVDM, shrunk; with labels where it takes first frames."""
    short = {"steps": STEPS, "batch": 4, "accumulate": 1, "checkpoint_every": 2, "keep": 9}
    small = {"dim": 8, "mults": (1, 2), "blocks": 1, "heads": 2}
    return replace(
        PVDM_256,
        name="tiny_pvdm",
        space=PlanesSpaceOptions(first_frame=first_frame),
        autoencoder=replace(
            SMALL, critic_width=8, lines=not critics, adversarial_after=2 if critics else None
        ),
        autoencoder_training=replace(PVDM_256.autoencoder_training, **short),  # type: ignore[arg-type]
        denoiser=replace(PVDM_256.denoiser, **small, label_dim=4 if first_frame else 0),  # type: ignore[arg-type]
        diffusion_training=replace(PVDM_256.diffusion_training, **short),  # type: ignore[arg-type]
        condition_dropout={"before": 0.5},
        sampler=replace(PVDM_256.sampler, steps=4, next_steps=2),
    )


def train(path: Path, store: Store, chosen: Recipe) -> RunFolder:
    run = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    for stage in ("vae", "encode", "diffusion"):
        train_stage(stage, chosen, store, run, CPU, world())
    return run


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Pairs of slots are of one video; frames of 24x16; derived arrays lie next to it."""
    options = OPTIONS.model_copy(update={"size": FrameSize(16, 24)})
    path = tmp_path_factory.mktemp("planes") / "store"
    return make_store(path, options=options, consecutive=2)


@pytest.fixture(scope="module")
def framed(own_store: Store, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("framed") / "run"
    return train(path, own_store, recipe(first_frame=0.5))


@pytest.fixture(scope="module")
def free(own_store: Store, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Critics take part in the last two of its steps."""
    path = tmp_path_factory.mktemp("free") / "run"
    return train(path, own_store, recipe(first_frame=0, critics=True))


@pytest.fixture(scope="module")
def generator(framed: RunFolder) -> Generator:
    return load_generator(framed.root, CPU)


@pytest.fixture
def first(own_store: Store) -> Tensor:
    return torch.from_numpy(own_store.clip("first_frame", 0))[None].expand(2, -1, -1, -1)


def test_a_training_step_reads_the_planes_of_the_clip_before(
    framed: RunFolder, own_store: Store
) -> None:
    encoded = load_encoded(recipe(first_frame=0.5), own_store, framed, CPU)
    known = encoded.read(range(len(own_store)))
    before, planes = known["planes_before"], known["planes"]
    # Slots 4 and 5 are clips 3 and 4, slots 10 and 11 clips 8 and 9, each on one side.
    follows = {4: 3, 9: 8}
    for n in range(len(own_store)):
        assert before[n].equal(planes[follows[n]] if n in follows else torch.zeros_like(before[n]))


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_a_killed_training_resumes_bit_for_bit(
    free: RunFolder, own_store: Store, tmp_path: Path, stage: str
) -> None:
    again = RunFolder(shutil.copytree(free.root, tmp_path / "run"))
    [_, newest] = checkpoints(getattr(again, stage))
    shutil.rmtree(newest)
    train(again.root, own_store, recipe(first_frame=0, critics=True))
    one, two = (
        load_file(getattr(run, stage) / newest.name / "network.safetensors")
        for run in (free, again)
    )
    assert one.keys() == two.keys()
    assert all(one[key].equal(two[key]) for key in one)


def test_a_part_of_a_step_draws_what_the_whole_step_draws(
    framed: RunFolder, own_store: Store
) -> None:
    """So several processes learn from the same conditions as one."""
    encoded = load_encoded(recipe(first_frame=0.5), own_store, framed, CPU)
    known, space = encoded.read(range(4)), encoded.space
    [whole] = split_batch(7, 4, 1)
    drawn = space.drawn_known(known, whole.generators(0, CPU, purpose=1))["before"]
    for part in split_batch(7, 4, 2):
        rows = slice(part.start, part.stop)
        own = {name: value[rows] for name, value in known.items()}
        found = space.drawn_known(own, part.generators(0, CPU, purpose=1))["before"]
        assert found.equal(drawn[rows])


def test_a_video_goes_on_from_the_planes_of_each_clip(generator: Generator, first: Tensor) -> None:
    steps: list[None] = []
    whole = generate_frames(
        generator, first, [1, None], [5, 6], 10, on_step=lambda: steps.append(None)
    )
    assert whole.frames.shape == (2, 10, 3, 16, 24)
    assert len(steps) == 4 + 2 + 2, "the next clips take fewer steps"
    head = generator(first, [1, None], [5, 6])
    assert whole.frames[:, :4].equal(head.frames)
    assert head.frames[:, 0].equal(first)
    assert head.raw is not None
    known = {"before": head.raw}
    second = generator(first, [1, None], [5, 6], clip=1, known=known)
    assert whole.frames[:, 4:8].equal(second.frames)
    other = generator(first, [1, None], [5, 6], clip=1, known={"before": -head.raw})
    assert not other.frames.equal(second.frames)


def test_without_first_frames_videos_come_from_noise_alone(
    free: RunFolder, picture: Path, tmp_path: Path, cli: Callable[..., tuple]
) -> None:
    asked = ("sample", "--run", free.root, "--frames", "6", "--out", tmp_path / "v.mp4")
    code, said, err = cli(*asked)
    assert code == 0, err
    assert "6 frames in 2 clips, each from the planes of the one before" in said
    assert (tmp_path / "v.mp4").is_file()
    code, _, err = cli(*asked, "--image", picture)
    assert code == 2
    assert "this run generates from noise alone; leave it out" in err
    code, _, err = cli(*asked, "--text", "Go")
    assert code == 2
    assert "labels are no condition of this run" in err


def test_a_first_frame_is_asked_for_where_one_is_taken(
    framed: RunFolder, tmp_path: Path, cli: Callable[..., tuple]
) -> None:
    code, _, err = cli("sample", "--run", framed.root, "--out", tmp_path / "v.mp4")
    assert code == 2
    assert "--image: give the picture that the video begins with" in err


@pytest.mark.slow
@pytest.mark.parametrize("which", ["framed", "free"])
def test_it_is_scored_and_reported(
    which: str, own_store: Store, cli: Callable[..., tuple], request: pytest.FixtureRequest
) -> None:
    run: RunFolder = request.getfixturevalue(which)
    scoring = ("--run", run.root, "--store", own_store.path, "--count", "2", "--judge-steps", "4")
    code, _, err = cli("evaluate", *scoring)
    assert code == 0, err
    code, _, err = cli("report", run.root, "--store", own_store.path)
    assert code == 0, err
    assert "three planes of the whole clip" in (run.report / "index.html").read_text()
