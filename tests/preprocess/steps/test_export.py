"""`export`: tar shards that WebDataset reads, clip for clip the store's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import preprocess.steps.export
from preprocess.steps.export import ExportTask, export_partition
from shared.conventions import FrameSize
from shared.errors import StoreError
from shared.store.reader import open_clips
from shared.store.store import Store
from tests.s3 import new_place, s3_endpoint
from tests.stores import contents
from tests.train.stores import OPTIONS, SUBJECTS, write_store

Cli = Callable[..., tuple[int, str, str]]
LARGE = ("first_frame", "motion", "residual")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 valid clips and two slots that are not, in three partitions; overlapped compensation.

    Frames of 20x14: 5 blocks across and 4 down, the last ones cut.
    """
    path = tmp_path_factory.mktemp("stores") / "store"
    changes = {"compensation": "overlapped", "size": FrameSize(14, 20)}
    write_store(path, options=OPTIONS.model_copy(update=changes))
    return path


@pytest.fixture
def out(store: Path, tmp_path: Path, cli: Cli) -> Path:
    code, text, err = cli("export", store, "--out", tmp_path / "out", "--workers", 1)
    assert code == 0, err
    assert f"12 clips in {tmp_path / 'out'}" in text
    return tmp_path / "out"


def test_both_readers_give_the_same(store: Path, out: Path) -> None:
    plain, exported = Store(store), open_clips(out)
    assert len(exported) == len(plain) == 12
    assert exported.attributes == plain.attributes
    assert exported.options == plain.options
    assert exported.options.compensation == "overlapped"
    assert exported.clip("residual", 0).shape == (3, 3, 14, 20)
    assert exported.clip("motion", 0).shape == (3, 2, 4, 5)
    for name in ("label", "subject", "video", "start_frame"):
        values = exported.column(name)
        assert values.dtype == plain.column(name).dtype
        assert values.tolist() == plain.column(name).tolist()
    for name in LARGE:
        for index in (*range(12), 3):
            entry = exported.clip(name, index)
            assert entry.dtype == plain.clip(name, index).dtype
            assert np.array_equal(entry, plain.clip(name, index))


def test_webdataset_streams_the_shards(store: Path, out: Path) -> None:
    import webdataset

    plain = Store(store)
    shards = [str(path) for path in sorted(out.glob("*.tar"))]
    assert len(shards) == 3
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert [int(sample["__key__"]) for sample in samples] == plain.indices.tolist()
    for index, sample in enumerate(samples):
        for name in LARGE:
            assert np.array_equal(sample[f"{name}.npy"], plain.clip(name, index))
        facts = sample["json"]
        assert facts["label"] == plain.column("label")[index]
        assert facts["label_text"] == plain.attributes.labels[facts["label"]]
        assert facts["subject_text"] == SUBJECTS[plain.column("subject")[index]]
        assert facts["video"] == plain.column("video")[index]


@pytest.mark.slow
def test_bytes_do_not_depend_on_workers(store: Path, out: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("export", store, "--out", tmp_path / "two", "--workers", 2)[0] == 0
    assert contents(tmp_path / "two") == contents(out)


def test_an_interrupted_export_is_finished_by_the_same_command(
    store: Path, out: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, made = tmp_path / "broken", []

    def interrupted(task: ExportTask) -> int:
        if made:
            raise KeyboardInterrupt
        made.append(task.partition)
        return export_partition(task)

    command = ("export", store, "--out", broken, "--workers", 1)
    with monkeypatch.context() as patched:
        patched.setattr(preprocess.steps.export, "export_partition", interrupted)
        assert cli(*command)[0] == 130
    (broken / ".shard-left").mkdir()
    with pytest.raises(StoreError, match="is not complete; run the same export"):
        open_clips(broken)
    assert cli(*command)[0] == 0
    assert contents(broken) == contents(out)
    assert not (broken / ".shard-left").exists()
    before = (broken / "shard-000000.tar").stat().st_mtime_ns
    assert cli(*command)[0] == 0
    assert (broken / "shard-000000.tar").stat().st_mtime_ns == before


def test_refusals(store: Path, out: Path, tmp_path: Path, cli: Cli) -> None:
    write_store(tmp_path / "other", plan_hash="another")
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ((store, "--out", out, "--format", "zip"), "--format zip: must be one of webdataset"),
        ((tmp_path / "other", "--out", out), "is the export of another store"),
        ((store, "--out", store), "exists and is not an export"),
        ((store, "--out", tmp_path / "file" / "x"), "cannot write the export"),
        ((tmp_path / "nothing", "--out", tmp_path / "new"), "no store at"),
    ):
        code, _, err = cli("export", *arguments, "--workers", 1)
        assert (code, message in err, "Traceback" in err) == (2, True, False), err


def test_cut_and_missing_shards_are_noticed(out: Path, tmp_path: Path) -> None:
    for spoil, message in (
        (lambda path: (path / "shard-000001.tar").unlink(), "shard-000001.tar is missing or cut"),
        (
            lambda path: (path / "shard-000001.tar").write_bytes(b"cut"),
            "shard-000001.tar is missing or cut",
        ),
        (lambda path: (path / "shard-000002.json").unlink(), "lacks 1 of its indices"),
        (
            lambda path: (path / "dataset.json").write_text(
                json.dumps(json.loads((path / "dataset.json").read_text()) | {"format": "x"})
            ),
            "has format x",
        ),
    ):
        spoilt = shutil.copytree(out, tmp_path / "spoilt", dirs_exist_ok=True)
        spoil(spoilt)
        with pytest.raises(StoreError, match=message):
            open_clips(spoilt)


def test_a_damaged_entry_is_named(out: Path, tmp_path: Path) -> None:
    spoilt = shutil.copytree(out, tmp_path / "spoilt")
    tar = spoilt / "shard-000001.tar"
    export = open_clips(spoilt)
    offset, _ = json.loads((spoilt / "shard-000001.json").read_text())["entries"]["motion"][1]
    content = bytearray(tar.read_bytes())
    content[offset + 3] ^= 1
    tar.write_bytes(content)
    before = len(json.loads((spoilt / "shard-000000.json").read_text())["columns"]["label"])
    message = rf"clip {before + 1} of .*motion in shard-000001.tar .*not an npy file.*export again"
    with pytest.raises(StoreError, match=message):
        export.clip("motion", before + 1)
    export.clip("motion", before)


def test_an_export_in_s3(store: Path, out: Path, cli: Cli) -> None:
    with s3_endpoint() as bucket:
        place = new_place(bucket)
        code, _, err = cli("export", store, "--out", place, "--workers", 1)
        assert code == 0, err
        assert contents(place) == contents(out)
        assert np.array_equal(open_clips(place).clip("motion", 7), Store(store).clip("motion", 7))
