"""Vectors of x264: a clip is coded as H.264, and its vectors are read back from the bitstream.

An encoder weighs the bits that a vector costs against those that it saves, and codes a vector as
its difference from its neighbours; so its fields are regular where an exhaustive search follows
noise. They are not the optimum of any cost stated here, and another build of x264 may choose other
vectors.
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
from numba import njit
from numpy.typing import NDArray

from preprocess.motion.kernels.candidate_key import JIT, PENALTY_BITS
from shared.conventions import Codec, grid_shape
from shared.errors import UserError

MACROBLOCK = 16
"""H.264's own block size, pixels."""

_PARTITIONS = {4: "p8x8,p4x4", 8: "p8x8"}
"""Partitions that x264 may divide a macroblock into, by block size."""

_RECORD = [
    (name, "i8") for name in ("w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")
]
"""Fields that are read of a vector."""

_X264 = {
    # One reference, no B-frames, no deblocking, no weighted prediction, whole-pixel vectors.
    "preset": "ultrafast",
    "bf": "0",
    "refs": "1",
    "qp": "20",
}


def search(luma: NDArray[np.uint8], codec: Codec, penalty: NDArray[np.int64]) -> NDArray[np.int8]:
    """Choose among the vectors that x264 codes; arguments as in `preprocess.motion.exhaustive`.

    A block takes the one of least cost among the vectors of the macroblocks or partitions in it
    and the zero vector. They are shortened to the search range, and so that predictors lie inside
    the frame. Always the same for the same build of x264.

    Raises:
        UserError: PyAV was built without x264.
    """
    frames, height, width = luma.shape
    motion = np.zeros((frames - 1, 2, *grid_shape(height, width, codec.block)), np.int8)
    if frames > 1:
        reference_is_first = codec.reference == "first"
        coded = coded_field(luma, codec.block, len(penalty) // 2, reference_is_first)
        luma = np.ascontiguousarray(luma)
        choose_vectors(luma, coded, codec.block, reference_is_first, penalty, motion)
    return motion


def coded_field(
    luma: NDArray[np.uint8], block: int, search_range: int, reference_is_first: bool
) -> NDArray[np.int16]:
    """Code a clip with x264 and return its vectors, zero where it codes none.

    Args:
        luma: uint8, shape (T, H, W), T >= 2.
        block: pixels; smaller than a macroblock, macroblocks may be divided.
        search_range: passed to x264, pixels; it may exceed it.
        reference_is_first: vectors point into frame 0, not into the previous frame.

    Returns:
        int16 pixels, shape (T-1, 2, h, w), one for every 16 x 16 pixels, or for every block where
        blocks are smaller; a frame that is not of whole macroblocks is padded to them.
    """
    padding = [(0, -side % MACROBLOCK) for side in luma.shape[1:]]
    padded = np.pad(luma, [(0, 0), *padding], mode="edge")
    unit = min(block, MACROBLOCK)
    frames, height, width = padded.shape
    field = np.zeros((frames - 1, 2, height // unit, width // unit), np.int16)
    for n, vectors in enumerate(_coded_vectors(padded, block, search_range, reference_is_first)):
        _fill_field(vectors, unit, field[n])
    return field


def exported_vectors(frame: VideoFrame) -> NDArray[Any]:
    """Vectors of a frame from a decoder with `flags2=+export_mvs`.

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
    luma: NDArray[np.uint8], block: int, search_range: int, reference_is_first: bool
) -> Iterator[NDArray[Any]]:
    """Exported vectors of frames 1...T-1, one structured array a frame."""
    # x264 predicts from the previous frame: so frame 0 is put before each of the others.
    group = 2 if reference_is_first else len(luma)
    pairs = [picture for current in luma[1:] for picture in (luma[0], current)]
    pictures = pairs if reference_is_first else luma
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
    """Encode pictures; yields packets, then None, which flushes a decoder."""
    for time, picture in enumerate(pictures):
        frame = VideoFrame.from_ndarray(picture, format="gray")
        frame.pts, frame.time_base = time, encoder.time_base
        yield from encoder.encode(frame)
    yield from encoder.encode(None)
    yield None


def _fill_field(vectors: NDArray[Any], unit: int, field: NDArray[np.int16]) -> None:
    """Write each vector to the units of `field`, shape (2, h, w), that its block covers."""
    top, left = (vectors[f"dst_{axis}"] - vectors[size] // 2 for axis, size in ("yh", "xw"))
    whole = [vectors[f"motion_{axis}"] // vectors["motion_scale"] for axis in "xy"]
    for y in range(0, MACROBLOCK, unit):
        for x in range(0, MACROBLOCK, unit):
            covered = (y < vectors["h"]) & (x < vectors["w"])
            rows, columns = (top + y)[covered] // unit, (left + x)[covered] // unit
            field[:, rows, columns] = np.stack(whole)[:, covered]


@njit(cache=True, **JIT)
def choose_vectors(
    luma: NDArray[np.uint8],
    coded: NDArray[np.int16],
    block: int,
    reference_is_first: bool,
    penalty: NDArray[np.int64],
    motion: NDArray[np.int8],
) -> None:
    """Choose the vector of least cost among zero and those coded in a block, clipped to bounds.

    Args:
        luma: uint8, shape (T, H, W).
        coded: int16 pixels, shape (T-1, 2, h, w), one vector for every min(block, 16) pixels.
        block: b, pixels.
        reference_is_first: vectors point into frame 0, not into the previous frame.
        penalty: int64, shape (2R+1, 2R+1), of every vector.
        motion: receives the vectors, int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
    """
    frames, height, width = luma.shape
    reach = penalty.shape[0] // 2
    across = max(1, block // 16)
    for n in range(1, frames):
        source = luma[0 if reference_is_first else n - 1]
        for row in range(motion.shape[2]):
            for column in range(motion.shape[3]):
                top, left = row * block, column * block
                bottom, right = min(top + block, height), min(left + block, width)
                here, pixels = luma[n, top:bottom, left:right], (bottom - top) * (right - left)
                least = _sad(here, source[top:bottom, left:right]) << PENALTY_BITS
                for i in range(row * across, min((row + 1) * across, coded.shape[2])):
                    for j in range(column * across, min((column + 1) * across, coded.shape[3])):
                        vx = min(max(coded[n - 1, 0, i, j], -left, -reach), width - right, reach)
                        vy = min(max(coded[n - 1, 1, i, j], -top, -reach), height - bottom, reach)
                        there = source[top + vy : bottom + vy, left + vx : right + vx]
                        cost = _sad(here, there) << PENALTY_BITS
                        cost += pixels * penalty[vy + reach, vx + reach]
                        if cost < least:
                            least = cost
                            motion[n - 1, 0, row, column] = vx
                            motion[n - 1, 1, row, column] = vy


@njit(**JIT)
def _sad(one, other):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            total += abs(np.int64(one[y, x]) - np.int64(other[y, x]))
    return total
