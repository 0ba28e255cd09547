"""VDM (Ho et al. 2022), the paper's baseline: pixels of frames 1...15, 128x128.

The paper leaves the U-Net's widths to a supplement that was not published. They are taken from
VDM's public code (factorised convolutions, linear attention on fine grids, a residual block before
the output) with dim 128 and multipliers 1, 2, 4, 4; `dvdm-train cost` compares its cost with
the paper's Table 4. Like every system compared, it is conditioned on the first frame.
"""

from train.diffusion.noise import NoiseOptions
from train.diffusion.samplers import SamplerOptions
from train.models.text_encoder import TextOptions
from train.models.unet3d import UNet3DOptions
from train.recipe import ClipShape, Recipe
from train.spaces.rgb import RgbSpaceOptions
from train.trainer.schedule import TrainingOptions

RECIPE = Recipe(
    name="vdm_128",
    designed_for=ClipShape(size=128),
    space=RgbSpaceOptions(),
    autoencoder=None,
    denoiser=UNet3DOptions(
        dim=128, mults=(1, 2, 4, 4), context=16, temporal_conv=True, output_block=True
    ),
    text=TextOptions(encoder="openai/clip-vit-large-patch14"),
    noise=NoiseOptions(schedule="cosine", prediction="epsilon"),
    diffusion_training=TrainingOptions(steps=200_000, batch=32, learning_rate=1e-4, warmup=1000),
    sampler=SamplerOptions(name="ddpm", steps=1000, guidance=1.0),
)
