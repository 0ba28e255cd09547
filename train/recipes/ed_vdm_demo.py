"""ED-VDM small enough for two CPU cores and a few minutes, for 64x64 clips, block 8.

Differs from the paper's: a block-wise autoencoder, v-prediction, a small U-Net, DPM-Solver++ with
guidance 1.5, and two additions of ours: a learned map of the label over frames and cells
(`layout`), and a network after the decoder, trained against a critic, that refines the frames.
Some ten minutes of training on two cores.
"""

from dataclasses import replace

from train.diffusion.noise import NoiseOptions
from train.diffusion.samplers import SamplerOptions
from train.models.block_autoencoder import BlockAutoencoderOptions
from train.models.refiner import RefinerOptions
from train.models.unet3d import UNet3DOptions
from train.recipe import ClipShape, Recipe, VectorSearch
from train.trainer.schedule import TrainingOptions

_SHORT = TrainingOptions(
    optimiser="muon",
    learning_rate=1e-3,
    beta2=0.99,
    warmup=50,
    decay=True,
    ema=0.995,
    checkpoint_every=1000,
)

RECIPE = Recipe(
    name="ed_vdm_demo",
    designed_for=ClipShape(
        size=64,
        block=8,
        vectors=VectorSearch(search_range=24, reference="first", motion_cost=5),
    ),
    autoencoder=BlockAutoencoderOptions(latent_channels=8),
    autoencoder_training=replace(_SHORT, optimiser="adamw", steps=200, batch=16),
    denoiser=UNet3DOptions(
        dim=64, mults=(1, 2), blocks=1, heads=4, context=32, label_dim=64, layout=16
    ),
    noise=NoiseOptions(schedule="cosine", prediction="v"),
    diffusion_training=replace(_SHORT, steps=800, batch=8),
    refiner=RefinerOptions(adversarial_weight=0.005, matching_weight=0.3),
    refiner_training=replace(_SHORT, steps=600, batch=4, ema=0.99),
    sampler=SamplerOptions(name="dpm++", steps=12, guidance=1.5),
)
