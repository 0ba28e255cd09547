"""The demo's recipe at its smallest: shows that every part works, not what it can do."""

from dataclasses import replace

from train.models.flow_autoencoder import FlowAutoencoderOptions
from train.models.flow_predictors import StoreVectorsOptions
from train.recipes.ed_vdm_filled_demo import RECIPE as DEMO

RECIPE = replace(
    DEMO,
    name="ed_vdm_tiny",
    autoencoder=FlowAutoencoderOptions(
        predictor="store",
        store=StoreVectorsOptions(widths=(8, 16), errors=True),
        widths=(8, 16, 24),
    ),
    autoencoder_training=replace(DEMO.autoencoder_training, steps=20),
    denoiser=replace(DEMO.denoiser, dim=16),
    diffusion_training=replace(DEMO.diffusion_training, steps=20),
    sampler=replace(DEMO.sampler, steps=5),
)
