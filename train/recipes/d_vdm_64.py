"""D-VDM as in the paper, 64x64: the network of `d_vdm_128`."""

from dataclasses import replace

from train.recipe import ClipShape
from train.recipes.d_vdm_128 import RECIPE as D_VDM_128

RECIPE = replace(D_VDM_128, name="d_vdm_64", designed_for=ClipShape(size=64))
