"""What tests of stores share."""

from __future__ import annotations

from shared.paths import Location, read_existing, sizes


def contents(store: Location) -> dict[str, bytes]:
    """Every file of a store, by name, wherever it lies."""
    return dict(sorted(read_existing(store, sizes(store)).items()))
