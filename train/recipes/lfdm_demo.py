"""LFDM small enough for two CPU cores and twelve minutes in all, for 64x64 clips.

Differs from the paper's (`lfdm_128`): a dense flow predictor, no VGG (`pyramid_loss`), no text
encoder, v-prediction, a small U-Net on a folded grid, three steps of DPM-Solver++ with guidance
1.5, and these additions of ours: the loss of the warped pixels alone, a penalty of uneven flow, a
pull towards the store's vectors in the first steps, and a learned map of the label over frames and
cells (`layout`).
"""

from dataclasses import replace

from train.models.flow_autoencoder import FlowAutoencoderOptions
from train.recipe import Recipe
from train.recipes.ed_vdm_demo import RECIPE as ED_VDM
from train.spaces.flow import FlowSpaceOptions

RECIPE: Recipe = replace(
    ED_VDM,
    name="lfdm_demo",
    space=FlowSpaceOptions(pairs="first"),
    autoencoder=FlowAutoencoderOptions(vector_weight=0.02),
    autoencoder_training=replace(
        ED_VDM.autoencoder_training, steps=600, batch=16, learning_rate=2e-3
    ),
    denoiser=replace(ED_VDM.denoiser, fold=2),
    diffusion_training=replace(ED_VDM.diffusion_training, steps=950),
    refiner=None,
    sampler=replace(ED_VDM.sampler, steps=3),
)
