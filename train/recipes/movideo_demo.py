"""MoVideo small enough for two CPU cores and fifteen minutes in all, for 64x64 clips.

Differs from the paper's (`movideo_256`): the key frame is the first one; no depth, and flow by
OpenCV; flows are standardised over the training split; learned features of patches for a CLIP
vision model's tokens, v-prediction, small networks, two steps of DPM-Solver++; and these additions
of ours: the first frame's features next to the target, and in the motion network the label with its
learned map (`layout`) and guidance 1.5, without which no text would be followed.
"""

from dataclasses import replace

from train.models.block_autoencoder import BlockAutoencoderOptions
from train.models.flow_decoder import FlowDecoderOptions
from train.recipe import Recipe
from train.recipes.ed_vdm_demo import RECIPE as ED_VDM
from train.spaces.guided import GuidedSpaceOptions
from train.spaces.motion import MotionSpaceOptions

_CLIPS = replace(ED_VDM.designed_for, vectors=None)

MOTION: Recipe = replace(
    ED_VDM,
    name="movideo_demo_motion",
    designed_for=_CLIPS,
    space=MotionSpaceOptions(),
    autoencoder=None,
    denoiser=replace(ED_VDM.denoiser, dim=48, fold=2, patch=8),
    diffusion_training=replace(ED_VDM.diffusion_training, steps=200),
    refiner=None,
    sampler=replace(ED_VDM.sampler, steps=2),
)

RECIPE: Recipe = replace(
    ED_VDM,
    name="movideo_demo",
    designed_for=_CLIPS,
    space=GuidedSpaceOptions(),
    autoencoder=BlockAutoencoderOptions(latent_channels=8),
    denoiser=replace(ED_VDM.denoiser, patch=8, layout=0),
    condition_dropout={"warped": 0.5},
    diffusion_training=replace(ED_VDM.diffusion_training, steps=400),
    refiner=None,
    decoder=FlowDecoderOptions(adversarial_weight=0.005),
    decoder_training=replace(ED_VDM.refiner_training, steps=100),
    sampler=replace(ED_VDM.sampler, steps=2, guidance=1.0),
    guide=MOTION,
)
"""Its guide generates motion first."""
