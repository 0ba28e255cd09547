"""Independent decoding of a video into RGB frames, for `verify`.

In common with `preprocess.sources.video` are the decoder, scaler and deinterlacer underneath, the
errors that FFmpeg logs, and the facts about colour, the place of chroma, the shape of pixels, the
display matrix, and packets that no decoder shows. The packet loop, threading, order of frames,
scalers, area averages, cropping, turning and tone mapping are separate. (FFmpeg's scale filter
would be more independent, but it does not know where a frame's chroma samples lie.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain, groupby, islice
from math import floor, gcd
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from preprocess.frames.area import (
    LUMA_WEIGHTS,
    MAX_RATIO,
    SUBSAMPLING,
    FrameFormat,
    chroma_cosited,
    rgb_matrix,
)
from preprocess.frames.geometry import Geometry, Matrix, display_matrix
from preprocess.frames.hdr import (
    DISPLAY_GAMMA,
    HLG_CONSTANTS,
    HLG_GAMMA,
    LUMA_2020,
    PEAK_NITS,
    PQ_CONSTANTS,
    TO_BT709,
    WHITE_NITS,
)
from preprocess.sources.bitstream import LeadingPictures
from preprocess.sources.media import (
    ContainerCrop,
    PixelAspect,
    collect_ffmpeg_errors,
    packet_without_metadata,
    strictness,
    without_parser,
)
from shared.conventions import FrameSize
from shared.store.paths import Location, openable

HALF = Fraction(1, 2)

_WIDE = 9
"""H.273's number of the primaries of BT.2020."""

_READ_ERRORS = 100
"""Errors after which a file is not read further."""


class _LostError(Exception):
    """Packets are missing, or a key frame does not come out."""


def decode_independently(
    path: Location, geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode the frames of a video with their indices: all of them, if nothing is damaged.

    After a failure it goes on at the next key frame, in the file opened afresh and with a new
    decoder.

    Args:
        path: the video file; without one there is no frame.
        geometry: of the stored frames.

    Yields:
        Index, ascending, and frame, uint8 RGB, shape (3, H, W).
    """
    if not path.is_file():
        return
    following = 0
    # Key frames are looked for only after a failure.
    for position, place in chain([(None, 0)], _key_frames(path)):
        if position is not None and place < following:
            continue
        try:
            frames: Iterator[tuple[VideoFrame, Fraction]] = _frames_from(path, position)
            if geometry.deinterlace != "off":
                frames = _deinterlaced(frames, geometry.deinterlace)
            for index, (frame, aspect) in enumerate(frames, start=place):
                yield index, fit_frame(frame, aspect, geometry)
                following = index + 1
            return
        except (FFmpegError, _LostError):
            # Extraction reports damage; the clips around it must still agree.
            continue


def _frames_from(path: Location, position: int | None) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Decode from a key frame's packet on, or from the start, in the order frames are shown.

    Yields:
        A frame, and the width of its pixels divided by their height.

    Raises:
        FFmpegError: a packet does not decode.
        _LostError: packets are missing, or the first one is no key frame's.
    """
    with _open(path) as container:
        stream = _video(container)
        if stream is None:
            return
        # Threads that share a frame: with a frame each, an error would swallow those before it.
        stream.thread_type = "SLICE"
        name = stream.codec_context.codec.name
        stream.codec_context.options = {"err_detect": strictness(name)}
        aspects, leads, crop = PixelAspect(stream), _Leads(), ContainerCrop(container, stream)
        repeated = deque[int]()
        shown: VideoFrame | None = None
        opening = LeadingPictures(name, stream.codec_context.extradata)
        cut_off = False
        for number, (packet, failed) in enumerate(_packets(container, stream)):
            lost = failed and number > (position or 0)
            if lost or (number == 0 and position is None and not packet.is_keyframe):
                raise _LostError
            if number < (position or 0):
                continue
            if packet.is_keyframe:
                cut_off = opening.loses_leads(packet, number == (position or 0))
            # Packets after a key frame that are shown before it may refer to earlier frames.
            if position is not None and leads.has(packet):
                continue
            if not packet.size and packet.pts is not None:
                repeated.append(packet.pts)
                continue
            for frame in _decoded(packet, stream, excused=cut_off):
                if shown is None and position is not None and frame.pts != leads.key_time:
                    raise _LostError
                aspects.change()
                while shown and repeated and repeated[0] < (frame.pts or 0):
                    repeated.popleft()
                    yield shown, aspects.value
                shown = crop(frame)
                yield shown, aspects.value
        if shown:
            yield from [(shown, aspects.value)] * len(repeated)


def _decoded(packet: Packet, stream: VideoStream, *, excused: bool) -> list[VideoFrame]:
    """Decode a packet, without its metadata if it is refused with them; raises FFmpegError.

    Args:
        packet: of the stream, or the empty one at its end.
        stream: that it belongs to.
        excused: references were cut off: that a picture drops one of them is no damage. H.264
            shows such a picture later, so none is lost.
    """
    frames: list[VideoFrame] = []
    failure: FFmpegError | None = None
    with collect_ffmpeg_errors() as errors:
        try:
            frames = stream.decode(packet)
        except FFmpegError as error:
            failure = error
    if failure and not (excused and errors and all("mmco" in text for text in errors)):
        plain = packet_without_metadata(packet, stream)
        if plain is None:
            raise failure
        return _decoded(plain, stream, excused=excused)
    return frames


class _Leads:
    """Recognises packets that follow a first key frame and are shown before it."""

    def __init__(self) -> None:
        self.key_time: int | None = None
        self._begun = self._over = False

    def has(self, packet: Packet) -> bool:
        """Test the next packet, the key frame's being the first."""
        if not self._begun:
            self._begun, self.key_time = True, packet.pts
            return False
        earlier = (
            self.key_time is not None and packet.pts is not None and packet.pts < self.key_time
        )
        self._over = self._over or not earlier
        return not self._over


def _key_frames(path: Location) -> Iterator[tuple[int, int]]:
    """Number of each key frame among the packets, and its place among the frames shown.

    All packets before a key frame are shown before it, and those behind it that have earlier times.
    """
    with _open(path) as container:
        stream = _video(container)
        if stream is None:
            return
        packets = [
            (packet.pts, packet.is_keyframe, packet.is_discard)
            for packet, _ in _packets(container, stream)
            if packet.size or packet.pts is not None
        ]
    times = [time for time, _, _ in packets]
    timed = None not in times and len(set(times)) == len(times)
    place = 0
    for number, (time, is_key, hidden) in enumerate(packets):
        if is_key and not hidden:
            leading = 0
            for later, _, unseen in islice(packets, number + 1, None) if timed else ():
                if later is None or time is None or later > time:
                    break
                leading += not unseen
            yield number, place + leading
        place += not hidden


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[tuple[Packet, bool]]:
    """Read the packets that are shown, each with a flag: FFmpeg logged an error on the way to it.

    The last one is empty.
    """
    leading = LeadingPictures(stream.codec_context.codec.name, stream.codec_context.extradata)
    packets, failed, begun = container.demux(stream), False, False
    for _ in range(_READ_ERRORS):
        packet: Packet | None = None
        while True:
            ended = False
            with collect_ffmpeg_errors() as errors:
                packet = next(packets, None)
                ended = packet is None
            failed = failed or bool(without_parser(errors))
            if ended:
                return
            if packet is None:
                break
            begun = begun or packet.size > 0
            if begun and not leading.lost(packet):
                yield packet, failed
                failed = False
            packet = None
        packets = container.demux(stream)  # reading failed: there may be more packets


def _deinterlaced(
    frames: Iterator[tuple[VideoFrame, Fraction]], method: str
) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Deinterlace frames by FFmpeg's filter, with a new graph for each format."""
    for _, group in groupby(frames, _format):
        graph, waiting = Graph(), deque[Fraction]()
        for number, (frame, aspect) in enumerate(group):
            if number == 0:
                source = graph.add_buffer(
                    width=frame.width,
                    height=frame.height,
                    format=frame.format,
                    time_base=frame.time_base or Fraction(1, 25),
                )
                weaver = graph.add(method, mode="send_frame", parity="auto", deint="interlaced")
                graph.link_nodes(source, weaver, graph.add("buffersink")).configure()
            graph.push(frame)
            waiting.append(aspect)
            yield from _pulled(graph, waiting)
        graph.push(None)
        yield from _pulled(graph, waiting)


def _format(item: tuple[VideoFrame, Fraction]) -> tuple[int, int, str]:
    return item[0].width, item[0].height, item[0].format.name


def _pulled(graph: Graph, waiting: deque[Fraction]) -> Iterator[tuple[VideoFrame, Fraction]]:
    """Take the frames that a graph has ready; as many go out as went in."""
    while waiting:
        try:
            frame: Any = graph.pull()
        except (BlockingIOError, EOFError):
            return
        yield frame, waiting.popleft()


def _open(path: Location) -> InputContainer:
    return av.open(openable(path), "r", metadata_errors="replace")


def _video(container: InputContainer) -> VideoStream | None:
    stream = container.streams.best("video")
    return stream if isinstance(stream, VideoStream) else None


def fit_frame(
    frame: VideoFrame,
    aspect: Fraction,
    geometry: Geometry,
    turned_as: VideoFrame | None = None,
) -> NDArray[np.uint8]:
    """Stored frame of a decoded one, upright, shape (3, H, W).

    Args:
        frame: as decoded.
        aspect: width of its pixels divided by their height.
        geometry: of the stored frames.
        turned_as: frame whose display matrix holds; None for this one.
    """
    width = max(1, floor(frame.width * aspect + HALF)) if geometry.as_shown else frame.width
    turn = _axes(turned_as or frame, geometry)
    if geometry.as_shown:
        frame = _without_alpha(frame)
    if geometry.box:
        return fit_independently(
            _upright(_scaled(frame, width, frame.height, geometry), turn), geometry
        )
    if turn[0][1]:  # x is made of y: what is tall now will be wide
        size = geometry.size
        geometry = replace(geometry, size=FrameSize(size.width, size.height))
    return _upright(_middle_of_scaled(frame, width, geometry), turn).transpose(2, 0, 1)


def _without_alpha(frame: VideoFrame) -> VideoFrame:
    """Composite over black as `preprocess.frames.transparency`, in floating-point numbers."""
    alpha = [part for part in frame.format.components if part.is_alpha]
    if not alpha and frame.format.name != "pal8":
        return frame
    deep = bool(alpha) and alpha[0].bits > 8
    flags = Interpolation.BITEXACT | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    rgba = frame.reformat(
        format="rgba64le" if deep else "rgba", dst_color_range="JPEG", interpolation=flags
    )
    samples = rgba.to_ndarray().astype(np.float64)  # (H, W, 4)
    full = 65535 if deep else 255
    opacity = samples[..., 3] / full
    if (opacity == 1).all():
        return frame
    shown = np.rint(samples[..., :3] * opacity[..., None])
    black = (
        VideoFrame.from_ndarray(shown.astype(np.uint16), format="rgb48le")
        if deep
        else VideoFrame.from_ndarray(shown.astype(np.uint8), format="rgb24")
    )
    black.color_trc, black.color_primaries = frame.color_trc, frame.color_primaries
    return black


def fit_independently(rgb: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Cut a picture to the crop box first, then scale it: (H, W, 3) to (3, H', W')."""
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    if box := geometry.box:
        picture = picture.crop((box.left, box.top, box.right, box.bottom))
    width, height = _scaled_size(picture.width, picture.height, geometry)
    grows = width > picture.width or height > picture.height or picture.size == (width, height)
    scaled = picture.resize(
        (width, height), Image.Resampling.BICUBIC if grows else Image.Resampling.BOX
    )
    return _middle(np.asarray(scaled), geometry.size).transpose(2, 0, 1)


def _middle_of_scaled(frame: VideoFrame, shown_width: int, geometry: Geometry) -> NDArray[np.uint8]:
    """Middle of a scaled frame, shape (height, width, 3)."""
    width, height = _scaled_size(shown_width, frame.height, geometry)
    form, steps = FrameFormat.of(frame), SUBSAMPLING.get(frame.format.name)
    if steps is None or form.matrix not in LUMA_WEIGHTS or _light_of(frame, geometry):
        return _middle(_scaled(frame, width, height, geometry), geometry.size)
    ratios = Fraction(frame.height, height), Fraction(frame.width, width)
    fine = all(step <= by <= MAX_RATIO for step, by in zip(steps, ratios, strict=True))
    if fine and frame.planes[0].line_size > 0:
        return _middle(_averaged(frame, width, height), geometry.size)
    return _middle(_scaled(frame, width, height, geometry), geometry.size)


def _averaged(frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
    """Average as `preprocess.frames.area`, by matrices of weights; exact, as all sums are whole."""
    steps, cosited = SUBSAMPLING[frame.format.name], chroma_cosited(frame)
    means = []
    for plane, (row_step, column_step), (row_cosited, column_cosited) in zip(
        frame.planes, ((1, 1), steps, steps), ((False, False), cosited, cosited), strict=True
    ):
        rows = _weights(frame.height, height, plane.height, row_step, row_cosited)
        columns = _weights(frame.width, width, plane.width, column_step, column_cosited)
        samples = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        sums = rows @ samples[:, : plane.width].astype(np.float64) @ columns.T
        means.append(sums * (1 / (rows[0].sum() * columns[0].sum())))
    y, u, v = np.stack(means).astype(np.float32)[..., None]
    of_y, of_u, of_v, offset = rgb_matrix(FrameFormat.of(frame)).T
    rgb = of_y * y + of_u * u + of_v * v + offset
    return np.floor(rgb.clip(0, 255) + np.float32(0.5)).astype(np.uint8)


def _weights(side: int, scaled: int, samples: int, step: int, cosited: bool) -> NDArray[np.float64]:
    """Part of each pixel that each sample covers, in whole numbers, shape (scaled, samples)."""
    common = gcd(2 * side, 2 * scaled * step, scaled * (step - 1) * cosited)
    pixels = 2 * side * np.arange(scaled + 1)
    edges = scaled * (2 * step * np.arange(samples + 1) - (step - 1) * cosited)
    edges[-1] = max(edges[-1], pixels[-1])
    upper = np.minimum(pixels[1:, None], edges[1:])
    covered = upper - np.maximum(pixels[:-1, None], edges[:-1])
    return covered.clip(0) / common


def _scaled_size(width: int, height: int, geometry: Geometry) -> tuple[int, int]:
    size = geometry.size
    if geometry.fit == "stretch":
        return size.width, size.height
    ratios = Fraction(size.width, width), Fraction(size.height, height)
    ratio = {"crop": max, "pad": min}[geometry.fit](ratios)
    return max(1, floor(width * ratio + HALF)), max(1, floor(height * ratio + HALF))


def _scaled(frame: VideoFrame, width: int, height: int, geometry: Geometry) -> NDArray[np.uint8]:
    grows = width > frame.width or height > frame.height
    same = (width, height) == (frame.width, frame.height)
    light = _light_of(frame, geometry)
    scaled = frame.reformat(
        format="rgb48le" if light else "rgb24",
        width=width,
        height=height,
        interpolation=(Interpolation.BICUBIC if grows or same else Interpolation.AREA)
        | Interpolation.BITEXACT
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT,
    )
    if light:
        wide = frame.color_primaries == _WIDE or (light != "sdr" and frame.color_primaries == 2)
        return _tone_mapped(np.asarray(scaled.to_ndarray(), np.uint16), light, wide=wide)
    return np.asarray(scaled.to_ndarray(), np.uint8)


def _light_of(frame: VideoFrame, geometry: Geometry) -> str:
    """Kind of light that a frame's codes stand for: pq, hlg, sdr of wide gamut; empty if usual."""
    if not geometry.as_shown:
        return ""
    usual = "sdr" if frame.color_primaries == _WIDE else ""
    return {16: "pq", 18: "hlg"}.get(frame.color_trc, usual)


def _tone_mapped(rgb: NDArray[np.uint16], light: str, *, wide: bool) -> NDArray[np.uint8]:
    """Map to SDR as `preprocess.frames.hdr`, plane by plane and without a table."""
    code = [rgb[..., n] / 65535 for n in range(3)]
    if light == "sdr":
        shone = [plane**DISPLAY_GAMMA for plane in code]
    else:
        nits = _hlg_nits(code) if light == "hlg" else [_pq_nits(plane) for plane in code]
        most = np.maximum.reduce(nits)
        gain = _shown_nits(most) / np.where(most > 0, most, 1)
        shone = [plane * gain / WHITE_NITS for plane in nits]
    rows = TO_BT709 if wide else ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    linear = [sum(w * plane for w, plane in zip(row, shone, strict=True)) for row in rows]
    shown = np.stack([np.clip(plane, 0, 1) for plane in linear], -1)
    return np.rint(np.exp(np.log(np.maximum(shown, 1e-30)) / DISPLAY_GAMMA) * 255).astype(np.uint8)


def _hlg_nits(code: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Light of an HLG signal on a display of the peak's brightness: BT.2100, table 5."""
    a, b, c = HLG_CONSTANTS
    scene = [np.where(e > 0.5, (b + np.exp((e - c) / a)) / 12, e * e / 3) for e in code]
    luminance = sum(w * plane for w, plane in zip(LUMA_2020, scene, strict=True))
    return [PEAK_NITS * np.power(luminance, HLG_GAMMA - 1) * plane for plane in scene]


def _pq_nits(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light of a PQ signal, ST 2084."""
    m1, m2, c1, c2, c3 = PQ_CONSTANTS
    root = np.power(code, 1 / m2)
    return 10000 * np.power(np.clip(root - c1, 0, None) / (c2 - c3 * root), 1 / m1)


def _shown_nits(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compress light by the cubic of BT.2390: tangent to the identity at the knee, flat above."""
    m1, m2, c1, c2, c3 = PQ_CONSTANTS
    power = (np.array([PEAK_NITS, WHITE_NITS]) / 1e4) ** m1
    peak, white = ((c1 + c2 * power) / (1 + c3 * power)) ** m2
    powers = (np.minimum(nits, PEAK_NITS) / 1e4) ** m1
    signal = ((c1 + c2 * powers) / (1 + c3 * powers)) ** m2 / peak
    most = white / peak
    knee = (3 * most - 1) / 2
    t = (signal - knee) / (1 - knee)
    cubic = knee + (1 - knee) * t + (3 * (most - knee) - 2 * (1 - knee)) * t**2
    cubic += ((1 - knee) - 2 * (most - knee)) * t**3
    return np.where(t > 0, _pq_nits(np.clip(cubic, 0, 1) * peak), nits)


def _middle(pixels: NDArray[np.uint8], size: FrameSize) -> NDArray[np.uint8]:
    """Cut to the middle, or pad to it with black."""
    height, width = pixels.shape[:2]
    rows, columns = max(0, size.height - height), max(0, size.width - width)
    # A frame that lacks one pixel more at one side has it at the end; one too many, too.
    around = ((-(-rows // 2), rows // 2), (-(-columns // 2), columns // 2), (0, 0))
    filled = np.pad(pixels, around)
    top, left = (filled.shape[0] - size.height) // 2, (filled.shape[1] - size.width) // 2
    return filled[top : top + size.height, left : left + size.width]


def _axes(frame: VideoFrame, geometry: Geometry) -> Matrix:
    """The frame's display matrix to the nearest quarter turn: one number of each row is zero."""
    if geometry.as_shown:
        (a, c), (b, d) = display_matrix(frame)
    else:  # only turned, counter-clockwise
        (a, c), (b, d) = {
            0: ((1, 0), (0, 1)),
            90: ((0, 1), (-1, 0)),
            180: ((-1, 0), (0, -1)),
            270: ((0, -1), (1, 0)),
        }[round(frame.rotation / 90) * 90 % 360]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (a, 0), (0, d)
    return (0, c), (b, 0)


def _upright(pixels: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """Show each pixel (height, width, 3) where the matrix puts it."""
    (a, c), (b, d) = matrix
    y, x = np.indices(pixels.shape[:2])
    to_x, to_y = (
        (p > 0) * x - (p < 0) * x + (q > 0) * y - (q < 0) * y for p, q in ((a, c), (b, d))
    )
    if not (a or d or b or c):
        return pixels
    shape = pixels.shape[:2] if a or d else pixels.shape[1::-1]
    upright = np.empty((*shape, 3), np.uint8)
    upright[to_y - to_y.min(), to_x - to_x.min()] = pixels
    return upright
