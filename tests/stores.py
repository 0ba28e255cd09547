"""What tests of stores share."""

from __future__ import annotations

from typing import Any

import numpy as np

from shared.schema import LARGE
from shared.store.partition import PartitionWriter
from shared.store.paths import Location, read_existing, sizes
from shared.store.store import Marker


def contents(store: Location) -> dict[str, bytes]:
    """Every file of a store, by name, wherever it lies."""
    return dict(sorted(read_existing(store, sizes(store)).items()))


def write_partition(
    path: Location, partition: int, arrays: dict[str, np.ndarray], rejects: list[dict[str, Any]]
) -> Marker:
    """A whole partition at once, from every array of `shared.schema.ARRAYS`, clip axis first."""
    writer = PartitionWriter(path, partition)
    for slot in range(len(arrays["valid"])):
        writer.put(slot, **{name: arrays[name][slot] for name in LARGE})
    columns = {name: array for name, array in arrays.items() if name not in LARGE}
    return writer.write(columns, rejects)
