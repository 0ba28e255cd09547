"""Decode only the packets that wanted frames depend on.

All packets are read once to learn how many frames there are and in which order they are shown.
Then two kinds are left out: whole groups of pictures that hold no wanted frame, with what follows
the last wanted one of a group; and pictures to which no other refers. Where a file's bytes leave
any doubt about that, there are no `Dependencies`, and the caller decodes everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from preprocess.frames.area import FrameFormat
from preprocess.frames.geometry import display_matrix
from preprocess.sources.bitstream import LeadingPictures, Picture, PictureReader
from preprocess.sources.clock import MAX_REORDERED
from preprocess.sources.media import (
    ContainerCrop,
    PixelAspect,
    collect_ffmpeg_errors,
    is_end,
    is_interlaced,
    make_strict,
    open_container,
    packet_damage,
    video_stream,
)
from shared.store.paths import Location

_INDEXED = ("mov", "matroska")
"""Containers that can go to a key frame by an index."""

_FAR_PACKETS = 200
"""Packets that are left out at once from which on a jump is quicker than reading them."""


class DoubtError(Exception):
    """Frames do not come out as the packets promise; decode everything instead."""


@dataclass(frozen=True)
class Selection:
    """Packets to decode.

    Attributes:
        packets: their positions in decoding order, ascending.
        fresh: those of them, key frames, at which the decoder begins afresh.
    """

    packets: NDArray[np.intp]
    fresh: frozenset[int]


@dataclass(frozen=True)
class Dependencies:
    """Order and dependencies of a video's packets; arrays have shape (packets,), decoding order.

    Attributes:
        pts: time of each frame, distinct, int64.
        sizes: bytes of each packet, int64.
        ranks: index of each frame in the order in which frames are shown.
        referenced: other frames may depend on it.
        keys: positions of the key frames at which a decoder may begin, ascending; 0 is one.
    """

    pts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    ranks: NDArray[np.intp]
    referenced: NDArray[np.bool_]
    keys: NDArray[np.intp]

    def select(self, wanted: Sequence[int]) -> Selection:
        """Choose the packets that frames depend on, and the first one, which all videos begin with.

        A frame depends on the referenced ones between its group's key frame and itself. If it is
        shown before that key frame it may depend on the group before, too.

        Args:
            wanted: ascending indices of frames in the order in which they are shown.
        """
        positions = np.argsort(self.ranks)[np.asarray(wanted)]
        groups = np.searchsorted(self.keys, positions, side="right") - 1
        leads = self.pts[positions] < self.pts[self.keys[groups]]
        last: dict[int, int] = {}  # of each group, its last position that is needed
        for group, position in zip(groups.tolist(), positions.tolist(), strict=True):
            last[group] = max(last.get(group, 0), position)
        joined = set(groups[leads].tolist())
        chosen = np.zeros(len(self.pts), np.bool_)
        chosen[0] = True
        for group in sorted(last.keys() | {group - 1 for group in joined}):
            start = self.keys[group]
            end = self.keys[group + 1] - 1 if group + 1 in joined else last[group]
            part = slice(start, end + 1)
            own = self.referenced[part].copy()
            if group not in joined:  # what leads it is lost, and nothing else depends on that
                own &= self.pts[part] >= self.pts[start]
            chosen[part] |= own
            chosen[start] = True
        chosen[positions] = True
        fresh = frozenset(
            int(key)
            for group, key in enumerate(self.keys)
            if key and chosen[key] and group not in joined
        )
        return Selection(np.flatnonzero(chosen), fresh)


@lru_cache(maxsize=1)
def read_dependencies(path: Location, version: tuple[float, int]) -> Dependencies | None:
    """Read a video's packets; None if frames may depend on more than is known, or for damage.

    Args:
        path: of the file.
        version: anything that changes with the file's content.
    """
    packets: list[tuple[int, int, bool, Picture]] | None = None
    with collect_ffmpeg_errors() as errors, open_container(path) as container:
        stream = video_stream(container)
        if stream is not None and not is_interlaced(stream):
            packets = _read_packets(container, stream)
            delay = MAX_REORDERED if stream.codec_context.has_b_frames else 0
    return _ordered(packets, delay) if packets and not errors else None


def _read_packets(
    container: InputContainer, stream: VideoStream
) -> list[tuple[int, int, bool, Picture]] | None:
    """Time and size of every packet, whether a decoder may begin at it, picture; None in doubt."""
    name, extradata = stream.codec_context.codec.name, stream.codec_context.extradata
    leading, reader = LeadingPictures(name, extradata), PictureReader(name, extradata)
    found: list[tuple[int, int, bool, Picture]] = []
    parameters: set[bytes] = set()
    for packet in container.demux(stream):
        if is_end(packet):
            break
        if not packet.size or packet.pts is None or packet.is_discard or leading.lost(packet):
            return None
        picture = reader.read(bytes(packet))
        if picture is None or packet_damage(packet, stream):
            return None
        key = packet.is_keyframe and picture.restarts
        if key or picture.parameters:
            parameters.add(picture.parameters)
        if len(parameters) > 1:  # a packet that is left out could change them
            return None
        found.append((packet.pts, packet.size, key, picture))
    return found


def _ordered(packets: Sequence[tuple[int, int, bool, Picture]], delay: int) -> Dependencies | None:
    """Arrays of packets, unless their times are not those of frames in the order shown.

    Args:
        packets: time and size of each, whether a decoder may begin at it, its picture.
        delay: frames that the decoder may hold back to show them in order.
    """
    times, lengths, key_flags, pictures = zip(*packets, strict=True)
    pts, is_key = np.array(times, np.int64), np.array(key_flags)
    ranks = np.empty(len(pts), np.intp)
    ranks[np.argsort(pts)] = places = np.arange(len(pts))
    latest = np.maximum.accumulate(pts)
    if not (
        is_key[0]
        and ranks[0] == 0
        and len(np.unique(pts)) == len(pts)
        and (places - ranks).max() <= delay
        and (latest == pts)[is_key].all()  # what comes before a key frame is shown before it
        # Some containers state times in decoding order, which are not those of the frames.
        and (delay == 0 or (ranks != places).any())
    ):
        return None
    layers = np.array([picture.layer for picture in pictures])
    referenced = np.array([picture.is_referenced for picture in pictures])
    return Dependencies(
        pts=pts,
        sizes=np.array(lengths, np.int64),
        ranks=ranks,
        referenced=referenced | (layers < layers.max()),
        keys=np.flatnonzero(is_key),
    )


def decode_selected(
    path: Location, known: Dependencies, wanted: Sequence[int], selection: Selection
) -> Iterator[tuple[int, VideoFrame, Fraction]]:
    """Decode wanted frames: index of a frame, the frame, and the aspect of its pixels.

    Args:
        path: of the file.
        known: of the same file.
        wanted: ascending indices.
        selection: packets that the wanted frames depend on.

    Raises:
        DoubtError: the decoder reports damage, or frames differ from what packets promise.
    """
    with open_container(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise DoubtError
        decoder = _SelectiveDecoder(container, stream, known, selection)
        crop = ContainerCrop(container, stream)
        due = iter(wanted)
        following = next(due, None)
        for index, frame in decoder:
            if following is not None and index > following:
                raise DoubtError
            if index == following:
                yield index, crop(frame), decoder.pixel_aspect(frame)
                following = next(due, None)
    if following is not None:
        raise DoubtError


class _SelectiveDecoder:
    """Decodes selected packets strictly; frames are known by their times. Iterate once."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        known: Dependencies,
        selection: Selection,
    ) -> None:
        make_strict(stream)
        self._container, self._stream, self._context = container, stream, stream.codec_context
        self._known, self._selection = known, selection
        self._can_jump = container.format.name.split(",")[0] in _INDEXED
        self._packets, self._following = container.demux(stream), 0
        chosen = selection.packets
        times, ranks = known.pts[chosen].tolist(), known.ranks[chosen].tolist()
        self._indices: dict[int | None, int] = dict(zip(times, ranks, strict=True))
        self._aspects = PixelAspect(stream)
        self._form: tuple[Any, ...] | None = None
        self._latest = -1
        self._restarts_at: int | None = 0
        """Index of the frame that must be next, and a key frame; None if any may be."""

    def __iter__(self) -> Iterator[tuple[int, VideoFrame]]:
        """Decode: indices, ascending, and frames; raises DoubtError."""
        frames: list[VideoFrame] = []
        for position in self._selection.packets.tolist():
            with collect_ffmpeg_errors() as errors:
                fresh = position in self._selection.fresh
                frames = self._context.decode(None) if fresh else []
                before = len(frames)
                if fresh:
                    self._context.flush_buffers()
                frames += self._context.decode(self._read(position))
            if errors:
                raise DoubtError
            yield from self._numbered(frames[:before])
            if fresh:
                self._restarts_at = int(self._known.ranks[position])
            yield from self._numbered(frames[before:])
        with collect_ffmpeg_errors() as errors:
            frames = self._context.decode(None)
        if errors:
            raise DoubtError
        yield from self._numbered(frames)

    def pixel_aspect(self, frame: VideoFrame) -> Fraction:
        """Aspect of a frame's pixels; raises DoubtError if it does not look like the first one."""
        form = FrameFormat.of(frame), frame.color_trc, frame.color_primaries, display_matrix(frame)
        self._form = self._form or form
        if form != self._form:
            raise DoubtError
        return self._aspects.value

    def _read(self, position: int) -> Packet:
        """Read the packet at a position, not before the one read last."""
        far = position - self._following > _FAR_PACKETS
        packet: Packet | None = None
        if self._can_jump and far and position in self._selection.fresh:
            self._container.seek(int(self._known.pts[position]), stream=self._stream)
            self._packets = self._container.demux(self._stream)
            packet = next(self._packets, None)
            found = np.flatnonzero(self._known.pts == (packet.pts if packet else None))
            self._following = int(found[0]) + 1 if found.size else position + 1
        while self._following <= position:
            packet, self._following = next(self._packets, None), self._following + 1
        stated = self._known.pts[position], self._known.sizes[position]
        if packet is None or (packet.pts, packet.size) != stated:
            raise DoubtError
        return packet

    def _numbered(self, frames: list[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
        if frames and self._aspects.change():
            raise DoubtError
        for frame in frames:
            index = self._indices.get(frame.pts, -1)
            if index <= self._latest or frame.is_corrupt:
                raise DoubtError
            if self._restarts_at is not None:
                is_key = frame.key_frame and frame.pict_type == PictureType.I
                if index != self._restarts_at or not is_key:
                    raise DoubtError
                self.pixel_aspect(frame)
            self._restarts_at, self._latest = None, index
            yield index, frame
