"""VDM as small as `ed_vdm_demo`, to be compared with it: pixels of frames 1...T-1, for 64x64 clips.

The same objective and sampler; a small U-Net at full resolution, so that a step costs many times
as much as one of the codec's: it takes fewer of them in as many minutes.
"""

from dataclasses import replace

from train.models.unet3d import UNet3DOptions
from train.recipe import Recipe
from train.recipes.ed_vdm_demo import RECIPE as ED_VDM
from train.spaces.rgb import RgbSpaceOptions

RECIPE: Recipe = replace(
    ED_VDM,
    name="vdm_demo",
    designed_for=replace(ED_VDM.designed_for, vectors=None),
    space=RgbSpaceOptions(),
    autoencoder=None,
    diffusion_training=replace(ED_VDM.diffusion_training, steps=40),
    denoiser=UNet3DOptions(dim=32, mults=(1, 2, 4, 4), blocks=1, heads=4, context=16, label_dim=64),
    refiner=None,
)
