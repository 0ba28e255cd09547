"""A video file, read by FFmpeg."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from preprocess.frames.geometry import Geometry, refusal
from preprocess.records import Found, Probe, Reject, Times, printable
from preprocess.sources.decode import decode
from preprocess.sources.independent_decode import recheck_frames
from preprocess.sources.media import (
    CUT,
    complaints,
    cut_short,
    is_shown,
    message,
    open_container,
    packet_damage,
    read_packets,
    video_stream,
)
from shared.store.paths import Location

# MERGED: Look into a container without decoding: is it a video, how long, how large, is it whole.


def probe(path: Location, geometry: Geometry) -> Probe | str:
    """Read a video's packets, or say why it cannot be used.

    Args:
        path: of the file.
        geometry: how frames are to become squares.
    """
    try:
        container = None
        with complaints() as heard:
            container = open_container(path)
        if container is None:
            return f"cannot be opened as a video: {cut_short(path) or heard[0]}"
        with container:
            stream = video_stream(container)
            if stream is None:
                return "no video stream"
            return _look(path, container, stream, geometry)
    except Exception as error:  # one file's failure, of any kind, must not end the others
        return f"cannot be opened as a video: {message(error)}"


def _look(
    path: Location, container: InputContainer, stream: VideoStream, geometry: Geometry
) -> Probe | str:
    if stream.codec_context is None:
        return "no decoder for its codec"
    width, height = stream.codec_context.width, stream.codec_context.height
    unfit = _refuse_size(width, height, geometry)
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
    return Probe(frames, width, height, damage[0] if damage else "")


def _refuse_size(width: int, height: int, geometry: Geometry) -> str:
    # Rotation is known once a frame is decoded: refused here is what is unfit either way round.
    return refusal(width, height, geometry) and refusal(height, width, geometry)


__all__ = ["decode", "find", "probe", "recheck", "times"]

LONGEST_FRAME_SECONDS = 60
"""A damaged index, or a clock set anew, can let a frame last for days."""


def find(root: Path, files: Iterable[str]) -> Iterator[Found | Reject]:
    """Every file is a video, as far as the file system can tell."""
    for name in files:
        try:
            status = (root / name).stat()
        except OSError as error:
            reason = "a dangling link" if (root / name).is_symlink() else str(error.strerror)
            yield Reject(printable(name), reason, "discover")
            continue
        reason = _refusal(root / name, status)
        if reason:
            yield Reject(printable(name), reason, "discover")
        else:
            yield Found(name, status.st_size, status.st_mtime_ns)


def recheck(path: Location, geometry: Geometry) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Every frame, by another road."""
    if path.is_file():
        yield from recheck_frames(path, geometry)


def times(path: Location) -> Times | str:
    """When each frame is shown, read from packets without decoding.

    The n-th frame is shown at the n-th of the sorted times, also where a container (AVI) states
    them in the order of decoding: frames come out of the decoder in the order they are shown.
    """
    try:
        with open_container(path) as container:
            stream = video_stream(container)
            if stream is None:
                return "no video stream"
            packets = [
                (packet.pts, packet.duration or 0)
                for packet, _ in read_packets(path, container, stream)
                if is_shown(packet)
            ]
            rate, unit = stream.average_rate or stream.guessed_rate, stream.time_base
    except FFmpegError as error:
        return f"its times cannot be read: {message(error)}"
    stamps = sorted(pts for pts, _ in packets if pts is not None)
    if not packets:
        return "no frame in it"
    if unit and len(stamps) == len(packets) == len(set(stamps)):
        end = stamps[-1] + _last_duration(stamps, packets)
        return _plausible(Times(tuple(stamps), end, Fraction(unit)))
    if not rate:
        return "it states neither the times of its frames nor their rate"
    return _plausible(Times(tuple(range(len(packets))), len(packets), 1 / Fraction(rate)))


def _plausible(times: Times) -> Times | str:
    """The times, unless they would make thousands of clips of one still picture."""
    ends = (*times.shown[1:], times.end)
    lengths = [end - start for start, end in zip(times.shown, ends, strict=True)]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    seconds = float(lengths[longest] * times.unit)
    if seconds <= LONGEST_FRAME_SECONDS:
        return times
    return f"its times cannot be right: frame {longest} would be shown for {seconds:.0f} seconds"


def _last_duration(stamps: list[int], packets: list[tuple[int | None, int]]) -> int:
    """In units of the time base: as stated, or else the mean of the others."""
    stated = dict(packets)[stamps[-1]]
    return stated or round((stamps[-1] - stamps[0]) / max(1, len(stamps) - 1)) or 1


def _refusal(path: Path, status: os.stat_result) -> str:
    if stat.S_ISDIR(status.st_mode):
        return "a folder, not a file"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if not os.access(path, os.R_OK):
        return "no permission to read it"
    return "the file is empty" if status.st_size == 0 else ""
