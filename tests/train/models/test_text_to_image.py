"""First frames from a text, by a pipeline of a few thousand weights, loaded as any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shared.errors import UserError
from tests.train.clip import LONGEST, WIDTH, make_clip_folder
from train.models.pretrained import picture_from_text

CPU = torch.device("cpu")
SIDE = 32


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion's parts, small and untrained."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextModel, CLIPTokenizer

    clip = make_clip_folder(tmp_path_factory.mktemp("clip"))
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("pipeline")
    StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel.from_pretrained(clip), unet=unet,
        tokenizer=CLIPTokenizer.from_pretrained(clip, model_max_length=LONGEST),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.slow
def test_text_and_seed_decide_the_picture(pipeline: Path) -> None:
    picture = picture_from_text(pipeline, "turn left", 3, CPU)
    assert (picture.shape, picture.dtype) == ((SIDE, SIDE, 3), np.uint8)
    assert np.array_equal(picture_from_text(pipeline, "turn left", 3, CPU), picture)
    for text, seed in (("turn left", 4), ("turn", 3)):
        assert not np.array_equal(picture_from_text(pipeline, text, seed, CPU), picture)


@pytest.mark.slow
def test_a_pipeline_without_a_part_is_named(pipeline: Path, tmp_path: Path) -> None:
    torn = Path(shutil.copytree(pipeline, tmp_path / "torn"))
    shutil.rmtree(torn / "unet")
    with pytest.raises(UserError, match=r"--image-model .*torn: .*; give the folder of a pipeline"):
        picture_from_text(torn, "left", 0, CPU)


@pytest.mark.slow
def test_a_video_begins_with_it(
    pipeline: Path, run: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "new" / "v.mp4"
    made = ("--image-model", pipeline, "--image-text", "left", "--text", "Go", "--seed", 5)
    code, said, err = cli("sample", "--run", run, *made, "--out", out)
    assert code == 0, err
    picture = picture_from_text(pipeline, "left", 5, CPU)
    kept = out.with_name("v-image.png")
    assert f"wrote {kept}, made from 'left'" in said
    assert np.array_equal(np.asarray(Image.open(kept)), picture)
    code, _, err = cli("sample", "--run", run, "--image", kept, "--text", "Go", "--seed", 5,
                       "--out", tmp_path / "again.mp4")  # fmt: skip
    assert code == 0, err
    assert out.read_bytes() == (tmp_path / "again.mp4").read_bytes()


def test_a_folder_without_a_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--image-model .*: no model_index.json in it; give the"):
        picture_from_text(tmp_path, "left", 0, CPU)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (("--image-text", "x"), "--image-text is for --image-model"),
        (("--image-model", "m"), "without a text: give it and --image-text"),
        (("--image-model", "m", "--image-text", "x", "--image", "i.png"), "with --image, too"),
        (("--image-model", "m", "--motion-from", "s"), "gives first frames: leave out --image-mo"),
    ],
)
def test_options_that_contradict_each_other(
    given: tuple[str, ...], error: str, run: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = cli("sample", "--run", run, *given)
    assert code == 2
    assert error in err
