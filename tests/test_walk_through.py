"""The whole system on real videos: files to store to run to a generated clip."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.conftest import call_preprocess
from tests.train.conftest import call_train

CLIPS = os.environ.get("DVDM_TEST_CLIPS")

SHORT = (
    "autoencoder_training.steps=10",
    "diffusion_training.steps=10",
    "refiner_training.steps=5",
    "denoiser.dim=16",
    "refiner.width=8",
    "sampler.steps=4",
)


@pytest.mark.slow
@pytest.mark.skipif(CLIPS is None, reason="DVDM_TEST_CLIPS is not set")
def test_real_signs_reach_a_generated_clip(tmp_path: Path) -> None:
    root, store, run = tmp_path / "videos", tmp_path / "store", tmp_path / "run"
    root.mkdir()
    for video in sorted(Path(str(CLIPS), "clips").glob("asl_*.mkv")):
        (root / video.name).symlink_to(video)
    extract = ("--size", 64, "--block", 8, "--stride", 3, "--reference", "first")
    assert call_preprocess("run", "folder", "--root", root, "--out", store, *extract) == 0
    assert call_preprocess("verify", store, "--root", root, "--sample", 2) == 0
    overrides = [word for field in SHORT for word in ("--set", field)]
    for stage in ("vae", "encode", "diffusion"):
        where = ("--recipe", "ed_vdm_demo", "--store", store, "--out", run)
        assert call_train(stage, *where, *overrides) == 0
    first, made = tmp_path / "first.png", tmp_path / "made.mp4"
    with av.open(str(root / "asl_yes.mkv")) as container:
        Image.fromarray(next(container.decode(video=0)).to_ndarray(format="rgb24")).save(first)
    assert call_train("sample", "--run", run, "--image", first, "--out", made) == 0
    with av.open(str(made)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 16
    assert np.std(frames[0]) > 10
