"""PVDM small enough for two CPU cores and twelve minutes in all, for 64x64 clips.

Differs from the paper's (`pvdm_256`): no VGG and no critics, v-prediction, small networks, and
these additions of ours: linear codes of lines at which the autoencoder starts (`lines`), the
squared error, the first frame held still as the clip before, labels, and a learned map of the label
over the planes (`layout`).
"""

from dataclasses import replace

from train.models.planes_autoencoder import PlanesAutoencoderOptions
from train.models.planes_unet import PlanesUNetOptions
from train.recipe import Recipe
from train.recipes.ed_vdm_demo import RECIPE as ED_VDM
from train.spaces.planes import PlanesSpaceOptions

RECIPE: Recipe = replace(
    ED_VDM,
    name="pvdm_demo",
    designed_for=replace(ED_VDM.designed_for, vectors=None),
    space=PlanesSpaceOptions(first_frame=0.5),
    autoencoder=PlanesAutoencoderOptions(
        latent_channels=16,
        width=96,
        depth=2,
        heads=4,
        head_dim=24,
        expansion=2,
        projection_depth=1,
        projection_head_dim=24,
        projection_hidden=192,
        lines=True,
        l1_weight=1.0,
        l2_weight=4.0,
    ),
    autoencoder_training=replace(ED_VDM.autoencoder_training, steps=200, batch=8),
    denoiser=PlanesUNetOptions(
        dim=64, mults=(1, 2), blocks=1, heads=4, attention_levels=2, label_dim=64, layout=16
    ),
    condition_dropout={"before": 0.1},
    diffusion_training=replace(ED_VDM.diffusion_training, steps=700),
    refiner=None,
    sampler=replace(ED_VDM.sampler, clip=True),
)
