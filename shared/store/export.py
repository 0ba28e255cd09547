"""Exports of a store as WebDataset tar shards.

Next to `shard-000000.tar`, which any WebDataset reader takes, `shard-000000.json` holds the shard's
columns and the offset of each entry in the tar, so that clips can be read in any order without a
scan. `dataset.json` holds the store's attributes and whether the export is complete.
"""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from dataclasses import asdict, dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from shared.errors import StoreError
from shared.schema import ARRAYS, LARGE, ArraySpec, CodecOptions, StoreAttributes
from shared.store.paths import (
    Location,
    read_existing,
    read_range,
    sizes,
    storage_errors,
    write_whole,
)

DATASET = "dataset.json"
FORMAT = "dvdm-webdataset-1"

COLUMNS = tuple(spec for spec in ARRAYS if spec.small and spec.name != "valid")
"""Arrays with one or a few values for each clip; `valid` is not among them: all clips are."""


@dataclass(frozen=True)
class ShardIndex:
    """Content of one tar shard, and proof that it is whole.

    Attributes:
        bytes: size of the tar.
        sha256: of the tar.
        columns: values of the clips, by column.
        entries: offset and size of each clip's npy file in the tar, bytes, by array.
    """

    bytes: int
    sha256: str
    columns: dict[str, list[Any]]
    entries: dict[str, list[tuple[int, int]]]

    @property
    def clips(self) -> int:
        """Number of clips in the shard."""
        return len(self.columns["label"])


def shard_name(shard: int) -> str:
    """File name of a tar shard."""
    return f"shard-{shard:06d}.tar"


def index_name(shard: int) -> str:
    """File name of a tar shard's index."""
    return f"shard-{shard:06d}.json"


def write_index(path: Location, shard: int, index: ShardIndex) -> None:
    """Write a shard's index, which declares the shard done."""
    write_whole(path / index_name(shard), json.dumps(asdict(index)).encode())


def read_indices(path: Location, shards: range) -> list[ShardIndex | None]:
    """Indices of shards; None for each that is not done."""
    names = [index_name(shard) for shard in shards]
    found = read_existing(path, names)
    return [ShardIndex(**json.loads(found[name])) if name in found else None for name in names]


def write_dataset(path: Location, attributes: StoreAttributes, *, complete: bool) -> None:
    """Write the attributes and the state of an export as `dataset.json`."""
    content = {
        "format": FORMAT,
        "complete": complete,
        "shards": attributes.partitions,
        "attributes": attributes.model_dump(mode="json"),
    }
    write_whole(path / DATASET, json.dumps(content, indent=1, ensure_ascii=False).encode())


def read_dataset(path: Location) -> tuple[StoreAttributes, bool]:
    """The exported store's attributes, and whether the export is complete.

    Raises:
        StoreError: there is no export, or one of another format.
    """
    try:
        content = json.loads((path / DATASET).read_bytes())
        if content["format"] != FORMAT:
            raise StoreError(f"{path} has format {content['format']}; this software reads {FORMAT}")
        return StoreAttributes.model_validate(content["attributes"]), bool(content["complete"])
    except FileNotFoundError:
        raise StoreError(f"no export at {path}") from None
    except (KeyError, TypeError, ValueError):
        raise StoreError(f"{path / DATASET} is malformed; export again") from None


class Export:
    """A finished export, open for reading, with the interface of `shared.store.store.Store`.

    Attributes:
        path: of the export.
        attributes: of the store it was made from.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        self.attributes, complete = read_dataset(path)
        if not complete:
            raise StoreError(f"{path} is not complete; run the same export command again")
        shards = _whole_shards(path, self.attributes.partitions)
        self._ends = list(accumulate(index.clips for index in shards))
        # Arrays, not lists: a million clips have six million numbers here.
        self._entries = {
            name: np.array([entry for index in shards for entry in index.entries[name]], np.int64)
            for name in LARGE
        }
        self._columns = {spec.name: _column(spec, shards) for spec in COLUMNS}
        large = [spec for spec in ARRAYS if not spec.small]
        self._shapes = {spec.name: spec.shape(self.attributes) for spec in large}
        self._dtypes = {spec.name: np.dtype(spec.dtype) for spec in large}

    @property
    def options(self) -> CodecOptions:
        """The options that shaped the bytes."""
        return self.attributes.options

    def __len__(self) -> int:
        """Number of clips, all of which are valid."""
        return self._ends[-1]

    def column(self, name: str) -> np.ndarray:
        """A whole small array: label, video, frame_index, split..., clip axis first."""
        return self._columns[name]

    def clip(self, name: str, index: int, out: np.ndarray | None = None) -> np.ndarray:
        """One clip's entry of a large array, in a new array or in `out`."""
        entry = np.empty(self._shapes[name], self._dtypes[name]) if out is None else out
        shard = bisect_right(self._ends, index)
        offset, count = self._entries[name][index].tolist()
        file = self.path / shard_name(shard)
        try:
            _fill_from_npy(entry, read_range(file, offset, count))
        except storage_errors(ValueError) as error:
            raise StoreError(
                f"clip {index} of {self.path}: its {name} in {file.name} cannot be read: {error};"
                " export again"
            ) from error
        return entry


def _column(spec: ArraySpec, shards: list[ShardIndex]) -> np.ndarray:
    values = [value for index in shards for value in index.columns[spec.name]]
    return np.array(values, np.dtypes.StringDType() if spec.dtype == "str" else spec.dtype)


def _whole_shards(path: Location, shards: int) -> list[ShardIndex]:
    present = sizes(path)
    indices = [index for index in read_indices(path, range(shards)) if index is not None]
    for shard, index in enumerate(indices):
        if present.get(shard_name(shard)) != index.bytes:
            raise StoreError(f"{path}: {shard_name(shard)} is missing or cut; export again")
    if len(indices) != shards:
        raise StoreError(f"{path} lacks {shards - len(indices)} of its indices; export again")
    return indices


@cache
def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Bytes before the values of an npy file."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype.str, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def _fill_from_npy(out: np.ndarray, content: bytes) -> None:
    """Copy the values of an npy file whose dtype and shape are those of `out`."""
    # Compared, not parsed: numpy's reader evaluates the header as Python each time.
    header = _npy_header(out.dtype, out.shape)
    if not content.startswith(header) or len(content) != len(header) + out.nbytes:
        raise ValueError(f"it is not an npy file of {out.dtype} {out.shape}")
    out[...] = np.frombuffer(content, out.dtype, offset=len(header)).reshape(out.shape)
