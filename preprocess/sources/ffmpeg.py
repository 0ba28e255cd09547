"""Video files, decoded and filtered by an ffmpeg program: its filters, its hardware decoders.

Files are found, probed and timed as those of `preprocess.sources.video`. The program's frames come
through a pipe in their own pixel format and are converted as that module's are; its filter
`showinfo` states their times and colours in the log, where they stand before any error of a packet
that is decoded later. So frames that are logged before the first error depend on nothing damaged.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from preprocess.frames.filters import filter_graph
from preprocess.frames.geometry import FrameFitter, Geometry, Orientation
from preprocess.records import DecodeError
from preprocess.sources import independent_decode
from preprocess.sources.media import (
    ContainerCrop,
    collect_ffmpeg_errors,
    message,
    open_container,
    strictness,
    video_stream,
)
from preprocess.sources.video import FrameOrder, find, probe, times
from shared.errors import UserError
from shared.schema import CodecOptions
from shared.store.paths import Location

__all__ = ["check", "decode", "decode_independently", "find", "probe", "times"]

_LOGGED = re.compile(r"^(?:\[(?P<by>[^\]]*)\] )*\[(?P<level>\w+)\] (?P<text>.*)$")
_SHOWN = "showinfo@frames"
_FRAME = re.compile(r"n: *\d+ pts: *(?P<pts>\S+) .* fmt:\S+ cl:(?P<chroma>\S+) sar:(?P<sar>\S+) ")
_UNIT = re.compile(r"config in time_base: (?P<unit>\d+/[1-9]\d*)")
_COLOURS = re.compile(
    r"color_range:(?P<range>\S+) color_space:(?P<space>\S+)"
    r" color_primaries:(?P<primaries>\S+) color_trc:(?P<transfer>\S+)"
)
_DEPENDS_ON_FRAMES = ("configure", "reinitializing")
"""Words of errors that another size of frames may not give."""


def check(options: CodecOptions, root: Location) -> None:
    """Raise a UserError if there is no program, or it has no such filter or hardware."""
    if not isinstance(root, Path):
        raise UserError(
            f"--decoder ffmpeg reads files on a disk only: copy {root} there and name the copy with"
            " --root DIR, or use --decoder pyav"
        )
    program = binary()
    if find_spec("ffmpeg") is None:
        raise UserError("--decoder ffmpeg: ffmpeg-python is missing; install dvdm's extra `ffmpeg`")
    if (name := options.hwaccel) is not None:
        known = _run(program, ["-hwaccels"]).stdout.split("\n")[1:]
        known = [line.strip() for line in known if line.strip()]
        if name not in known:
            listed = ", ".join(known) or "none"
            raise UserError(f"--hwaccel {name}: {program} was built with {listed}")
        tried = _run(program, ["-init_hw_device", name, *_ONE_BLACK_FRAME])
        if tried.returncode:
            raise UserError(
                f"--hwaccel {name}: this machine does not have it, or not its driver:"
                f" {_first_line(tried.stderr)}; leave --hwaccel out to decode on the CPU"
            )
    if (chain := options.filter) is not None:
        tried = _run(program, [*_ONE_BLACK_FRAME[:-3], "-vf", chain, *_ONE_BLACK_FRAME[-3:]])
        if tried.returncode and not any(word in tried.stderr for word in _DEPENDS_ON_FRAMES):
            raise UserError(
                f"--filter {chain}: {program} does not take it: {_first_line(tried.stderr)}; give a"
                " chain of its filters as for -vf, as in hqdn3d=4,eq=gamma=1.2"
            )


_ONE_BLACK_FRAME = ["-f", "lavfi", "-i", "color=s=1920x1080", "-frames:v", "1", "-f", "null", "-"]


def _run(program: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [program, "-hide_banner", "-v", "error", "-nostdin", *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _first_line(text: str) -> str:
    lines = [re.sub(r"^(\[[^\]]*\] )+", "", line).strip() for line in text.splitlines()]
    return next(filter(None, lines), "it states no reason")


def binary() -> str:
    """Program to use: the one that FFMPEG names, else the system's, else imageio-ffmpeg's.

    Raises:
        UserError: there is none.
    """
    if named := os.environ.get("FFMPEG"):
        if found := shutil.which(named):
            return found
        raise UserError(f"FFMPEG={named}: no such program; name an ffmpeg, or leave FFMPEG unset")
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise UserError(
            "--decoder ffmpeg: no program ffmpeg is there; install one, name it by FFMPEG=path, or"
            " install dvdm's extra `ffmpeg`"
        ) from None


def decode(
    path: Location, wanted: range | list[int], geometry: Geometry, *, to_end: bool = False
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode the wanted frames of a video as `preprocess.sources.video.decode` does.

    Frames end at the first damage: a filter may mix what follows with damaged frames.

    Raises:
        DecodeError: after the last frame, if any was missing or damage was found. It says that no
            frame is to be trusted where the program, or its filter, did not give one frame for each
            of the file.
    """
    due, fit = iter(wanted), FrameFitter(geometry)
    following = next(due, None)
    if following is None:
        return
    first = _first_frame(path)
    orientation = Orientation.of(first, mirrors=geometry.as_shown) if first else None
    frames = _Frames(path, geometry)
    try:
        for index, frame, aspect in frames:
            if index == following:
                try:
                    picture = fit(frame, aspect, orientation)
                except ValueError as error:
                    raise DecodeError(message(error), index) from None
                yield index, picture
                following = next(due, None)
            if following is None and not to_end and frames.timed:
                return
    finally:
        frames.close()
    if following is not None:
        raise DecodeError(f"the video ends after {frames.count} frames", frames.count)


def decode_independently(
    path: Location, geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode by PyAV; where filters or hardware shape frames, by the program, scaled otherwise."""
    if not (geometry.filter or geometry.hwaccel):
        yield from independent_decode.decode_independently(path, geometry)
        return
    if not path.is_file():
        return
    frames, first = _Frames(path, geometry), _first_frame(path)
    try:
        for index, frame, aspect in frames:
            yield index, independent_decode.fit_frame(frame, aspect, geometry, turned_as=first)
    except DecodeError:
        return  # extraction reports damage; the clips before it must still agree
    finally:
        frames.close()


def _first_frame(path: Location) -> VideoFrame | None:
    """First frame by PyAV, whose display matrix holds for all; None if it cannot be decoded."""
    with collect_ffmpeg_errors(), open_container(path) as container:
        stream = video_stream(container)
        return next(container.decode(stream), None) if stream else None
    return None


@dataclass(frozen=True)
class _Shown:
    """Lines of `showinfo` about one frame; the time in seconds, colours in its own words."""

    time: Fraction | None
    aspect: Fraction
    colours: tuple[str, ...]


class _Frames:
    """Frames of a file that nothing damaged touches, from a program; iterate once, then close.

    Attributes:
        order: of the file's frames, as its packets state it.
        timed: each frame can be told by its time; else their number alone is compared, at the end.
        count: frames returned so far.
    """

    def __init__(self, path: Location, geometry: Geometry) -> None:
        self.order, self.count = FrameOrder(path), 0
        with open_container(path) as container:  # AVI files have no times of frames shown late
            self.timed = self.order.timed and container.format.name != "avi"
            stream = video_stream(container)
            if stream is None:
                raise DecodeError("no video stream", 0)
            self._unit = Fraction(stream.time_base or 1)
            self._crop = ContainerCrop(container, stream)
            command = _command(path, stream, geometry)
        self._filter = geometry.filter
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._log: Queue[_Shown | str | None] = Queue()
        self._reader = Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self._graph: tuple[Any, Graph] | None = None

    def close(self) -> None:
        """End the program."""
        assert self._process.stdout and self._process.stderr
        self._process.kill()
        self._process.stdout.close()  # ends a program that a script started, too
        self._reader.join()
        self._process.stderr.close()
        self._process.wait()

    def __iter__(self) -> Iterator[tuple[int, VideoFrame, Fraction]]:
        """Index, frame and aspect of its pixels; raises DecodeError."""
        raw = self._raw_frames()
        for index in count():
            damage = self.order.damage_at(index)
            if damage:
                raise self._damaged(damage)
            said = self._log.get()
            if isinstance(said, str):
                raise self._damaged(f"ffmpeg: {said}")
            frame = next(raw, None) if said else None
            if said is None or frame is None:
                break
            self._check_time(index, said)
            self.count += 1
            shown = self._coloured(frame, said.colours)
            # Programs before 7.1 give out whole frames; a filter's may be of any size.
            yield index, shown if self._filter else self._crop(shown), said.aspect
        self._check_end()

    def _damaged(self, reason: str) -> DecodeError:
        at = self.count
        text = reason if not at else f"damaged after frame {at}: {reason}"
        return DecodeError(text, at, breaks=[at])

    def _check_time(self, index: int, said: _Shown) -> None:
        """Raise a DecodeError if a frame is not the one that the file has in its place."""
        stated = self.order.pts(index)
        if index >= self.order.frames:
            raise self._unlike(f"more come out than its {self.order.frames}")
        if self.timed and (said.time is None or said.time != (stated or 0) * self._unit):
            raise self._unlike(
                f"frame {index} comes at {_seconds(said.time)}, the file's at"
                f" {_seconds((stated or 0) * self._unit)}"
            )

    def _check_end(self) -> None:
        status = self._process.wait()
        if status:
            reason = f"ffmpeg ended with status {status} after {self.count} frames"
            raise DecodeError(reason, self.count, trusted=False)
        if self.count != self.order.frames:
            raise self._unlike(f"{self.count} frames come out, the file has {self.order.frames}")

    def _unlike(self, difference: str) -> DecodeError:
        by = f"the filter {self._filter}" if self._filter else "ffmpeg"
        remedy = "a filter that keeps number and times" if self._filter else "--decoder pyav"
        reason = f"{by} must give one frame for each of the file: {difference}; use {remedy}"
        return DecodeError(reason, self.count, trusted=False)

    def _raw_frames(self) -> Iterator[VideoFrame]:
        """Frames as they come through the pipe, without their colours and times."""
        assert self._process.stdout
        try:
            with av.open(self._process.stdout, "r", format="nut") as container:
                yield from container.decode(video=0)
        except FFmpegError:
            return  # the pipe ended; its log or its status has the reason

    def _coloured(self, frame: VideoFrame, colours: tuple[str, ...]) -> VideoFrame:
        """Frame with the colours and place of chroma that the program states."""
        form = frame.width, frame.height, frame.format.name, colours
        if self._graph is None or self._graph[0] != form:
            self._graph = form, _colouring(frame, colours)
        graph = self._graph[1]
        graph.push(frame)
        coloured = graph.pull()
        assert isinstance(coloured, VideoFrame)
        return coloured

    def _read_log(self) -> None:
        """Put what the log states about frames, and its errors, into the queue; None at the end."""
        assert self._process.stderr
        about: re.Match[str] | None = None
        unit = Fraction(1)
        for line in self._process.stderr:
            logged = _LOGGED.match(line.decode(errors="replace").strip())
            if logged is None:
                continue
            if logged["level"] in ("error", "fatal", "panic"):
                self._log.put(logged["text"].rstrip("."))
            elif (logged["by"] or "").startswith(_SHOWN):
                if said := _UNIT.match(logged["text"]):
                    unit = Fraction(said["unit"])
                about = _FRAME.match(logged["text"]) or about
                colours = _COLOURS.match(logged["text"])
                if about and colours:
                    self._log.put(_shown(about, colours, unit))
                    about = None
        self._log.put(None)


def _command(path: Location, stream: VideoStream, geometry: Geometry) -> list[str]:
    """Command line that writes every frame in its own pixel format, numbered, to a pipe."""
    import ffmpeg

    strict = strictness(stream.codec_context.codec.name)
    given = {"hwaccel": geometry.hwaccel} if geometry.hwaccel else {}
    # Times in the pipe must ascend: numbers take their place, and showinfo states them.
    chain = f"{_SHOWN}=checksum=0,settb=1/25,setpts=N"
    source = ffmpeg.input(
        str(path.absolute()), err_detect=strict, threads=1, noautorotate=None, **given
    )
    written = source.output(
        "pipe:1",
        map=f"0:{stream.index}",
        vf=f"{geometry.filter},{chain}" if geometry.filter else chain,
        fps_mode="passthrough",
        enc_time_base="1/25",
        vcodec="rawvideo",
        format="nut",
    )
    quiet = ("-hide_banner", "-nostats", "-nostdin", "-v", "level+info", "-copyts")
    command = written.global_args(*quiet, "-filter_threads", "1").compile(cmd=binary())
    return [str(word) for word in command]


def _seconds(time: Fraction | None) -> str:
    return "no time" if time is None else f"{float(time):g} s"


def _shown(about: re.Match[str], colours: re.Match[str], unit: Fraction) -> _Shown:
    width, height = map(int, about["sar"].split("/"))
    return _Shown(
        int(about["pts"]) * unit if re.fullmatch(r"-?\d+", about["pts"]) else None,
        Fraction(width, height) if width and height else Fraction(1),
        (about["chroma"], *colours.groups()),
    )


def _colouring(frame: VideoFrame, colours: tuple[str, ...]) -> Graph:
    """Graph that states colours, by the names that `showinfo` has for them."""
    chroma, span, space, primaries, transfer = colours
    stated = (
        f"range={span}:colorspace={space}:color_primaries={primaries}:color_trc={transfer}"
        f":chroma_location={chroma}"
    )
    return filter_graph(frame, "setparams", stated)
