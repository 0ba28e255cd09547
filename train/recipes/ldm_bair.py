"""LDM on BAIR, 64x64, an 8x8 grid: no text, the first frame is the only condition."""

from dataclasses import replace

from train.models.text_encoder import TextOptions
from train.recipe import ClipShape
from train.recipes.ldm_128 import RECIPE as LDM_128

RECIPE = replace(LDM_128, name="ldm_bair", designed_for=ClipShape(size=64), text=TextOptions())
