"""Transparent frames over black, as pictures are."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

from preprocess.frames.area import EXACT


def over_black(frame: VideoFrame, reformatter: VideoReformatter) -> VideoFrame:
    """Composite a frame over black, in RGB of 8 or 16 bits; one without transparency as it is.

    Behind transparent pixels files have any colour: that of the page they were made for, or what
    an encoder found cheapest.
    """
    alpha_bits = [part.bits for part in frame.format.components if part.is_alpha]
    if not (alpha_bits or frame.format.has_palette):
        return frame
    deep = max(alpha_bits, default=8) > 8
    pixels = reformatter.reformat(
        frame,
        format="rgba64le" if deep else "rgba",
        dst_color_range=ColorRange.JPEG,
        interpolation=EXACT,
        threads=1,
    ).to_ndarray()
    colours, alpha = pixels[..., :3], pixels[..., 3:]  # (H, W, 3), (H, W, 1)
    most = 65535 if deep else 255
    if alpha.min() == most:
        return frame
    shown = (colours.astype(np.uint32) * alpha + most // 2) // most
    if deep:
        composited = VideoFrame.from_ndarray(shown.astype(np.uint16), format="rgb48le")
    else:
        composited = VideoFrame.from_ndarray(shown.astype(np.uint8), format="rgb24")
    composited.color_trc, composited.color_primaries = frame.color_trc, frame.color_primaries
    return composited
