"""ED-VDM as in the paper, 128x128, block 16: 8x8 grid, 18 channels.

The network of `vdm_128`, wider (dim 192), which the small grid affords: under a hundredth of its
operations. `dvdm-train cost` compares them with the paper's Table 4.
"""

from dataclasses import replace

from train.models.kl_autoencoder import KlAutoencoderOptions
from train.recipe import ClipShape, VectorSearch
from train.recipes.vdm_128 import RECIPE as VDM_128
from train.spaces.codec import CodecSpaceOptions
from train.trainer.schedule import TrainingOptions

RECIPE = replace(
    VDM_128,
    name="ed_vdm_128",
    designed_for=ClipShape(size=128, block=16, vectors=VectorSearch()),
    space=CodecSpaceOptions(),
    autoencoder=KlAutoencoderOptions(latent_channels=16, kl_weight=1e-6),
    autoencoder_training=TrainingOptions(steps=100_000, batch=8, learning_rate=1e-4),
    denoiser=replace(VDM_128.denoiser, dim=192, context=64),
)
