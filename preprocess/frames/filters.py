"""FFmpeg's filters on single frames."""

from __future__ import annotations

from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame


def filter_graph(frame: VideoFrame, name: str, arguments: str) -> Graph:
    """One filter, in one thread, for frames of this one's size and format: push them, and pull."""
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, 25),
    )
    graph.link_nodes(source, graph.add(name, arguments), graph.add("buffersink")).configure()
    return graph
