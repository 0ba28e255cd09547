"""Look into a container without decoding: is it a video, how long, how large, is it whole."""

from __future__ import annotations

from av.container import InputContainer
from av.video.stream import VideoStream

from preprocess.clip import fit
from preprocess.media import (
    CUT,
    MAX_PIXELS,
    complaints,
    cut_short,
    is_shown,
    message,
    open_container,
    packet_damage,
    read_packets,
    video_stream,
)
from preprocess.videos import Probe
from shared.paths import Location, location


def probe(path: Location, size: int) -> Probe | str:
    """Read a video's packets, or say why it cannot be used.

    Args:
        path: of the file.
        size: height and width the frames are to be scaled to, pixels.
    """
    try:
        container = None
        with complaints() as heard:
            container = open_container(path)
        if container is None:
            return f"cannot be opened as a video: {cut_short(path) or heard[0]}"
        with container:
            stream = video_stream(container)
            return "no video stream" if stream is None else _look(path, container, stream, size)
    except Exception as error:  # one file's failure, of any kind, must not end the others
        return f"cannot be opened as a video: {message(error)}"


def probe_many(task: tuple[str, tuple[str, ...], int]) -> list[Probe | str]:
    """`probe` for a list of paths relative to a root; a task for a worker."""
    root, paths, size = task
    return [probe(location(root) / path, size) for path in paths]


def _look(path: Location, container: InputContainer, stream: VideoStream, size: int) -> Probe | str:
    if stream.codec_context is None:
        return "no decoder for its codec"
    width, height = stream.codec_context.width, stream.codec_context.height
    refusal = _refuse_size(width, height, size)
    if refusal:
        return refusal
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


def _refuse_size(width: int, height: int, size: int) -> str:
    if width <= 0 or height <= 0:
        return "its header states no frame size that can be decoded"
    if width * height > MAX_PIXELS:
        return f"frames of {width}x{height}; at most {MAX_PIXELS} pixels are decoded"
    scaled = fit(width, height, size)
    if scaled.width * scaled.height > MAX_PIXELS:
        return f"frames of {width}x{height} are too narrow to scale to {size} and crop"
    return ""
