"""ED-VDM with smooth vectors, occlusion and a decoder that fills in. Ours, for 64x64, block 4.

Motion first: x_0 is the store's vectors into frame 0, from fields fitted to whole frames, and for
every cell how far frame 0 shows it. The decoder warps frame 0 by the vectors and fills in what it
does not show, as latent flow's decoder does (`lfdm_demo`), whose flow predictor it does without. It
learns from what it draws everywhere, too, not only from what it fills in (`drawn_weight`). Where
frame 0 shows enough is found from the errors of the vectors (`store.errors`).
"""

from dataclasses import replace

from train.models.flow_autoencoder import FlowAutoencoderOptions
from train.models.flow_predictors import StoreVectorsOptions
from train.recipe import ClipShape, Recipe, VectorSearch
from train.recipes.lfdm_demo import RECIPE as LFDM

RECIPE: Recipe = replace(
    LFDM,
    name="ed_vdm_filled_demo",
    designed_for=ClipShape(
        size=64,
        block=4,
        vectors=VectorSearch(24, "first", 1.5, "variational", "interpolated", vector_unit=4),
    ),
    autoencoder=FlowAutoencoderOptions(
        predictor="store", store=StoreVectorsOptions(errors=True), drawn_weight=0.5
    ),
    autoencoder_training=replace(LFDM.autoencoder_training, steps=450),
    diffusion_training=replace(LFDM.diffusion_training, steps=800),
)
