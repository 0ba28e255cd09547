"""Whether a store that is there already is the one that is wanted."""

from __future__ import annotations

from shared.errors import StoreError
from shared.layout import METADATA
from shared.paths import Location
from shared.schema import StoreAttributes
from shared.store import read_attributes


def is_complete(store: Location, wanted: StoreAttributes) -> bool:
    """Whether a store is sealed already; False where there is none, or only a part of one.

    Raises:
        StoreError: other options or videos made it, or something else lies there.
    """
    if not (store / METADATA).exists():
        if store.exists() and (not store.is_dir() or any(store.iterdir())):
            raise StoreError(f"{store} exists and is not a store; choose another --out")
        return False
    existing = read_attributes(store)
    differences = _differences(existing, wanted)
    if differences:
        raise StoreError(
            f"{store} was made otherwise:\n"
            + "\n".join(f"  {difference}" for difference in differences)
            + "\nChoose another --out, or delete that store."
        )
    return existing.sealed


def _differences(existing: StoreAttributes, wanted: StoreAttributes) -> list[str]:
    old, new = existing.options.model_dump(), wanted.options.model_dump()
    found = [
        f"--{name.replace('_', '-')} {old[name]}, now {new[name]}"
        for name in new
        if old[name] != new[name]
    ]
    for name in ("dataset", "manifest_hash", "source", "colour", "splits"):
        before, now = getattr(existing, name), getattr(wanted, name)
        if before != now:
            found.append(f"{name.replace('_', ' ')} {before}, now {now}")
    same_plan = (existing.plan_hash, existing.clips, existing.shard_clips) == (
        wanted.plan_hash,
        wanted.clips,
        wanted.shard_clips,
    )
    if not found and not same_plan:
        found.append(
            f"other videos: {existing.clips} clips then, {wanted.clips} now (files were added,"
            " changed or removed, or --limit differs)"
        )
    return found
