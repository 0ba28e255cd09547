"""Look into a container without decoding: is it a video, how long, how large, is it whole."""

from __future__ import annotations

from av.container import InputContainer
from av.video.stream import VideoStream

from preprocess.geometry import Geometry, refusal
from preprocess.media import (
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
from preprocess.videos import Probe
from shared.paths import Location


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
