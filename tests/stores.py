"""What tests of stores share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shared.schema import LARGE
from shared.store.partition import PartitionWriter
from shared.store.paths import Location, read_existing, sizes
from shared.store.store import Marker, Store


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


def damage_clip(store: Store, name: str, index: int) -> None:
    """Overwrite the beginning of a clip's entry of a large array, in a local store."""
    shard, row = divmod(int(store.indices[index]), store.attributes.shard_clips)
    file, entries = store._large[name]._open_shard(shard)
    assert isinstance(file, Path)
    with file.open("r+b") as opened:
        opened.seek(int(entries[row, 0]))
        opened.write(bytes(16))
