"""The demo's recipe with a quarter of its training steps, for the impatient: pictures are soft."""

from dataclasses import replace

from train.recipe import Recipe
from train.recipes.ed_vdm_filled_demo import RECIPE as DEMO

_AUTOENCODER, _DIFFUSION = DEMO.autoencoder_training, DEMO.diffusion_training

RECIPE: Recipe = replace(
    DEMO,
    name="ed_vdm_filled_short",
    autoencoder_training=replace(_AUTOENCODER, steps=_AUTOENCODER.steps // 4),
    diffusion_training=replace(_DIFFUSION, steps=_DIFFUSION.steps // 4),
)
