"""The demo recipe at its smallest: shows that every part works, not what it can do."""

from dataclasses import replace

from train.recipes.ed_vdm_demo import RECIPE as DEMO

RECIPE = replace(
    DEMO,
    name="ed_vdm_tiny",
    autoencoder_training=replace(DEMO.autoencoder_training, seconds=3),
    denoiser=replace(DEMO.denoiser, dim=16),
    diffusion_training=replace(DEMO.diffusion_training, seconds=6),
    refiner=None if DEMO.refiner is None else replace(DEMO.refiner, width=8),
    refiner_training=replace(DEMO.refiner_training, seconds=4),
    sampler=replace(DEMO.sampler, steps=5),
)
