"""VDM at 64x64: the network of `vdm_128`."""

from dataclasses import replace

from train.recipe import ClipShape
from train.recipes.vdm_128 import RECIPE as VDM_128

RECIPE = replace(VDM_128, name="vdm_64", designed_for=ClipShape(size=64))
