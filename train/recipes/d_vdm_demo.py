"""D-VDM as small as `ed_vdm_demo`, to be compared with it: differences of frames, 64x64 clips."""

from dataclasses import replace

from train.recipe import Recipe
from train.recipes.vdm_demo import RECIPE as VDM
from train.spaces.difference import DifferenceSpaceOptions

RECIPE: Recipe = replace(VDM, name="d_vdm_demo", space=DifferenceSpaceOptions())
