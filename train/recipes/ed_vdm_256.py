"""ED-VDM as in the paper, 256x256, block 16: the network of `ed_vdm_128` on a 16x16 grid.

The paper's "16x16x16 latent" of a residual fits this size.
"""

from dataclasses import replace

from train.recipe import ClipShape, VectorSearch
from train.recipes.ed_vdm_128 import RECIPE as ED_VDM_128

RECIPE = replace(
    ED_VDM_128,
    name="ed_vdm_256",
    designed_for=ClipShape(size=256, block=16, vectors=VectorSearch()),
)
