"""LFDM (Ni et al., CVPR 2023): flow and occlusion at a quarter of the size, 40 frames of 128x128.

Sizes and schedules of the published code for MHAD: autoencoder with MRAA's regions, skips and the
perceptual loss alone (give torchvision's VGG19 weights: `--set autoencoder.perceptual=FILE`), Adam
with beta1 0.5, the rate times 0.1 at 60 and 90%; 3D U-Net on the first frame's 256 features, times
0.1 at 2/3 and 5/6, no average of weights. Differs: group normalisation; from scratch, where the
code starts from MRAA's weights; frame 0 is given; x_0 standardised by channel and not thresholded;
CLIP's text encoder, as in every recipe here, for BERT's mean; one output head; full attention at
the two coarsest levels; and no terms of ours (`warped_weight`, `smoothness`).
"""

from train.diffusion.noise import NoiseOptions
from train.diffusion.samplers import SamplerOptions
from train.models.flow_autoencoder import FlowAutoencoderOptions
from train.models.text_encoder import TextOptions
from train.models.unet3d import UNet3DOptions
from train.recipe import ClipShape, Recipe
from train.spaces.flow import FlowSpaceOptions
from train.trainer.schedule import TrainingOptions

AUTOENCODER = FlowAutoencoderOptions(
    predictor="regions",
    widths=(64, 128, 256),
    blocks=6,
    perceptual="vgg19-dcbb9e9d.pth",
    warped_weight=0.0,
    smoothness=0.0,
)

RECIPE = Recipe(
    name="lfdm_128",
    designed_for=ClipShape(size=128, frames=40),
    space=FlowSpaceOptions(),
    autoencoder=AUTOENCODER,
    autoencoder_training=TrainingOptions(
        steps=43_100,
        batch=100,
        learning_rate=2e-4,
        beta1=0.5,
        warmup=0,
        rate_steps=((0.6, 0.1), (0.9, 0.01)),
        ema=0,
    ),
    denoiser=UNet3DOptions(
        dim=64,
        mults=(1, 2, 4, 8),
        context=0,
        input_kernel=7,
        full_attention=16,
        output_block=True,
    ),
    text=TextOptions(encoder="openai/clip-vit-large-patch14"),
    noise=NoiseOptions(schedule="cosine", prediction="epsilon"),
    diffusion_training=TrainingOptions(
        steps=86_400,
        batch=6,
        learning_rate=2e-4,
        beta2=0.99,
        warmup=0,
        rate_steps=((2 / 3, 0.1), (5 / 6, 0.01)),
        ema=0,
    ),
    sampler=SamplerOptions(name="ddpm", steps=1000, guidance=1.0),
)
