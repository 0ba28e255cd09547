"""LDM as small as `ed_vdm_demo`, to be compared with it: latents of frames, for 64x64 clips.

The same U-Net, grid and numbers a cell as ED-VDM's, 8 for 8x8 pixels; the autoencoder works block
by block on frames instead of residuals.
"""

from dataclasses import replace

from train.models.block_autoencoder import BlockAutoencoderOptions
from train.recipe import Recipe
from train.recipes.ed_vdm_demo import RECIPE as ED_VDM
from train.spaces.latent import LatentSpaceOptions

RECIPE: Recipe = replace(
    ED_VDM,
    name="ldm_demo",
    designed_for=replace(ED_VDM.designed_for, vectors=None),
    space=LatentSpaceOptions(factor=8),
    autoencoder=BlockAutoencoderOptions(latent_channels=8),
    refiner=None,
)
