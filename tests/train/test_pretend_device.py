"""Every kind of recipe on a device that is not the host's: the CPU's numbers, and no hidden wait.

No test machine has a GPU; what stands for one, and what it cannot stand for, is described in
`tests.train.pretend_device`. Left out besides: pretrained networks, which run before the steps,
and training in several processes. Of the evaluation all recipes have the same but for their clips,
generated and reconstructed: one recipe is scored in full.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import train.generate.generator
import train.stages.diffusion
import train.stages.refiner
from shared.store.store import Store
from tests.train.conftest import (
    STAGES,
    TINY,
    TINY_FILLED,
    TINY_FLOW,
    TINY_LATENT,
    TINY_PIXELS,
    TINY_PLANES,
    Overrides,
)
from tests.train.pretend_device import NAME, PretendDevice, Wait, pretend_device
from tests.train.stores import make_store
from tests.train.test_movideo_runs import shrunk
from train.data.clips import Clips
from train.evaluate.evaluate import EvaluateOptions, evaluate
from train.evaluate.make_clips import load_run, reconstruct
from train.evaluate.metrics.evaluation_networks import EvaluationNetworkOptions
from train.evaluate.protocols import protocol_named
from train.generate.generator import generate_frames, load_generator
from train.recipe import Recipe
from train.recipes import load_recipe, recipe_names
from train.run import RunFolder
from train.stages.run_stage import train_stage
from train.trainer import loop, monitor
from train.trainer.checkpoint import differing
from train.trainer.distributed import World
from train.trainer.monitor import NonFiniteMonitor, autocast, read_metrics

CPU = torch.device("cpu")

SHORT: Overrides = {
    f"{stage}_training.{field}": value
    for stage in ("autoencoder", "diffusion", "refiner")
    for field, value in {"steps": "2", "preview": "false"}.items()
} | {"sampler.steps": "2", "denoiser.mults": "[1, 2]", "diffusion_training.optimiser": "adamw"}
PAPER: Overrides = {"refiner.width": None, "text.encoder": "null", "denoiser.blocks": "1"}
RECIPES: dict[str, Overrides] = {
    "vdm_demo": TINY_PIXELS,
    "d_vdm_demo": TINY_PIXELS,
    "ldm_demo": TINY_LATENT,
    "ed_vdm_demo": {"diffusion_training.optimiser": "muon"},
    "ed_vdm_128": PAPER
    | {
        "autoencoder.hidden": None,
        "autoencoder.layers_per_block": "1",
        "autoencoder.channels": "[8, 8, 8]",
    },
    "ed_vdm_vectors_demo": TINY_PIXELS | {"refiner.width": "8"},
    "ed_vdm_filled_demo": TINY_FILLED,
    "lfdm_demo": TINY_FLOW,
    "lfdm_64": PAPER
    | TINY_PIXELS
    | {
        "autoencoder.widths": "[8, 8, 8]",
        "autoencoder.blocks": "1",
        "autoencoder.perceptual": "null",
        "autoencoder.regions.halvings": "2",
        "autoencoder.regions.max_width": "32",
    },
    "pvdm_demo": TINY_PLANES | {"sampler.name": "ddim", "sampler.eta": "1"},
    "movideo_demo": {},
}
"""Recipes that have every kind of part between them, with changes to `TINY`."""

QUICK = ("ldm_demo", "ed_vdm_filled_demo")
"""The others take over ten seconds."""

HALF = ("ed_vdm_demo", "pvdm_demo")
"""Those of them that run under autocast, too."""

ACTIVE = "train/models/block_autoencoder.py active"
"""The loss is that of the blocks that are not zero, which are counted for it."""
SAMPLING_NOISE = "train/diffusion/samplers.py _normal_like"
REFINING_NOISE = "train/diffusion/objective.py renoise_and_denoise"
"""Noise is drawn on the CPU, so that every device gets the same."""


def tiny(name: str) -> Recipe:
    """A recipe, shrunk, of two steps a stage."""
    if name == "movideo_demo":
        return shrunk(load_recipe(name, []), {"flow": "store"})
    values = TINY | SHORT | RECIPES[name]
    return load_recipe(name, [f"{path}={value}" for path, value in values.items() if value])


def parts(recipe: Recipe) -> set[str]:
    """Kinds of a recipe's parts, its guide's included."""
    autoencoder, extras = recipe.autoencoder, ("refiner", "decoder", "guide")
    found = {
        f"space {recipe.space.kind}",
        f"denoiser {recipe.denoiser.kind}",
        f"optimiser {recipe.diffusion_training.optimiser}",
        f"prediction {recipe.noise.prediction}",
        f"sampler {recipe.sampler.name}",
        *(extra for extra in extras if getattr(recipe, extra) is not None),
    }
    if autoencoder is not None:
        found.add(f"autoencoder {autoencoder.kind} {getattr(autoencoder, 'predictor', '')}")
    return found if recipe.guide is None else found | parts(recipe.guide)


def test_every_kind_of_part_of_every_recipe_is_among_those_that_run() -> None:
    run = set[str]().union(*(parts(tiny(name)) for name in RECIPES))
    missing = {name: parts(load_recipe(name, [])) - run for name in recipe_names()}
    assert not any(missing.values()), missing


@contextmanager
def watched() -> Iterator[PretendDevice]:
    """The device, with the waits of training steps and of sampling counted.

    Not those of a training's first step: what stays the same is copied to the device there.
    """
    with pretend_device() as device, pytest.MonkeyPatch.context() as patch:
        step = loop._Run.train_step
        counted = device.counting("training", step)
        patch.setattr(loop._Run, "train_step", lambda run: (counted if run.step else step)(run))
        for module, name in (
            (train.generate.generator, "sample"),
            (train.stages.diffusion, "sample"),
            (train.stages.refiner, "renoise_and_denoise"),
        ):
            patch.setattr(module, name, device.counting("sampling", getattr(module, name)))
        yield device


def places(waits: Counter[Wait]) -> Counter[str]:
    """Number of waits by `FILE FUNCTION`."""
    found: Counter[str] = Counter()
    for wait, count in waits.items():
        found[f"{wait.file} {wait.function}"] += count
    return found


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """The same store twice: derived arrays lie next to it, and each device makes its own."""
    folder = tmp_path_factory.mktemp("stores")
    return make_store(folder / "cpu"), make_store(folder / "pretend")


def train_all(recipe: Recipe, store: Store, root: Path, device: torch.device) -> RunFolder:
    """Train all stages of a recipe."""
    root.mkdir()
    for stage in STAGES:
        train_stage(stage, recipe, store, RunFolder(root), device, World())
    return RunFolder(root)


def logged(run: RunFolder) -> dict[str, list[float]]:
    """What every step logged but for times and memory, by stage and name."""
    found: dict[str, list[float]] = {}
    folders = run.trained_stages | {f"guide {n}": p for n, p in run.guide.trained_stages.items()}
    for stage, folder in folders.items():
        for line in read_metrics(folder):
            for name in line.keys() - {"seconds", "clips_per_second", "wait", "memory_gib"}:
                found.setdefault(f"{stage} {name}", []).append(line[name])
    return found


def pictures(run: RunFolder, store: Store, device: torch.device) -> Tensor:
    """Frames of videos of two generated clips each, and of reconstructed clips: uint8."""
    generator, clips = load_generator(run.root, device), Clips(store, None)
    first = torch.from_numpy(np.stack([store.clip("first_frame", k) for k in (0, 1)]))
    made = generate_frames(generator, first, [1, None], [5, 6], 7).frames
    restored = reconstruct(generator.space, clips, clips.train[:2], device).frames.cpu()
    return torch.cat([made, restored], dim=1)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in RECIPES],
)
def test_stages_sampling_and_decoding_give_the_cpus_numbers_without_waiting(
    name: str, stores: tuple[Store, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "computes_bfloat16", lambda device: False)
    recipe, (store, same) = tiny(name), stores
    expected = logged(train_all(recipe, store, tmp_path / "cpu", CPU))
    with watched() as device:
        run = train_all(recipe, same, tmp_path / "pretend", torch.device(NAME))
        made = pictures(run, same, torch.device(NAME))
    assert expected
    found = logged(run)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-3, abs=1e-6), name
    difference = (made.int() - pictures(run, store, CPU).int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.01

    blocks = recipe.autoencoder is not None and recipe.autoencoder.kind == "block"
    assert places(device.waits["training"]) == ({ACTIVE: 1} if blocks else {})
    noisy = recipe.sampler.name == "ddpm" or recipe.sampler.eta > 0
    noises = {SAMPLING_NOISE} if noisy else set()
    noises |= {REFINING_NOISE} if recipe.refiner else set()
    assert places(device.waits["sampling"]).keys() == noises


@pytest.mark.slow
@pytest.mark.parametrize("name", HALF)
def test_they_run_in_bfloat16_where_autocast_chooses_it_on_cuda(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "computes_bfloat16", lambda device: device.type == NAME)
    recipe = tiny(name)
    expected = logged(train_all(recipe, make_store(tmp_path / "a"), tmp_path / "cpu", CPU))
    with watched():
        store, there = make_store(tmp_path / "b"), torch.device(NAME)
        run = train_all(recipe, store, tmp_path / "pretend", there)
        made = pictures(run, store, there)
    found = logged(run)
    for stage in {key.split()[-2] for key in expected}:
        losses = found[f"{stage} loss"], expected[f"{stage} loss"]
        assert losses[0] != losses[1], "computed in float32"
        assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert (made.float() - pictures(run, store, CPU).float()).abs().mean() < 4


@pytest.mark.slow
def test_an_evaluation_gives_the_cpus_scores_without_waiting(
    run: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "computes_bfloat16", lambda device: False)
    protocol, short = protocol_named("demo").with_fewer(2, 1), EvaluationNetworkOptions.of(3)
    found = []
    with watched() as device:
        for where in (CPU, torch.device(NAME)):
            out = tmp_path / where.type
            evaluate(load_run(run, where), store, run, out, EvaluateOptions(
                protocol, networks=out / "judges", network_options=short
            ))  # fmt: skip
            found.append(json.loads((out / "scores.json").read_text()))
            assert found[-1].pop("made")["device"] == where.type
    for path, (expected, there) in differing(*found):
        assert there == pytest.approx(expected, rel=1e-3, abs=1e-4), path
    assert not device.waits


# The device itself.


def test_tensors_of_both_places_do_not_mix() -> None:
    with pretend_device():
        there, here = torch.ones(3, device=NAME), torch.ones(3)
        with pytest.raises(RuntimeError, match=r"aten\.add\.Tensor: expected all tensors on one"):
            there + here
        with pytest.raises(RuntimeError, match="convolution"):
            F.conv1d(here[None, None], there[None, None])
        with pytest.raises(RuntimeError, match="not supported"):
            there.numpy()
        assert (there * torch.tensor(2.0)).tolist() == [2, 2, 2]
        assert (there + here.to(NAME)).device == torch.device(NAME, 0)
    with pytest.raises(RuntimeError, match="outside"):
        there + there


WAITING: dict[str, Callable[[Tensor], object]] = {
    "_local_scalar_dense": lambda x: x[0].item(),
    "is_nonzero": lambda x: bool(x[0] > 0),
    "copy to the host": lambda x: x.cpu(),
    "nonzero": lambda x: (x > 1).nonzero(),
    "index by a mask": lambda x: x[x > 1],
    "index_put_ by a mask": lambda x: x.clone().index_put_((x > 1,), x[:1]),
    "index by host indices": lambda x: x[torch.tensor([0, 1])],
    "repeat_interleave": lambda x: x.repeat_interleave(x.long()),
    "copy from the host": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "equal": lambda x: x.equal(x),
}


@pytest.mark.parametrize("operation", WAITING)
def test_what_waits_is_counted(operation: str) -> None:
    with pretend_device() as device:
        x = torch.tensor([1.0, 2.0, 3.0], device=NAME)
        assert not device.waits, "nothing is counted outside of the functions given"
        device.counting("here", lambda: WAITING[operation](x))()
    [wait] = device.waits["here"]
    assert wait.operation in (operation, "_local_scalar_dense")


def test_what_does_not_wait_is_not_counted() -> None:
    with pretend_device() as device:
        x = torch.rand(4, 3, device=NAME, requires_grad=True)

        def step() -> None:
            rows = torch.arange(2, device=NAME)
            y = x[rows] + torch.rand(3).to(NAME, non_blocking=True)
            F.layer_norm(y, (3,)).square().sum().backward()

        device.counting("here", step)()
        assert x.grad is not None
        assert x.grad.device.type == NAME
        assert not device.waits


def test_a_wait_has_the_line_of_the_project() -> None:
    """The log's means and the first bad step are read where a line is due, not in the step."""
    with pretend_device() as device:
        watch = NonFiniteMonitor(World(), torch.device(NAME))
        device.counting("step", watch.watch)(3, torch.tensor(torch.nan).to(NAME))
        assert device.counting("line", watch.first_step)() == 3
    assert device.waits.keys() == {"line"}
    [wait] = device.waits["line"]
    assert (wait.file, wait.function) == ("train/trainer/monitor.py", "first_step")
    source = Path(wait.file).read_text().splitlines()
    assert "float(self._first)" in source[wait.line - 1]


def test_autocast_follows_cudas_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "computes_bfloat16", lambda device: True)
    with pretend_device():
        x = torch.rand(2, 4, 5, device=NAME)
        weight = torch.rand(4, 4, 1, device=NAME, requires_grad=True)
        with autocast(torch.device(NAME)):
            convolved = F.conv1d(x, weight)
            assert convolved.dtype == torch.bfloat16
            assert F.layer_norm(convolved, (5,)).dtype == torch.float32
            assert convolved.softmax(1).dtype == torch.float32
            assert torch.addcmul(x, convolved, convolved).dtype == torch.float32
            assert (convolved + 1).dtype == torch.bfloat16
        convolved.sum().backward()
        assert weight.grad is not None
        assert weight.grad.dtype == torch.float32
