"""The embedded data set: a drawn figure performing the 24 NATOPS aircraft handling signals."""

from preprocess.datasets.gestures.dataset import (
    RenderSummary,
    render_dataset,
    video_path,
    write_video,
)
from preprocess.datasets.gestures.options import RenderOptions
from preprocess.datasets.gestures.render import render_clip
from preprocess.datasets.gestures.signals import NAMES

__all__ = [
    "NAMES",
    "RenderOptions",
    "RenderSummary",
    "render_clip",
    "render_dataset",
    "video_path",
    "write_video",
]
