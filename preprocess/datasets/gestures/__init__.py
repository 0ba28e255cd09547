"""The embedded data set: a drawn figure performing the 24 NATOPS aircraft handling signals."""

from .dataset import RenderSummary, render_dataset, video_path
from .options import RenderOptions
from .render import render_clip
from .signals import NAMES
from .video import write_video

__all__ = [
    "NAMES",
    "RenderOptions",
    "RenderSummary",
    "render_clip",
    "render_dataset",
    "video_path",
    "write_video",
]
