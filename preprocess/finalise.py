"""From whole partitions to a sealed store with its list of rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from preprocess.plan import Plan
from preprocess.rejects import write_rejects
from preprocess.videos import Reject
from shared.errors import UserError
from shared.paths import Location, remove
from shared.store import Marker, seal_store


def finalise(store: Location, rejects: Sequence[Reject], markers: list[Marker]) -> None:
    """Write `rejected.jsonl` and seal; nothing is sealed that holds no clip.

    Args:
        store: all of whose partitions are done.
        rejects: every file that gave fewer clips than it should have.
        markers: of all partitions.

    Raises:
        UserError: not one clip could be made; the store is removed.
    """
    if not any(marker.valid for marker in markers):
        remove(store)
        raise no_clips(rejects)
    write_rejects(store, rejects)
    seal_store(store)


def no_clips(rejects: Sequence[Reject]) -> UserError:
    """The error of a data set in which no file gave a clip."""
    reasons = Counter(reject.reason for reject in rejects).most_common(10)
    listed = "\n".join(f"  {count} × {reason}" for reason, count in reasons)
    return UserError(
        f"no clip could be made of {len(rejects)} files:\n{listed}\n"
        "Give other videos, or fewer --frames or a smaller --stride if they are too short."
    )


def gather_rejects(
    plan: Plan, earlier: Iterable[Reject], markers: Iterable[Marker]
) -> list[Reject]:
    """Every file that is damaged or gave fewer clips than planned, with its total of clips."""
    planned = Counter(clip.video for clip in plan.clips)
    reasons: dict[str, str] = {}
    missing: Counter[str] = Counter()
    recovered: dict[str, int] = {}
    for record in (record for marker in markers for record in marker.rejects):
        # A long video may fail in several partitions: each that met damage tells the same.
        reasons.setdefault(record["file"], record["reason"])
        recovered.setdefault(record["file"], record["frames_recovered"])
        missing[record["file"]] += record["clips_planned"] - record["clips_made"]
    late = [
        Reject(
            file, reason, "extract", planned[file], planned[file] - missing[file], recovered[file]
        )
        for file, reason in reasons.items()
    ]
    return sorted([*earlier, *plan.rejects, *late], key=lambda reject: (reject.file, reject.reason))
