"""VDM on BAIR, 64x64: no text, the first frame is the only condition."""

from dataclasses import replace

from train.models.text_encoder import TextOptions
from train.recipes.vdm_64 import RECIPE as VDM_64

RECIPE = replace(VDM_64, name="vdm_bair", text=TextOptions())
