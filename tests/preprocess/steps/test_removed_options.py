"""Stores of earlier versions, which record options that the search has no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.store.reader import open_clips
from shared.store.store import Store
from tests.stores import contents

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 32, "--frames", 4, "--block", 8, "--workers", 1)


def record(store: Path, **options: object) -> None:
    """Let a store record other options, as one of an earlier version does."""
    metadata = json.loads((store / "zarr.json").read_text())
    metadata["attributes"]["dvdm"]["options"] |= options
    (store / "zarr.json").write_text(json.dumps(metadata, indent=1, ensure_ascii=False))


@pytest.fixture
def plain(folder: Path, tmp_path: Path, cli: Cli) -> Path:
    path = tmp_path / "plain"
    assert cli("run", "folder", "--root", folder, "--out", path, *OPTIONS)[0] == 0
    return path


def test_new_stores_record_the_values_that_change_nothing(plain: Path) -> None:
    options = json.loads((plain / "zarr.json").read_text())["attributes"]["dvdm"]["options"]
    names = ["method", "zero_bias", "motion_cost", "cost_from"]
    assert [*options][-4:] == names
    assert [options[name] for name in names] == ["exhaustive", 0.0, 0.3, "zero"]
    assert not Store(plain).options.removed_options


@pytest.mark.parametrize("recorded", [{"zero_bias": 1.0}, {"cost_from": "median"}])
def test_an_old_store_stays_of_use(
    recorded: dict[str, object], plain: Path, folder: Path, tmp_path: Path, cli: Cli
) -> None:
    """It is read, exported and verified but for its search; `reblock` searches without them."""
    old, tars, new = (tmp_path / name for name in ("old", "tars", "new"))
    assert cli("reblock", plain, "--block", 16, "--out", old, "--workers", 1)[0] == 0
    record(old, **recorded)
    [(name, value)] = recorded.items()
    assert Store(old).options.removed_options == recorded
    assert f"{name} {value}" in cli("inspect", old)[1]
    code, out, err = cli("verify", old, "--root", folder)
    assert code == 0, err
    assert f"not repeated: this version has no {name} {value}" in out
    assert "19 clips, bit for bit" in out
    assert "all is well" in out
    assert cli("export", old, "--out", tars, "--workers", 1)[0] == 0
    assert open_clips(tars).options.removed_options == recorded
    command = ("run", "folder", "--root", folder, "--out", old, *OPTIONS, "--block", 16)
    code, _, err = cli(*command)
    assert code == 2
    assert f"  {name.replace('_', '-')} {value}, now " in err
    assert cli("reblock", old, "--block", 8, "--out", new, "--workers", 1)[0] == 0
    assert contents(new) == contents(plain)


def test_the_default_name_of_its_successor_has_no_removed_option(
    plain: Path, tmp_path: Path, cli: Cli
) -> None:
    old = plain.rename(tmp_path / "folder-block8-zerobias1")
    record(old, zero_bias=1.0)
    code, _, err = cli("reblock", old, "--workers", 1)
    assert code == 0, err
    assert Store(tmp_path / "folder-block8").options.zero_bias == 0
