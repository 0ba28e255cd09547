"""ED-VDM on BAIR, 64x64, block 16: no text, the first frame is the only condition."""

from dataclasses import replace

from train.models.text_encoder import TextOptions
from train.recipes.ed_vdm_64 import RECIPE as ED_VDM_64

RECIPE = replace(ED_VDM_64, name="ed_vdm_bair", text=TextOptions())
