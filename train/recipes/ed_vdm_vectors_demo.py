"""ED-VDM with smooth vectors alone: motion first. Ours, for 64x64 clips, block 4.

Differs from `ed_vdm_demo`: x_0 is the vectors, without residual latents, on a folded grid, from a
store of interpolated compensation whose fields were fitted to whole frames; what vectors cannot
show is left to the refining network. Every pixel comes from the given first frame.
"""

from dataclasses import replace

from train.recipe import ClipShape, Recipe, VectorSearch
from train.recipes.ed_vdm_demo import RECIPE as ED_VDM
from train.spaces.vectors import VectorSpaceOptions

RECIPE: Recipe = replace(
    ED_VDM,
    name="ed_vdm_vectors_demo",
    designed_for=ClipShape(
        size=64,
        block=4,
        vectors=VectorSearch(24, "first", 0.9, "variational", "interpolated", vector_unit=4),
    ),
    space=VectorSpaceOptions(),
    autoencoder=None,
    denoiser=replace(ED_VDM.denoiser, fold=2),
)
