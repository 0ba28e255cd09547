"""MoVideo through its stages: the demo's way, and the paper's with its pretrained networks tiny."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from shared.errors import UserError
from shared.store.store import Store
from tests.train.models.pretrained import make_depth_folder, make_vision_folder
from tests.train.stores import make_store
from train.data.clips import Clips
from train.evaluate.metrics.frames import psnr
from train.generate.generator import load_generator, real_guidance
from train.models.block_autoencoder import BlockAutoencoderOptions
from train.models.flow_decoder import FlowDecoderOptions
from train.recipe import Recipe
from train.recipes.movideo_256 import RECIPE as MOVIDEO_256
from train.recipes.movideo_demo import RECIPE as MOVIDEO_DEMO
from train.run import RunFolder
from train.spaces.guided import GuidedSpaceOptions
from train.spaces.motion import MotionSpaceOptions
from train.stages.run_stage import train_stage
from train.trainer.distributed import world

CPU = torch.device("cpu")


def shrunk(recipe: Recipe, estimates: dict[str, Any], **motion: str) -> Recipe:
    """A recipe of MoVideo with tiny networks, for 16x16 clips."""
    short = {"steps": 2, "seconds": None, "batch": 2, "accumulate": 1, "warmup": 0}
    small: dict[str, Any] = {
        "dim": 8, "mults": (1, 2), "blocks": 1, "heads": 2, "head_dim": 4, "label_dim": 8,
        "fold": 1, "patch": min(recipe.denoiser.patch, 4), "layout": 0,
        "context": min(recipe.denoiser.context, 8),
    }  # fmt: skip

    def part(whole: Recipe, space: Any, **further: Any) -> Recipe:
        return replace(
            whole,
            space=space,
            denoiser=replace(whole.denoiser, **small),
            diffusion_training=replace(whole.diffusion_training, **short),  # type: ignore[arg-type]
            sampler=replace(whole.sampler, steps=2),
            **further,
        )

    assert recipe.guide is not None
    guide = part(recipe.guide, MotionSpaceOptions(**estimates, **motion))  # type: ignore[arg-type]
    return part(
        recipe,
        GuidedSpaceOptions(factor=4, **estimates),
        autoencoder=BlockAutoencoderOptions(latent_channels=4, hidden=8),
        autoencoder_training=replace(recipe.autoencoder_training, **short),  # type: ignore[arg-type]
        decoder=FlowDecoderOptions(widths=(8, 8), adversarial_weight=0.01, critic_width=8),
        decoder_training=replace(recipe.decoder_training, **short),  # type: ignore[arg-type]
        guide=guide,
    )


def train(path: Path, store: Store, recipe: Recipe) -> RunFolder:
    run = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    for stage in ("vae", "encode", "diffusion"):
        train_stage(stage, recipe, store, run, CPU, world())
    return run


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("movideo") / "store")


@pytest.fixture(scope="module")
def run(own_store: Store, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    recipe = shrunk(MOVIDEO_DEMO, {"flow": "store"})
    return train(tmp_path_factory.mktemp("movideo_run") / "run", own_store, recipe)


@pytest.fixture
def first(own_store: Store) -> Tensor:
    return torch.from_numpy(own_store.clip("first_frame", 0))[None].expand(2, -1, -1, -1)


def test_both_networks_share_the_cached_flow(run: RunFolder, own_store: Store) -> None:
    caches = sorted(path.name.split("-")[0] for path in own_store.path.parent.glob("store.*"))
    assert caches == ["store.flow_pairs", "store.frame_latents"]
    assert not run.guide.autoencoder.exists()


def test_generated_motion_guides_the_video(run: RunFolder, first: Tensor) -> None:
    generator = load_generator(run.root, CPU)
    assert generator.guide is not None
    whole = generator(first, [1, None], [5, 6])
    assert whole.frames.shape == (2, 4, 3, 16, 16)
    assert whole.frames[:, 0].equal(first)
    motion = generator.guide._generate(
        {"first_frame": first, "label": torch.tensor([1, -1])}, [5, 6], 0, (1,), lambda: None
    )
    assert whole.parts["flow"].equal(motion.parts["flow"])
    still = torch.zeros_like(motion.parts["flow_pair"])
    other = replace(generator, guide=None)(first, [1, None], [5, 6], known={"flow_pair": still})
    assert not other.parts["flow"].any()
    assert not other.frames.equal(whole.frames)


def test_the_decoder_is_trained_and_used(run: RunFolder, first: Tensor) -> None:
    generator = load_generator(run.root, CPU)
    assert generator.space.decoder is not None
    made = generator(first, [1, None], [5, 6])
    plain = replace(generator, space=generator.space.with_decoder(None))
    assert plain(first, [1, None], [5, 6]).raw.equal(made.raw)  # type: ignore[union-attr]
    with torch.no_grad():
        generator.space.decoder.output.bias.fill_(1.0)  # type: ignore[union-attr]
    brighter = generator(first, [1, None], [5, 6])
    assert brighter.frames[:, 1:].float().mean() > made.frames[:, 1:].float().mean() + 10
    log = (run.decoder / "metrics.jsonl").read_text()
    assert all(name in log for name in ("l1", "critic_2d", "critic_3d", "verdict_3d"))


def test_a_decoder_of_another_autoencoders_latents_is_refused(
    run: RunFolder, tmp_path: Path
) -> None:
    again = RunFolder(shutil.copytree(run.root, tmp_path / "run"))
    config = json.loads((again.decoder / "config.json").read_text())
    (again.decoder / "config.json").write_text(json.dumps(config | {"latents": "other"}))
    with pytest.raises(UserError, match="on latents of another autoencoder"):
        load_generator(again.root, CPU)


def test_it_is_sampled_also_with_real_motion(
    run: RunFolder, own_store: Store, picture: Path, tmp_path: Path, cli: Callable[..., tuple]
) -> None:
    out = tmp_path / "v.mp4"
    sample = ("sample", "--run", run.root, "--out", out)
    code, _, err = cli(*sample, "--image", picture, "--text", "go", "--frames", "7")
    assert code == 0, err
    assert out.with_stem("v-occlusion").exists()
    real = ("--motion-from", own_store.path)
    code, said, err = cli(*sample, *real, "--count", "2")
    assert code == 0, err
    assert "motion and first frames of clips" in said
    assert out.with_stem("v-1-flow").exists()
    code, _, err = cli(*sample, "--image", picture, "--stride", "2")
    assert code == 2 and "--stride 2: this run is not conditioned on it" in err
    for wrong, fault in (
        (("--image", picture), "leave out --image, --frames and --stride"),
        (("--text", "go", "--count", "9"), "test clips to begin with, not 9"),
    ):
        code, _, err = cli(*sample, *real, *wrong)
        assert code == 2
        assert fault in err


def test_real_motion_needs_a_run_with_a_guide(
    run: RunFolder, own_store: Store, cli: Callable[..., tuple]
) -> None:
    code, _, err = cli("sample", "--run", run.guide.root, "--motion-from", own_store.path)
    assert code == 2
    assert "this run has no guide that makes motion" in err


def real_flow(run: RunFolder, store: Store, clips: Tensor) -> Tensor:
    """Flow of stored clips into their key frame, as the guide's space decodes it."""
    generator = load_generator(run.root, CPU)
    known = real_guidance(generator, Clips(store, None), clips.numpy())
    return known["flow_pair"][:, 1:, :2]


@pytest.mark.slow
def test_it_is_scored_and_reported(
    run: RunFolder, own_store: Store, cli: Callable[..., tuple]
) -> None:
    scoring = ("--run", run.root, "--store", own_store.path, "--count", "2", "--judge-steps", "4")
    code, _, err = cli("evaluate", *scoring)
    assert code == 0, err
    assert json.loads((run.evaluation / "scores.json").read_text())
    code, _, err = cli("evaluate", *scoring, "--real-motion")
    assert code == 0, err
    made, real = (
        load_file(folder / "generated.safetensors")
        for folder in (run.evaluation, run.evaluation / "motion-real")
    )
    assert real["clip"].equal(made["clip"]) and not real["flow"].equal(made["flow"])
    again = real_flow(run, own_store, real["clip"])
    assert real["flow"].equal(again)
    for wrong, fault in (
        (("--frames", 8), "leave it or --frames 8 out"),
        (("--protocol", "reconstruction"), "leave it or --protocol reconstruction out"),
    ):
        code, _, err = cli("evaluate", *scoring, "--real-motion", *wrong)
        assert code == 2 and fault in err
    code, _, err = cli("evaluate", *scoring[2:], "--run", run.guide.root, "--real-motion")
    assert code == 2 and "has no guide that makes motion" in err
    code, _, err = cli("report", run.root, "--store", own_store.path)
    assert code == 0, err
    page = (run.report / "index.html").read_text()
    assert "latents of frames, given depth and flow" in page


def test_the_papers_way_runs_with_its_pretrained_networks(
    own_store: Store, tmp_path: Path, first: Tensor, picture: Path, cli: Callable[..., tuple]
) -> None:
    """Key frame in the middle, DIS for RAFT, depth model, CLIP's tokens, stride, sizes of clips."""
    estimates = {
        "key": "centre", "flow": "dis", "depth": "model", "stride": True,
        "depth_from": str(make_depth_folder(tmp_path / "depth")),
        "tokens": str(make_vision_folder(tmp_path / "clip")), "tokens_shape": (16, 16),
    }  # fmt: skip
    recipe = shrunk(MOVIDEO_256, estimates, scale="clip")
    run = train(tmp_path / "run", own_store, recipe)
    generator = load_generator(run.root, CPU)
    assert generator.guide is not None
    assert dict(generator.guide.space.denoiser_input.conditions)["tokens"] == (16, 16)
    made = generator(first, [None, None], [5, 6])
    assert made.frames.shape == (2, 4, 3, 16, 16)
    assert made.frames[:, 2].equal(first)
    for weight in generator.guide.network.parameters():
        torch.nn.init.normal_(weight, std=0.1)  # some still are the zeros they began as
    made = generator(first, [None, None], [5, 6])
    faster = generator(first, [None, None], [5, 6], known={"stride": torch.full((2, 1), 4.0)})
    assert not faster.parts["flow"].equal(made.parts["flow"])
    sample = ("sample", "--run", run.root, "--image", picture, "--out", tmp_path / "v.mp4")
    assert cli(*sample, "--stride", "4")[0] == 0
    asked = ("evaluate", "--run", run.root, "--store", own_store.path, "--count", "2")
    code, _, err = cli(*asked, "--judge-steps", "4")
    assert code == 0, err
    scores = json.loads((run.evaluation / "scores.json").read_text())
    by_frame = scores["scores"]["psnr_by_frame"]
    assert len(by_frame) == 3 and max(by_frame) < 100, "the given frame does not count"
    kept = load_file(run.evaluation / "generated.safetensors")
    assert kept["frames"][:, 2].equal(kept["real"][:, 2])
    assert scores["psnr_first_frame"] == pytest.approx(
        float(psnr(kept["real"][:, [2, 2, 2]], kept["real"][:, [0, 1, 3]]).mean())
    )
    code, _, err = cli(*asked, "--frames", "8")
    assert code == 2
    assert "space.key=centre" in err


def test_a_guide_with_other_motion_is_refused() -> None:
    assert MOVIDEO_DEMO.guide is not None
    with pytest.raises(ValueError, match=r"space.key=first and guide.space.key=centre must be"):
        replace(
            MOVIDEO_DEMO,
            guide=replace(MOVIDEO_DEMO.guide, space=MotionSpaceOptions(key="centre")),
        )
    with pytest.raises(ValueError, match=r"has space.kind=motion"):
        replace(MOVIDEO_DEMO, guide=replace(MOVIDEO_DEMO, guide=None))
