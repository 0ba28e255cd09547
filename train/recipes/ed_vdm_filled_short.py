"""The demo's recipe with a quarter of its training steps, for the impatient: pictures are soft."""

from dataclasses import replace

from train.recipe import Recipe
from train.recipes.ed_vdm_filled_demo import RECIPE as DEMO

RECIPE: Recipe = replace(
    DEMO,
    name="ed_vdm_filled_short",
    autoencoder_training=replace(DEMO.autoencoder_training, steps=112),
    diffusion_training=replace(DEMO.diffusion_training, steps=200),
)
