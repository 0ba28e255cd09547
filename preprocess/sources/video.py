"""A video file, read by FFmpeg."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from preprocess.decode import decode
from preprocess.geometry import Geometry
from preprocess.media import is_shown, message, open_container, read_packets, video_stream
from preprocess.probe import probe
from preprocess.recheck import recheck_frames
from preprocess.videos import Found, Reject, Times, printable
from shared.paths import Location

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
