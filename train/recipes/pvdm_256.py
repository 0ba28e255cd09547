"""PVDM (Yu et al., CVPR 2023): three planes of a whole clip, 16 frames of 256x256, from noise.

Sizes, losses and schedules of the published configuration for UCF-101, which by its cost is PVDM-L;
PVDM-S was not published, ours is `--set denoiser.dim=128`. Give the VGG16 weights of LPIPS
(`--set autoencoder.perceptual=FILE`). The two critics take part in the last 10,000 steps of the
autoencoder, where the public code starts a second run. A clip is conditioned on the one before with
probability 0.3, row by row, where the public code draws for a whole batch.

Differs: x_0 standardised by channel; branches start at zero; layer normalisation in attention and
group normalisation in the critics, which learn in each step, under one gradient clip with the
autoencoder, instead of every other three micro-batches; an EMA in each step instead of every 25.
Neither KL nor quantisation, as in the public code. 200 sampling steps a clip; the paper's others
are `--set sampler.steps=400` and, of PVDM-S, `--set sampler.steps=100 --set sampler.next_steps=20`.
"""

from train.diffusion.noise import NoiseOptions
from train.diffusion.samplers import SamplerOptions
from train.models.planes_autoencoder import PlanesAutoencoderOptions
from train.models.planes_unet import PlanesUNetOptions
from train.recipe import ClipShape, Recipe
from train.spaces.planes import PlanesSpaceOptions
from train.trainer.schedule import TrainingOptions

RECIPE = Recipe(
    name="pvdm_256",
    designed_for=ClipShape(size=256),
    space=PlanesSpaceOptions(),
    autoencoder=PlanesAutoencoderOptions(
        perceptual="vgg16-397923af.pth", adversarial_after=250_000
    ),
    autoencoder_training=TrainingOptions(
        steps=260_000,
        batch=24,
        accumulate=3,
        learning_rate=1e-4,
        beta1=0.5,
        beta2=0.9,
        weight_decay=0.01,
        warmup=0,
        ema=0,
    ),
    denoiser=PlanesUNetOptions(),
    noise=NoiseOptions(schedule="scaled_linear", prediction="epsilon"),
    condition_dropout={"before": 0.7},
    diffusion_training=TrainingOptions(
        steps=850_000, batch=64, learning_rate=1e-4, weight_decay=0.01, warmup=0, ema=0.9999
    ),
    sampler=SamplerOptions(name="ddim", steps=200, eta=1.0, clip=True),
)
"""The published configuration, PVDM-L."""
