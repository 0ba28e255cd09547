"""ED-VDM as in the paper, 128x128, block 16: 8x8 grid, 18 channels.

The paper leaves the U-Net's widths to a supplement that was not published. These give 161 million
parameters and 61 GFLOP, forward and backward, for one 16-frame clip (torch's FlopCounterMode, two
FLOP a multiply-accumulate); the paper's Table 4 states 78.
"""

from train.loop import TrainingOptions
from train.models.residual_vae import ResidualVaeOptions
from train.models.unet3d import UNet3DOptions
from train.noise import NoiseOptions
from train.recipe import Recipe
from train.samplers import SamplerOptions

RECIPE = Recipe(
    name="ed_vdm_128",
    autoencoder=ResidualVaeOptions(latent_channels=16, kl_weight=1e-6),
    autoencoder_training=TrainingOptions(steps=100_000, batch=8, learning_rate=1e-4),
    denoiser=UNet3DOptions(dim=192, mults=(1, 2, 4, 4), context=64),
    noise=NoiseOptions(schedule="cosine", prediction="epsilon"),
    diffusion_training=TrainingOptions(steps=200_000, batch=32, learning_rate=1e-4, warmup=1000),
    sampler=SamplerOptions(name="ddpm", steps=1000, guidance=1.0),
)
