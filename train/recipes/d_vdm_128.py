"""D-VDM as in the paper, 128x128: VDM's network on differences to the frame before (equation 7)."""

from dataclasses import replace

from train.recipes.vdm_128 import RECIPE as VDM_128
from train.spaces.difference import DifferenceSpaceOptions

RECIPE = replace(VDM_128, name="d_vdm_128", space=DifferenceSpaceOptions())
