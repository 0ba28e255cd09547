"""x264's choice: a clip is coded as H.264, and its vectors are read back from the bitstream.

An encoder weighs what a vector costs to code against what it saves, and codes a vector as the
difference to its neighbours'; so its fields are regular where an exhaustive search follows noise.
They are not the optimum of any cost stated here, and another build of x264 may choose otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from av import CodecContext
from av.codec.codec import UnknownCodecError
from av.packet import Packet
from av.sidedata.motionvectors import MotionVectors
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from preprocess.motion.kernels.h264 import choose_vectors
from preprocess.motion.penalty import penalty_around_zero
from shared.conventions import CostFrom, Reference, grid_shape
from shared.errors import UserError

MACROBLOCK = 16
"""H.264's own block size, pixels."""

_PARTITIONS = {4: "p8x8,p4x4", 8: "p8x8"}
"""Into what a macroblock may be divided, for blocks that are smaller."""

_RECORD = [
    (name, "i8") for name in ("w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")
]
"""What is read of a vector."""

_X264 = {
    # One reference, no B-frames, no deblocking, no weighted prediction, whole-pixel vectors.
    "preset": "ultrafast",
    "bf": "0",
    "refs": "1",
    "qp": "20",
}


def search(
    luma: NDArray[np.uint8],
    *,
    block: int,
    search_range: int,
    reference: Reference,
    penalty: NDArray[np.int32],
    cost_from: CostFrom = "zero",
) -> NDArray[np.int8]:
    """As `preprocess.motion.exhaustive.search`, with the vectors that x264 codes.

    Of a block's candidates, the vectors of the macroblocks or partitions in it and the zero
    vector, it takes the one of least cost. They are shortened to the search range, and so that
    predictors lie inside the frame. Costs are measured from the zero vector. Always the same for
    the same build of x264.

    Raises:
        UserError: PyAV was built without x264.
    """
    frames, height, width = luma.shape
    motion = np.zeros((frames - 1, 2, *grid_shape(height, width, block)), np.int8)
    if frames > 1:
        coded = coded_field(luma, block, search_range, reference)
        from_zero = penalty_around_zero(penalty)
        choose_vectors(
            np.ascontiguousarray(luma), coded, block, reference == "first", from_zero, motion
        )
    return motion


def coded_field(
    luma: NDArray[np.uint8], block: int, search_range: int, reference: Reference
) -> NDArray[np.int16]:
    """Vectors that x264 codes, zero where it codes none.

    Args:
        luma: uint8, shape (T, H, W), T >= 2.
        block: pixels; smaller than a macroblock, macroblocks may be divided.
        search_range: that x264 is asked for, pixels; it may exceed it.
        reference: frame that vectors point into.

    Returns:
        int16 pixels, shape (T-1, 2, h, w), one for every 16 x 16 pixels, or for every block where
        blocks are smaller; over the lower and right edge of a frame that is not of whole
        macroblocks, too.
    """
    beyond = [(0, -side % MACROBLOCK) for side in luma.shape[1:]]
    padded = np.pad(luma, [(0, 0), *beyond], mode="edge")
    unit = min(block, MACROBLOCK)
    frames, height, width = padded.shape
    field = np.zeros((frames - 1, 2, height // unit, width // unit), np.int16)
    for n, vectors in enumerate(_coded_vectors(padded, block, search_range, reference)):
        _spread(vectors, unit, field[n])
    return field


def exported_vectors(frame: VideoFrame) -> NDArray[Any]:
    """Vectors that a decoder with `flags2=+export_mvs` hands out beside a frame.

    Args:
        frame: decoded.

    Returns:
        FFmpeg's `AVMotionVector` as a structured array, one record for each block that has a
        vector: its centre (dst_x, dst_y), its size (w, h), its vector (motion_x, motion_y) in
        1 / motion_scale pixels; `source` is negative where it points into the past.
    """
    side = frame.side_data.get("MOTION_VECTORS")
    if side is None:
        return np.zeros(0, _RECORD)
    assert isinstance(side, MotionVectors)
    return side.to_ndarray()


def _coded_vectors(
    luma: NDArray[np.uint8], block: int, search_range: int, reference: Reference
) -> Iterator[NDArray[Any]]:
    """Those of frames 1...T-1."""
    first = reference == "first"
    # x264 predicts from the frame before: so the first frame is put before each of the others.
    group = 2 if first else len(luma)
    pairs = [picture for current in luma[1:] for picture in (luma[0], current)]
    pictures = pairs if first else luma
    encoder = _encoder(luma.shape[1], luma.shape[2], block, search_range, group)
    decoder = CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.options, decoder.thread_count = {"flags2": "+export_mvs"}, 1
    frames = (frame for packet in _encode(encoder, pictures) for frame in decoder.decode(packet))
    for place, frame in enumerate(frames):
        if place % group:
            yield exported_vectors(frame)


def _encoder(
    height: int, width: int, block: int, search_range: int, group: int
) -> VideoCodecContext:
    try:
        encoder = CodecContext.create("libx264", "w")
    except UnknownCodecError:
        raise UserError(
            "method h264: this PyAV was built without x264; install PyAV's wheel (pip install"
            " --force-reinstall av), or choose --method exhaustive"
        ) from None
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "gray"
    encoder.time_base, encoder.gop_size, encoder.thread_count = Fraction(1, 25), group, 1
    parameters = {
        "partitions": _PARTITIONS.get(block, "none"),
        "me": "umh",
        "merange": max(4, search_range),
        "scenecut": 0,
        "log": -1,
    }
    joined = ":".join(f"{name}={value}" for name, value in parameters.items())
    encoder.options = {**_X264, "x264-params": joined}
    return encoder


def _encode(encoder: VideoCodecContext, pictures: Any) -> Iterator[Packet | None]:
    """Packets, then None, which empties a decoder."""
    for time, picture in enumerate(pictures):
        frame = VideoFrame.from_ndarray(picture, format="gray")
        frame.pts, frame.time_base = time, encoder.time_base
        yield from encoder.encode(frame)
    yield from encoder.encode(None)
    yield None


def _spread(vectors: NDArray[Any], unit: int, field: NDArray[np.int16]) -> None:
    """Write each vector to the units of `field`, shape (2, h, w), that its block covers."""
    top, left = (vectors[f"dst_{axis}"] - vectors[size] // 2 for axis, size in ("yh", "xw"))
    whole = [vectors[f"motion_{axis}"] // vectors["motion_scale"] for axis in "xy"]
    for y in range(0, MACROBLOCK, unit):
        for x in range(0, MACROBLOCK, unit):
            covered = (y < vectors["h"]) & (x < vectors["w"])
            rows, columns = (top + y)[covered] // unit, (left + x)[covered] // unit
            field[:, rows, columns] = np.stack(whole)[:, covered]
