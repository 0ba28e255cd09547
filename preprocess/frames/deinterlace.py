"""Whole frames of interlaced ones, which hold two fields of different times, by FFmpeg's filters.

A filter makes a frame from that frame and its neighbours. Frames that do not call themselves
interlaced pass unchanged, and each frame states which of its fields is the first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from av.error import BlockingIOError as NothingYetError
from av.error import EOFError as EndError
from av.video.frame import VideoFrame

from preprocess.frames.filters import filter_graph
from shared.schema import DeinterlaceName


def deinterlaced(
    frames: Iterable[tuple[int, VideoFrame]], method: DeinterlaceName
) -> Iterator[tuple[int, VideoFrame]]:
    """Deinterlace frames, each of which keeps its index.

    Where indices leave a gap, a frame lacks a neighbour: the last frame before a gap and the first
    one behind it are left out.

    Args:
        frames: of one video with their indices, ascending.
        method: name of the filter.
    """
    weaver, following = None, 0
    for index, frame in frames:
        form = frame.width, frame.height, frame.format.name
        if weaver is None or index != following or form != weaver.form:
            if weaver is not None and index == following:
                yield from weaver.finish()
            weaver = _Weaver(frame, method, skips_first=index > following)
        following = index + 1
        yield from weaver.push(index, frame)
    if weaver is not None:
        yield from weaver.finish()


class _Weaver:
    """Deinterlaces frames of one format without a gap."""

    def __init__(self, frame: VideoFrame, method: DeinterlaceName, *, skips_first: bool) -> None:
        self.form = frame.width, frame.height, frame.format.name
        self._skips_first = skips_first
        self._indices: deque[int] = deque()
        weaving = "mode=send_frame:parity=auto:deint=interlaced"
        self._graph = filter_graph(frame, method, weaving)

    def push(self, index: int, frame: VideoFrame) -> Iterator[tuple[int, VideoFrame]]:
        """Give a frame; yields those that have both neighbours now."""
        self._indices.append(index)
        self._graph.push(frame)
        yield from self._pulled()

    def finish(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the last frame, which has no next one."""
        self._graph.push(None)
        yield from self._pulled()

    def _pulled(self) -> Iterator[tuple[int, VideoFrame]]:
        while self._indices:
            try:
                frame: Any = self._graph.pull()
            except (NothingYetError, EndError):
                return
            index = self._indices.popleft()
            if not self._skips_first:
                yield index, frame
            self._skips_first = False
