"""MoVideo (Liang et al., ECCV 2024): equations 6 to 18, 17 frames of 256x256 around a key frame.

Its supplement was not at hand and no code was published, so widths, budgets and the pretrained
networks are readings of ours: LDM's widths (320 x 1, 2, 4, 4) for the video network and half of
them for the motion network ("we reduce the channel numbers by half"), CLIP ViT-L/14, DPT-large,
RAFT, and LDM's autoencoder. For LPIPS of decoded frames give `decoder.perceptual=FILE`; S3D's
features are left out. Differs: both networks train from scratch, where the paper's video
network starts from a public latent diffusion model; the stride of a clip stands for its frames
per second (where all videos have one rate they say the same: `--frames 17 --clips random_stride
--stride 10` makes the paper's 3 to 30 a second of videos of 30), and is null in a tenth of the
rows; the key frame is kept as given. It was never trained. The label is never seen
(`label_dropout=1`).
"""

from dataclasses import replace
from typing import Any

from train.diffusion.noise import NoiseOptions
from train.diffusion.samplers import SamplerOptions
from train.models.flow_decoder import FlowDecoderOptions
from train.models.unet3d import UNet3DOptions
from train.recipe import ClipShape, Recipe
from train.recipes.ldm_128 import RECIPE as LDM
from train.spaces.guided import GuidedSpaceOptions
from train.spaces.motion import MotionSpaceOptions
from train.trainer.schedule import TrainingOptions

_CLIPS = ClipShape(size=256, frames=17)
_ESTIMATES: dict[str, Any] = {
    "key": "centre",
    "cell": 8,
    "flow": "raft",
    "flow_weights": "raft_large_C_T_SKHT_V2-ff5fadd5.pth",
    "depth": "model",
    "depth_from": "Intel/dpt-large",
    "tokens": "openai/clip-vit-large-patch14",
    "tokens_shape": (256, 1024),
    "stride": True,
}

_MOTION_NETWORK = UNet3DOptions(
    dim=160, mults=(1, 2, 4, 4), context=0, label_dim=64, temporal_conv=True
)
_TRAINING = TrainingOptions(steps=200_000, batch=32, learning_rate=1e-4)

MOTION = Recipe(
    name="movideo_256_motion",
    designed_for=_CLIPS,
    space=MotionSpaceOptions(**_ESTIMATES, scale="clip"),
    autoencoder=None,
    denoiser=_MOTION_NETWORK,
    noise=NoiseOptions(schedule="linear", prediction="epsilon"),
    label_dropout=1.0,
    condition_dropout={"stride": 0.1},
    diffusion_training=_TRAINING,
    sampler=SamplerOptions(name="ddim", steps=50, guidance=1.0),
)

RECIPE = replace(
    MOTION,
    name="movideo_256",
    space=GuidedSpaceOptions(**_ESTIMATES, factor=8),
    autoencoder=LDM.autoencoder,
    autoencoder_training=LDM.autoencoder_training,
    denoiser=replace(_MOTION_NETWORK, dim=320),
    condition_dropout={"warped": 0.5, "stride": 0.1},
    decoder=FlowDecoderOptions(widths=(512, 256, 128), adversarial_weight=0.1, critic_width=64),
    decoder_training=TrainingOptions(steps=50_000, batch=8, learning_rate=1e-4),
    guide=MOTION,
)
