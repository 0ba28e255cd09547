"""ED-VDM as in the paper, 64x64, block 16: 4x4 grid, one level fewer than `ed_vdm_128`.

A store of block 8 gives it an 8x8 grid, four times the operations, and finer motion.
"""

from dataclasses import replace

from train.recipe import ClipShape, VectorSearch
from train.recipes.ed_vdm_128 import RECIPE as ED_VDM_128

RECIPE = replace(
    ED_VDM_128,
    name="ed_vdm_64",
    designed_for=ClipShape(size=64, block=16, vectors=VectorSearch()),
    denoiser=replace(ED_VDM_128.denoiser, mults=(1, 2, 4)),
)
