from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from shared.errors import StoreError
from shared.schema import ARRAYS, CodecOptions, StoreAttributes
from shared.store.store import (
    Store,
    create_store,
    damaged_files,
    read_attributes,
    read_marker,
    remove_leftovers,
    seal_store,
)
from tests.stores import write_partition

OPTIONS = CodecOptions(size=16, frames=3, block=8)


def attributes(clips: int = 5, shard_clips: int = 2) -> StoreAttributes:
    return StoreAttributes(
        dataset="folder",
        manifest_hash="m",
        options=OPTIONS,
        labels=("jump", "wave"),
        clips=clips,
        shard_clips=shard_clips,
        plan_hash="p",
    )


def random_arrays(clips: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for spec in ARRAYS:
        shape = (clips, *spec.shape(attributes()))
        if spec.dtype == "str":
            arrays[spec.name] = np.array([f"v{i}.mp4" for i in range(clips)])
        elif spec.dtype == "bool":
            arrays[spec.name] = np.ones(shape, bool)
        else:
            arrays[spec.name] = rng.integers(0, 2, shape).astype(spec.dtype)
    return arrays


def zero_arrays(clips: int) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(array) for name, array in random_arrays(clips).items()}


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    create_store(path, attributes())
    for partition, clips in enumerate((2, 2, 1)):
        arrays = random_arrays(clips, partition)
        arrays["valid"][:] = [True, partition != 1][:clips]
        write_partition(path, partition, arrays, [])
    seal_store(path)
    return path


def test_written_clips_are_read_back(sealed: Path) -> None:
    store = Store(sealed)
    assert (store.attributes.clips, len(store)) == (5, 4)
    expected = [random_arrays(2, 0), random_arrays(2, 0), random_arrays(2, 1), random_arrays(1, 2)]
    for index, (arrays, row) in enumerate(zip(expected, (0, 1, 0, 0), strict=True)):
        for name in ("first_frame", "motion", "residual"):
            assert np.array_equal(store.clip(name, index), arrays[name][row])
    assert store.column("video").tolist() == ["v0.mp4", "v1.mp4", "v0.mp4", "v0.mp4"]


def test_entries_of_columns_are_those_of_the_whole_columns(sealed: Path) -> None:
    store = Store(sealed)
    for name in ("video", "label", "frame_index", "split"):
        column = store.column(name)
        for index in range(len(store)):
            assert np.array_equal(store.entry(name, index), column[index])


def test_invalid_slots_are_never_read(sealed: Path) -> None:
    assert Store(sealed).indices.tolist() == [0, 1, 2, 4]


def test_an_unsealed_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store"
    create_store(path, attributes(clips=2))
    write_partition(path, 0, random_arrays(2), [])
    with pytest.raises(StoreError, match="not sealed"):
        Store(path)


def test_sealing_refuses_missing_partitions(tmp_path: Path) -> None:
    path = tmp_path / "store"
    create_store(path, attributes())
    write_partition(path, 1, random_arrays(2), [])
    with pytest.raises(StoreError, match=r"lacks 2 of 3 partitions \(0, 2\)"):
        seal_store(path)


def test_another_version_is_refused(sealed: Path) -> None:
    metadata = json.loads((sealed / "zarr.json").read_text())
    metadata["attributes"]["dvdm"]["schema_version"] = 99
    (sealed / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match="schema version 99; this software reads version 2"):
        Store(sealed)


def test_a_store_older_than_an_option_has_its_default(sealed: Path) -> None:
    metadata = json.loads((sealed / "zarr.json").read_text())
    assert metadata["attributes"]["dvdm"]["options"].pop("vector_unit") == 1
    (sealed / "zarr.json").write_text(json.dumps(metadata))
    assert Store(sealed).options == OPTIONS
    assert Store(sealed).options.vector_limit == OPTIONS.search_range


def test_no_store_and_other_groups_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        read_attributes(tmp_path / "nothing")
    (tmp_path / "zarr.json").write_text('{"attributes": {}}')
    with pytest.raises(StoreError, match="not a dvdm store"):
        read_attributes(tmp_path)


def test_a_missing_shard_is_refused_instead_of_read_as_zeros(sealed: Path) -> None:
    (sealed / "residual/c/1/0/0/0/0").unlink()
    with pytest.raises(StoreError, match="lacks 1 of its shards"):
        Store(sealed)


def test_a_clip_that_cannot_be_read_is_named(sealed: Path) -> None:
    store = Store(sealed)
    shard = sealed / "residual/c/1/0/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-1])
    out = np.empty((2, 3, 16, 16), np.int16)
    message = r"clip 2 of .*residual/c/1/0/0/0/0: entry 0 cannot be read.*preprocess verify"
    with pytest.raises(StoreError, match=message):
        store.clip("residual", 2, out)
    assert store.clip("residual", 3, out) is out


def test_missing_metadata_is_named(sealed: Path) -> None:
    (sealed / "motion/zarr.json").unlink()
    with pytest.raises(StoreError, match=r"lacks motion/zarr.json; restore"):
        Store(sealed)


def test_a_flipped_byte_is_detected(sealed: Path) -> None:
    assert damaged_files(sealed) == []
    shard = sealed / "motion/c/0/0/0/0/0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert damaged_files(sealed) == ["motion/c/0/0/0/0/0"]


def test_an_all_zero_partition_is_a_file_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "store"
    create_store(path, attributes(clips=2))
    marker = write_partition(path, 0, zero_arrays(2), [])
    assert len(marker.files) == len(ARRAYS)
    assert all((path / name).is_file() for name in marker.files)
    seal_store(path)
    assert len(Store(path)) == 0


def test_markers_keep_rejects(tmp_path: Path) -> None:
    path = tmp_path / "store"
    create_store(path, attributes(clips=2))
    assert read_marker(path, 0) is None
    write_partition(path, 0, random_arrays(2), [{"file": "é\n.mp4", "reason": "bad"}])
    marker = read_marker(path, 0)
    assert marker is not None
    assert marker.rejects == [{"file": "é\n.mp4", "reason": "bad"}]


def test_partitions_are_whole_shards(tmp_path: Path) -> None:
    path = tmp_path / "store"
    create_store(path, attributes())
    with pytest.raises(ValueError, match=r"`label` is int16 \(1,\); the schema says int16 \(2,\)"):
        write_partition(path, 0, random_arrays(1), [])
    with pytest.raises(ValueError, match="`motion` is int16"):
        write_partition(path, 0, random_arrays(2) | {"motion": np.zeros((2, 2, 2, 2, 2), "i2")}, [])


def test_plain_zarr_reads_a_store(sealed: Path) -> None:
    import zarr

    group = zarr.open_group(sealed, mode="r")
    assert group["residual"].shape == (5, 2, 3, 16, 16)
    assert np.array_equal(group["first_frame"][4:5], random_arrays(1, 2)["first_frame"])


def test_temporary_files_are_removed_and_nothing_else(sealed: Path) -> None:
    names = set(sealed.parent.rglob("*"))
    for left in (".store.new-abc_1234", "store/.partition00001-abcd1234"):
        (sealed.parent / left).mkdir()
        (sealed.parent / left / "file").touch()
    for left in ("partitions/.000001.json.17", ".zarr.json.17", ".rejected.jsonl"):
        (sealed / left).touch()
    others = sealed.parent / ".store.new-abc_12345", sealed.parent / ".stores.new-abc_1234"
    for other in others:
        other.mkdir()
    remove_leftovers(sealed)
    assert set(sealed.parent.rglob("*")) == names | set(others)
    remove_leftovers(sealed.parent / "absent")


@pytest.mark.parametrize("content", ["", '{"partition": 1, "fi', "[]", "{}"])
def test_a_marker_that_is_not_whole_does_not_count(content: str, sealed: Path) -> None:
    """A file system that lost power may have kept the name and not the bytes."""
    marker = sealed / "partitions" / "000001.json"
    marker.write_text(content)
    assert read_marker(sealed, 1) is None
