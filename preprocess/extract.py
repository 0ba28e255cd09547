"""One partition, from video files to a whole shard of every array: the task of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from preprocess.clip import Frames, assemble
from preprocess.decode import DecodeError
from preprocess.encode import encode
from preprocess.geometry import Geometry
from preprocess.media import message
from preprocess.plan import Clip
from preprocess.sources import SOURCES
from preprocess.videos import Reject
from shared.conventions import NO_INDEX
from shared.paths import Location, location
from shared.schema import ARRAYS, NEITHER, CodecOptions, StoreAttributes
from shared.store import Marker, read_marker, write_partition

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class PartitionTask:
    """What a worker needs to make one partition: names and numbers, never pixels."""

    store: str
    root: str
    partition: int
    clips: tuple[Clip, ...]
    attributes: StoreAttributes


def extract_partition(task: PartitionTask) -> Marker:
    """Make and write one partition, unless it is there already.

    Clips that a video's damage touches are invalid, and the video is recorded with the reason;
    the rest of the partition goes on.
    """
    store = location(task.store)
    done = read_marker(store, task.partition)
    if done is not None:
        return done
    arrays = _empty_arrays(task)
    rejects = []
    slot = 0
    for (video, damaged), group in groupby(task.clips, key=lambda c: (c.video, c.damaged)):
        frames = [clip.frames for clip in group]
        slots = slice(slot, slot + len(frames))
        views = {name: array[slots] for name, array in arrays.items()}
        attributes, root = task.attributes, location(task.root)
        reject = extract_video(root, video, frames, attributes, views, to_end=damaged)
        rejects += [reject.record()] if reject else []
        slot = slots.stop
    return write_partition(store, task.partition, arrays, rejects)


def extract_video(
    root: Location,
    video: str,
    clips: Sequence[Frames],
    attributes: StoreAttributes,
    arrays: Arrays,
    *,
    to_end: bool = False,
) -> Reject | None:
    """Decode a video once and fill its clips' entries.

    Args:
        root: where the data set lies.
        video: path relative to the root.
        clips: frames of each clip.
        attributes: what holds the frames, and how to make clips.
        arrays: receives them, one entry for each clip; `valid` is set where one was made.
        to_end: look for damage behind the last clip too.

    Returns:
        What is wrong with the video, as far as it was decoded, or None.
    """
    options, source = attributes.options, SOURCES[attributes.source]
    wanted = sorted({index for frames in clips for index in frames})
    recovered = 0
    try:
        decoded = source.decode(root / video, wanted, Geometry.of(options), to_end=to_end)
        for slot, clip in assemble(decoded, clips):
            encoded = encode(clip, options)
            arrays["first_frame"][slot] = encoded.first_frame
            arrays["motion"][slot] = encoded.motion
            arrays["residual"][slot] = encoded.residual
            arrays["valid"][slot] = True
    except DecodeError as error:
        reason, recovered = str(error), error.frames
        for slot, frames in enumerate(clips):
            if _touches_gap(frames, error, options):
                _take_back(arrays, slot)
    except Exception as error:  # one video's failure, of any kind, must not end the others
        reason = f"{type(error).__name__}: {message(error)}"
        _take_back(arrays, slice(None))  # nor is it known what to trust after one unforeseen
    else:
        return None
    return Reject(video, reason, "extract", len(clips), int(arrays["valid"].sum()), recovered)


def _touches_gap(frames: Frames, error: DecodeError, options: CodecOptions) -> bool:
    """Whether a clip has frames of both sides of a gap, or may show what was lost in one."""
    if any(frames[0] < restart <= frames[-1] for restart in error.restarts):
        return True
    # Taken by time, the last frame before a gap would stand in for those that are lost.
    return options.fps is not None and frames[-1] + 1 in error.breaks


def _take_back(arrays: Arrays, slots: int | slice) -> None:
    for name in ("first_frame", "motion", "residual", "valid"):
        arrays[name][slots] = 0


def _empty_arrays(task: PartitionTask) -> Arrays:
    clips, attributes = task.clips, task.attributes
    arrays: Arrays = {
        spec.name: np.zeros((len(clips), *spec.shape(attributes)), spec.dtype)
        for spec in ARRAYS
        if spec.dtype != "str"
    }
    arrays["label"][:] = _indices([clip.label for clip in clips], attributes.labels)
    arrays["subject"][:] = _indices([clip.subject for clip in clips], attributes.subjects)
    arrays["segment"][:] = [clip.segment for clip in clips]
    arrays["frame_index"][:] = [list(clip.frames) for clip in clips]
    arrays["start_frame"][:] = arrays["frame_index"][:, 0]
    arrays["split"][:] = [clip.sides or (NEITHER,) for clip in clips]
    arrays["video"] = np.array([clip.video for clip in clips], dtype=np.dtypes.StringDType())
    return arrays


def _indices(values: list[str | None], known: tuple[str, ...]) -> list[int]:
    positions: dict[Any, int] = {value: index for index, value in enumerate(known)}
    return [positions.get(value, NO_INDEX) for value in values]
