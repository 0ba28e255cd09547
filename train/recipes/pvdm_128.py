"""PVDM for the task of this project, next to the other recipes for 128x128: from frame and text.

`pvdm_256` with these additions of ours: the clip before may be the first frame held still, half of
the time in training; the label's text is added to the time embedding. The denoiser is our PVDM-S,
half as wide as the published one, on planes of 16x16 positions.
"""

from dataclasses import replace

from train.models.text_encoder import TextOptions
from train.recipe import ClipShape
from train.recipes.pvdm_256 import RECIPE as PVDM_256
from train.spaces.planes import PlanesSpaceOptions

RECIPE = replace(
    PVDM_256,
    name="pvdm_128",
    designed_for=ClipShape(size=128),
    space=PlanesSpaceOptions(first_frame=0.5),
    denoiser=replace(PVDM_256.denoiser, dim=128, label_dim=256),
    text=TextOptions(encoder="openai/clip-vit-large-patch14"),
    condition_dropout={"before": 0.1},
)
