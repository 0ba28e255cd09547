"""LDM (Rombach et al. 2022), the paper's baseline: latents of frames 1...15, 128x128.

Their autoencoder kl-f8, with 4 channels for 8x8 pixels: a 16x16 grid. VDM's network on it.
"""

from dataclasses import replace

from train.models.kl_autoencoder import KlAutoencoderOptions
from train.recipes.vdm_128 import RECIPE as VDM_128
from train.spaces.latent import LatentSpaceOptions
from train.trainer.schedule import TrainingOptions

RECIPE = replace(
    VDM_128,
    name="ldm_128",
    space=LatentSpaceOptions(factor=8),
    autoencoder=KlAutoencoderOptions(
        latent_channels=4, channels=(128, 256, 512, 512), kl_weight=1e-6
    ),
    autoencoder_training=TrainingOptions(steps=100_000, batch=8, learning_rate=1e-4),
    denoiser=replace(VDM_128.denoiser, context=64),
)
