"""LFDM for 16 frames of 64x64: `lfdm_128` with flow at 16x16.

The published predictors halve a quarter of the frame five times, which 64 pixels do not allow: here
they see half of it and halve it four times.
"""

from dataclasses import replace

from train.models.regions import RegionsOptions
from train.recipe import ClipShape, Recipe
from train.recipes.lfdm_128 import AUTOENCODER
from train.recipes.lfdm_128 import RECIPE as LFDM_128

RECIPE: Recipe = replace(
    LFDM_128,
    name="lfdm_64",
    designed_for=ClipShape(size=64),
    autoencoder=replace(AUTOENCODER, regions=RegionsOptions(reduction=2, halvings=4)),
)
