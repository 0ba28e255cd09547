"""D-VDM on BAIR, 64x64: no text, the first frame is the only condition."""

from dataclasses import replace

from train.models.text_encoder import TextOptions
from train.recipes.d_vdm_64 import RECIPE as D_VDM_64

RECIPE = replace(D_VDM_64, name="d_vdm_bair", text=TextOptions())
