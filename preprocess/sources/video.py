"""Video files, read by FFmpeg: find, probe and decode them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from preprocess.frames.deinterlace import deinterlaced
from preprocess.frames.geometry import FrameFitter, Geometry, displayed_width, refusal
from preprocess.frames.hdr import describe_colour
from preprocess.records import DecodeError, Found, Probe, Reject, Times, printable
from preprocess.sources.bitstream import LeadingPictures
from preprocess.sources.clock import Clock, Stamp
from preprocess.sources.dependencies import DoubtError, decode_selected, read_dependencies
from preprocess.sources.independent_decode import decode_independently
from preprocess.sources.media import (
    ASPECT_CHANGES,
    CUT,
    ContainerCrop,
    PixelAspect,
    collect_ffmpeg_errors,
    cut_short,
    is_end,
    is_shown,
    make_strict,
    message,
    open_container,
    packet_damage,
    packet_without_metadata,
    read_packets,
    remarks_on,
    video_stream,
)
from shared.store.paths import Location

__all__ = ["decode", "decode_independently", "find", "probe", "times"]

LONGEST_FRAME_SECONDS = 60
"""Longest duration of a frame; a damaged index can make it days."""

_METADATA_LOGGED = ("libdav1d",)
"""Decoders that decode a picture with broken metadata, and log an error as they do for damage."""

_UNREFERENCED = ("mmco: unref short failure", "Invalid data found when processing input")
"""Errors of H.264 where a picture drops one that was cut off: no pixel depends on them."""


def find(root: Path, files: Iterable[str]) -> Iterator[Found | Reject]:
    """Take every file that can be read for a video."""
    for name in files:
        try:
            status = (root / name).stat()
        except OSError as error:
            reason = "a dangling link" if (root / name).is_symlink() else str(error.strerror)
            yield Reject(printable(name), reason, "discover")
            continue
        reason = _unusable(root / name, status)
        if reason:
            yield Reject(printable(name), reason, "discover")
        else:
            yield Found(name, status.st_size, status.st_mtime_ns)


def _unusable(path: Path, status: os.stat_result) -> str:
    if stat.S_ISDIR(status.st_mode):
        return "a folder, not a file"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if not os.access(path, os.R_OK):
        return "no permission to read it"
    return "the file is empty" if status.st_size == 0 else ""


def probe(path: Location, geometry: Geometry) -> Probe | str:
    """Read a video's packets; returns a text, the reason, if it cannot be used.

    Args:
        path: of the file.
        geometry: of the stored frames.
    """
    try:
        container = None
        with collect_ffmpeg_errors() as errors:
            container = open_container(path)
        if container is None:
            return f"cannot be opened as a video: {cut_short(path) or errors[0]}"
        with container:
            stream = video_stream(container)
            if stream is None:
                return "no video stream"
            return _probe_stream(path, container, stream, geometry)
    except Exception as error:  # one file's failure, of any kind, must not end the others
        return f"cannot be opened as a video: {message(error)}"


def _probe_stream(
    path: Location, container: InputContainer, stream: VideoStream, geometry: Geometry
) -> Probe | str:
    if stream.codec_context is None:
        return "no decoder for its codec"
    part = ContainerCrop(container, stream)
    width, height = part.width, part.height
    if geometry.as_shown:
        width = displayed_width(width, PixelAspect(stream).value)
    # Rotation is known once a frame is decoded: refused here is what is unfit either way round.
    unfit = refusal(width, height, geometry) and refusal(height, width, geometry)
    if geometry.as_shown and geometry.hdr == "refuse":
        context = stream.codec_context
        hdr = describe_colour(context.color_trc, context.color_primaries)
        unfit = unfit or (hdr and f"{hdr}, and --hdr refuse was given")
    if unfit:
        return unfit
    frames, damage = 0, list[str]()
    for packet, lost in read_packets(path, container, stream):
        if packet.has_sidedata("encryption_info"):
            return "encrypted"
        damage += [reason for reason in (lost, packet_damage(packet, stream)) if reason]
        frames += is_shown(packet)
    damage.sort(key=lambda reason: not reason.startswith(CUT))
    if not frames:
        return damage[0] if damage else "no frame in it"
    found = damage[0] if damage else ""
    return Probe(frames, width, height, found, remarks=remarks_on(stream, geometry))


def times(path: Location) -> Times | str:
    """Read from packets, without decoding, when each frame is shown; see `Clock` for jumps.

    The n-th frame is shown at the n-th of the sorted times, even if a container (AVI) states them
    in the order of decoding: frames leave the decoder in the order in which they are shown.
    """
    try:
        with open_container(path) as container:
            stream = video_stream(container)
            if stream is None:
                return "no video stream"
            stamps = [_stamp(packet) for packet, _ in read_packets(path, container, stream)][:-1]
            clock = Clock.of(stamps, container, stream)
            rate, unit = stream.average_rate or stream.guessed_rate, stream.time_base
    except FFmpegError as error:
        return f"its times cannot be read: {message(error)}"
    shown = np.array([stamp.is_shown for stamp in stamps], bool)
    if not shown.any():
        return "no frame in it"
    if clock.times is not None and unit:
        order = np.flatnonzero(shown)[np.argsort(clock.times[shown])]
        starts: list[int] = clock.times[order].tolist()
        mean = round((starts[-1] - starts[0]) / max(1, len(starts) - 1)) or 1
        stated = stamps[order[-1]].duration
        last = stated if 0 < stated <= clock.longest_step else mean
        return _plausible(Times(tuple(starts), starts[-1] + last, Fraction(unit)))
    if not rate:
        return "it states neither the times of its frames nor their rate"
    count = int(shown.sum())
    return _plausible(Times(tuple(range(count)), count, 1 / Fraction(rate)))


def _stamp(packet: Packet) -> Stamp:
    return Stamp(packet.pts, packet.duration or 0, packet.is_keyframe, is_shown(packet))


def _plausible(times: Times) -> Times | str:
    """Refuse times that would make thousands of clips of one still picture."""
    ends = (*times.shown[1:], times.end)
    lengths = [end - start for start, end in zip(times.shown, ends, strict=True)]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    seconds = float(lengths[longest] * times.unit)
    if seconds <= LONGEST_FRAME_SECONDS:
        return times
    return f"its times cannot be right: frame {longest} would be shown for {seconds:.0f} seconds"


def decode(
    path: Location, wanted: range | list[int], geometry: Geometry, *, to_end: bool = False
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode the wanted frames of a video, in order, leaving out those that damage may touch.

    They are scaled by area averaging to shrink, bicubic to grow, and turned by the multiple of 90
    degrees that the file asks for. Memory does not grow with the length of the video.

    A frame is returned only if nothing that it may depend on is damaged or missing: after damage,
    frames begin again at the next key frame. Their indices are their places among all packets of
    the file, so that clips lie where they would lie in the undamaged video.

    Packets that no wanted frame depends on are not decoded, so that damage in their pixels is not
    found; where packets are missing, or show damage without being decoded, all are decoded.

    Args:
        path: the video file.
        wanted: ascending indices among the frames in the order in which they are shown.
        geometry: of the stored frames.
        to_end: look for damage in the whole file.

    Yields:
        Index and frame, uint8 RGB, shape (3, H, W).

    Raises:
        DecodeError: after the last frame, if any was missing or damage was found.
    """
    wanted, given = list(wanted), 0
    if not to_end:
        for index, square in _decode_selected(path, wanted, geometry):
            yield index, square
            given += 1
    if given < len(wanted):
        yield from decode_all(path, wanted[given:], geometry, to_end=to_end)


def _decode_selected(
    path: Location, wanted: list[int], geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode what wanted frames depend on; yields no frame, or not all, where that is in doubt."""
    if geometry.deinterlace != "off" or not wanted:  # a filter needs a frame's neighbours, too
        return
    paused = (video for video in _paused if video.goes_on_at(path, wanted[0], geometry))
    start = next((video.next_index for video in paused), 0)
    if len(wanted) > wanted[-1] - start:
        return
    known = read_dependencies(path, _version(path))
    if known is None or wanted[-1] >= len(known.pts):
        return
    selection = known.select(wanted)
    if len(selection.packets) > wanted[-1] - start:
        return
    fit = FrameFitter(geometry)
    try:
        for index, frame, aspect in decode_selected(path, known, wanted, selection):
            yield index, fit(frame, aspect)
    except (DoubtError, ValueError):  # decoding everything finds the reason
        return


def decode_all(
    path: Location, wanted: range | list[int], geometry: Geometry, *, to_end: bool = False
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode as `decode`, but every packet up to the last wanted frame."""
    due = iter(wanted)
    following = next(due, None)
    if following is None:
        return
    video = _resume(path, following, geometry) or _Decoding(path, geometry)
    pauses = False
    try:
        fitter, clean = FrameFitter(geometry), video.clean
        for index, frame in video.frames:
            while following is not None and following < index:  # it was lost in a gap
                following = next(due, None)
            if index == following:
                yield index, _fitted(fitter, frame, clean)
                following = next(due, None)
            # Once there is damage, usable frames are counted in the whole video.
            if following is None and not (to_end or clean.breaks):
                video.next_index, pauses = index + 1, True
                return
    finally:
        if pauses:
            _paused.append(video)
        else:
            video.container.close()
    if clean.breaks:
        raise clean.error(clean.description())
    if following is not None:
        raise DecodeError(
            f"the video ends after {clean.count} frames, fewer than its packets", clean.count
        )


class _Decoding:
    """A video that is being decoded from its start."""

    def __init__(self, path: Location, geometry: Geometry) -> None:
        self.path, self.version, self.next_index = path, _version(path), 0
        self.filter = geometry.deinterlace
        self.container = open_container(path)
        stream = video_stream(self.container)
        if stream is None:
            self.container.close()
            raise DecodeError("no video stream", 0)
        self.clean = CleanFrames(path, self.container, stream)
        frames = iter(self.clean)
        self.frames = frames if self.filter == "off" else deinterlaced(frames, self.filter)

    def goes_on_at(self, path: Location, wanted: int, geometry: Geometry) -> bool:
        """Test whether this is the same video, at or before the first wanted frame.

        A file that has changed since is another video.
        """
        same = (self.path, self.version, self.filter) == (
            path,
            _version(path),
            geometry.deinterlace,
        )
        return same and self.next_index <= wanted


_paused: list[_Decoding] = []
"""Decoding that may go on later; at most one for each thread, and only without damage so far. The
clips of a video may lie in several partitions: a process that makes one partition after another
decodes no frame twice."""


def _resume(path: Location, wanted: int, geometry: Geometry) -> _Decoding | None:
    """Take up the decoding of a video that paused before the wanted frame; closes any other."""
    while _paused:
        video = _paused.pop()
        if video.goes_on_at(path, wanted, geometry):
            return video
        video.container.close()
    return None


def _version(path: Location) -> tuple[float, int]:
    status = path.stat()
    return status.st_mtime, status.st_size


class CleanFrames:
    """Frames of a video that no damage touches, with their indices; iterate once.

    Attributes:
        count: frames returned so far.
        breaks: index of the first frame that is lost in each gap, and the reason.
        restarts: index of the first frame after each gap. It may be the next index: packets that
            are missing altogether skip none.
        pixel_aspect: width of a pixel divided by its height; known with the first frame.
    """

    def __init__(self, path: Location, container: InputContainer, stream: VideoStream) -> None:
        self.count = 0
        self.breaks: list[tuple[int, str]] = []
        self.restarts: list[int] = []
        self.pixel_aspect = Fraction(1)
        self._path, self._container, self._stream = path, container, stream
        context = stream.codec_context
        self._aspects, self._crop = PixelAspect(stream), ContainerCrop(container, stream)
        self._leading = LeadingPictures(context.codec.name, context.extradata)
        self._index = 0
        self._sound, self._usable = True, True
        self._restarting = False
        self._restart_pts: int | None = None
        self._opening = self._excused = False
        self._repeats: set[int] = set()
        self._shown: VideoFrame | None = None
        make_strict(stream)

    def __iter__(self) -> Iterator[tuple[int, VideoFrame]]:
        """Decode: indices, ascending, and frames."""
        packets = read_packets(self._path, self._container, self._stream)
        for position, (packet, lost) in enumerate(packets):
            if lost:
                self._break(lost)
            if position == 0 and not packet.is_keyframe:
                self._break("it does not begin with a key frame")
            damage = packet_damage(packet, self._stream)
            if damage:
                self._break(damage)
            elif self._sound or self._restart(packet, position):
                yield from self._frames(packet, position)

    def description(self) -> str:
        """Damage of the video in one line; empty if there is none."""
        cut = [reason for _, reason in self.breaks if reason.startswith(CUT)]
        damage = [
            f"{reason} at frame {at}" if reason.startswith(ASPECT_CHANGES)
            else f"damaged after frame {at}: {reason}"
            for at, reason in self.breaks
        ]  # fmt: skip
        damage = [line for line in damage if CUT not in line]
        more = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
        return "; ".join(cut[:1] + [line + more for line in damage[:1]])

    def error(self, reason: str) -> DecodeError:
        """Make the error of the damage found so far."""
        return DecodeError(reason, self.count, self.restarts, [at for at, _ in self.breaks])

    @cached_property
    def _order(self) -> FrameOrder:
        return FrameOrder(self._path)

    def _break(self, reason: str) -> None:
        self._sound, self._shown = False, None
        self._repeats.clear()
        self.breaks.append((self._index, reason))

    def _restart(self, packet: Packet, position: int) -> bool:
        """Begin afresh at a packet, if that is possible."""
        if not (self._usable and packet.is_keyframe and packet.size and is_shown(packet)):
            return False
        index = self._order.index(position)
        if index < self._index:
            return False
        # Frames that the decoder still holds are shown after the damage, or may be.
        self._stream.codec_context.flush_buffers()
        self._sound = self._restarting = True
        self._index, self._restart_pts = index, packet.pts if self._order.timed else None
        return True

    def _frames(self, packet: Packet, position: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decode a packet: the frames that it completes, and those that are shown again."""
        if not packet.size and is_shown(packet):
            self._repeats.add(self._order.index(position))
            yield from self._shown_again()
            return
        if packet.is_keyframe:
            first = position == 0 or self._restarting
            self._opening, self._excused = self._leading.loses_leads(packet, first), False
        for frame in self._decode(packet):
            yield self._number(frame)
            yield from self._shown_again()

    def _shown_again(self) -> Iterator[tuple[int, VideoFrame]]:
        while self._index in self._repeats and self._shown:
            self._repeats.remove(self._index)
            yield self._number(self._shown)

    def _number(self, frame: VideoFrame) -> tuple[int, VideoFrame]:
        self._index, self.count, self._shown = self._index + 1, self.count + 1, frame
        return self._index - 1, frame

    def _decode(self, packet: Packet) -> list[VideoFrame]:
        if self._leads(packet):
            return []
        if self._stream.codec_context.codec.name in _METADATA_LOGGED:
            packet = packet_without_metadata(packet, self._stream) or packet
        frames, errors = self._attempt(packet)
        refused = frames is None or self._stream.codec_context.codec.name == "mjpeg"
        if errors and refused and (plain := packet_without_metadata(packet, self._stream)):
            # Broken metadata is no damage. What was refused, or stands alone, is decoded again.
            frames, errors = self._attempt(plain)
        if errors and self._opening and all(error in _UNREFERENCED for error in errors):
            self._excused, errors = True, []
        if errors:
            self._break(errors[0])
            return []
        if frames and (change := self._aspects.change()):
            self._break(change)
            self._usable = False
            return []
        self.pixel_aspect = self._aspects.value
        return [self._crop(frame) for frame in frames or () if self._accept(frame)]

    def _attempt(self, packet: Packet) -> tuple[list[VideoFrame] | None, list[str]]:
        """Frames that the decoder gives out, None if it refuses the packet; and what it logs."""
        frames: list[VideoFrame] | None = None
        with collect_ffmpeg_errors() as errors:
            frames = self._stream.codec_context.decode(None if is_end(packet) else packet)
        return frames, errors

    def _leads(self, packet: Packet) -> bool:
        """Test whether a packet after a key frame is shown before it: it may use lost frames."""
        start = self._restart_pts
        if start is None or packet.is_keyframe:
            return False
        leads = packet.pts is not None and packet.pts < start
        self._restart_pts = start if leads else None
        return leads

    def _accept(self, frame: VideoFrame) -> bool:
        if self._sound and frame.is_corrupt:
            self._break("a frame is damaged")
        # An excused error may have swallowed the frame that was due.
        if self._sound and self._excused and frame.pts != self._order.pts(self._index):
            self._break("a frame is missing")
        if self._sound and self._restarting:
            # Some streams call the start of a gradual refresh a key frame.
            self._sound = frame.key_frame and frame.pict_type == PictureType.I
            self._restarting = False
            self.restarts += [self._index] if self._sound else []
        return self._sound


def _fitted(fitter: FrameFitter, frame: VideoFrame, clean: CleanFrames) -> NDArray[np.uint8]:
    try:
        return fitter(frame, clean.pixel_aspect)
    except ValueError as error:  # frames may change their size until they cannot be fitted
        raise clean.error(message(error)) from None


class FrameOrder:
    """Order in which the packets' frames are shown, in a video too damaged to count frames.

    Attributes:
        timed: the order follows from the packets' times; else it is that of the packets.
        frames: number of frames that are shown.
    """

    def __init__(self, path: Location) -> None:
        with open_container(path) as container:
            stream = video_stream(container)
            assert stream is not None
            stamps, self._damage = [], dict[int, str]()
            for position, (packet, lost) in enumerate(read_packets(path, container, stream)):
                if damage := lost or packet_damage(packet, stream):
                    self._damage[position] = damage
                stamps += [] if is_end(packet) else [_stamp(packet)]
            times = Clock.of(stamps, container, stream).times
        self.timed = times is not None
        order = np.arange(len(stamps)) if times is None else np.argsort(times)
        shown = np.array([stamp.is_shown for stamp in stamps], np.int64)
        self.frames = int(shown.sum())
        self._indices = np.empty_like(order)
        self._indices[order] = np.cumsum(shown[order]) - shown[order]
        self._times = {int(self._indices[n]): s.pts for n, s in enumerate(stamps) if s.is_shown}
        self._positions = {int(self._indices[n]): n for n, s in enumerate(stamps) if s.is_shown}

    def index(self, position: int) -> int:
        """Index among the shown frames of the packet at a position in decoding order."""
        return int(self._indices[position])

    def pts(self, index: int) -> int | None:
        """Time stamp of a shown frame, as its packet states it."""
        return self._times.get(index)

    def damage_at(self, index: int) -> str:
        """Damage of packets up to a shown frame's, or of any for an index behind the last frame.

        It is what shows without decoding; empty if there is none.
        """
        first = min(self._damage, default=None)
        if first is None or first > self._positions.get(index, first):
            return ""
        return self._damage[first]
