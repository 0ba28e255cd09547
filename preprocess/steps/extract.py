"""Extract one partition, from videos to a shard of every array: the task of a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess.frames.geometry import Geometry
from preprocess.motion.cuts import find_transition
from preprocess.motion.encode import encode, find_motion
from preprocess.planning.plan import Clip, Frames, assemble
from preprocess.records import DecodeError, Reject
from preprocess.sources import source_of
from preprocess.sources.media import message
from shared.conventions import NO_INDEX
from shared.motion_statistics import SEARCH, sums
from shared.schema import NEITHER, CodecOptions, StoreAttributes
from shared.store.partition import COLUMNS, PartitionWriter
from shared.store.paths import Location, location
from shared.store.store import Marker, read_marker

_SEARCH = CodecOptions(**SEARCH)


@dataclass(frozen=True)
class PartitionTask:
    """Task of making one partition: names and numbers, never pixels."""

    store: str
    root: str
    partition: int
    clips: tuple[Clip, ...]
    attributes: StoreAttributes


def extract_partition(task: PartitionTask) -> Marker:
    """Make and write one partition, unless it is done already.

    Clips that a video's damage touches or that the options leave out are invalid, and the video is
    recorded with each reason; the rest of the partition is made.
    """
    store = location(task.store)
    done = read_marker(store, task.partition)
    if done is not None:
        return done
    writer = PartitionWriter(store, task.partition)
    columns = _columns(task)
    rejects = []
    slot = 0
    for (video, damaged), group in groupby(task.clips, key=lambda c: (c.video, c.damaged)):
        frames = [clip.frames for clip in group]
        slots = range(slot, slot + len(frames))
        found = extract_video(
            location(task.root), video, frames, writer, slots, columns["valid"], to_end=damaged
        )
        rejects += [reject.record() for reject in found]
        slot = slots.stop
    return writer.write(columns, rejects)


def extract_video(
    root: Location,
    video: str,
    clips: Sequence[Frames],
    writer: PartitionWriter,
    slots: range,
    valid: NDArray[np.bool_],
    *,
    to_end: bool = False,
) -> list[Reject]:
    """Decode a video once and fill its clips' entries.

    Args:
        root: folder of the data set.
        video: path relative to the root.
        clips: frames of each clip.
        writer: receives the clips; its attributes have the options.
        slots: one for each clip.
        valid: of all the writer's slots; set if a clip was made.
        to_end: look for damage after the last clip too.

    Returns:
        Record of the video's damage, as far as it was decoded, and of each reason for which clips
        were left out.
    """
    options = writer.attributes.options
    source = source_of(writer.attributes.source, options)
    wanted = sorted({index for frames in clips for index in frames})
    reason, recovered = None, 0
    damaged, left_out = list[int](), dict[int, str]()
    try:
        decoded = source.decode(root / video, wanted, Geometry.of(options), to_end=to_end)
        for number, clip in assemble(decoded, clips):
            if unwanted := reason_to_leave_out(clip, options):
                left_out[number] = unwanted
                continue
            writer.put(slots[number], **vars(encode(clip, options)))
            valid[slots[number]] = True
    except DecodeError as error:
        reason, recovered = str(error), error.frames
        damaged = [n for n, frames in enumerate(clips) if _touches_gap(frames, error, options)]
    except Exception as error:  # one video's failure, of any kind, must not end the others
        reason = f"{type(error).__name__}: {message(error)}"
        damaged = list(range(len(clips)))  # after an unforeseen error no clip is trusted
    for number in damaged:
        writer.clear_slot(slots[number])
        valid[slots[number]] = False
        left_out.pop(number, None)
    lost = len(clips) - int(valid[slots.start : slots.stop].sum()) - len(left_out)
    rejects = [
        Reject(video, unwanted, "select", len(clips), len(clips) - count)
        for unwanted, count in sorted(Counter(left_out.values()).items())
    ]
    if reason is not None:
        damage = Reject(video, reason, "extract", len(clips), len(clips) - lost, recovered)
        return [damage, *rejects]
    return rejects


def _touches_gap(frames: Frames, error: DecodeError, options: CodecOptions) -> bool:
    """Test whether a clip has frames of both sides of a gap, or may stand in for lost ones."""
    if not error.trusted or any(frames[0] < restart <= frames[-1] for restart in error.restarts):
        return True
    # Sampled by time, the last frame before a gap would stand in for those that are lost.
    return options.fps is not None and frames[-1] + 1 in error.breaks


def _columns(task: PartitionTask) -> dict[str, np.ndarray]:
    """Fill the small arrays; no clip is valid yet."""
    clips, attributes = task.clips, task.attributes
    arrays: dict[str, np.ndarray] = {
        spec.name: np.zeros((len(clips), *spec.shape(attributes)), spec.dtype)
        for spec in COLUMNS
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


def reason_to_leave_out(clip: NDArray[np.uint8], options: CodecOptions) -> str:
    """Reason for which a clip does not belong into the store; empty if it does.

    No option of the search has a part in it, so that a store that is searched again holds the same
    clips as one that is made from the videos.

    Args:
        clip: uint8 RGB, shape (T, 3, H, W).
        options: cuts, min_motion and max_motion are used here.
    """
    if options.cuts == "skip" and (transition := find_transition(clip)):
        return f"spans a {transition} (--cuts skip)"
    least, most = options.min_motion, options.max_motion
    if least is None and most is None:
        return ""
    motion = mean_motion(clip)
    if least is not None and motion < least:
        return f"moves less than --min-motion {least:g}"
    if most is not None and motion > most:
        return f"moves more than --max-motion {most:g}"
    return ""


def mean_motion(clip: NDArray[np.uint8]) -> float:
    """Mean length of a clip's vectors over blocks and frames, pixels a frame.

    The vectors are those of `shared.motion_statistics.SEARCH`, as `motion-stats` takes them.

    Args:
        clip: uint8 RGB, shape (T, 3, H, W).
    """
    vectors = find_motion(np.ascontiguousarray(clip), _SEARCH, _SEARCH.method)
    return float(sums(vectors[None]).mean())
