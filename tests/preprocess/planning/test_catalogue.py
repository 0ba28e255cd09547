from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from shared.manifest import manifest_names

Cli = Callable[..., tuple[int, str, str]]


def test_every_data_set_with_its_place(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mhad/RGB").mkdir(parents=True)
    (tmp_path / "mhad/RGB/a1_s1_t1_color.avi").touch()
    (tmp_path / "natops").mkdir()
    code, out, _ = cli("datasets", "--data", tmp_path, "--json")
    assert code == 0
    facts = {entry["name"]: entry for entry in json.loads(out)}
    assert sorted(facts) == manifest_names()
    assert [name for name, entry in facts.items() if entry["present"]] == ["mhad"]
    assert facts["natops"]["root"] == str(tmp_path / "natops")
    assert facts["mhad"]["bytes"] == 1106885499
    assert facts["natops"]["bytes"] is None
    assert facts["natops"]["files"] == 25


def test_the_table(cli: Cli) -> None:
    code, out, _ = cli("datasets")
    assert code == 0
    for shown in ("data/ucf101", "861 videos", "1.1 GB", "By hand", "download NAME"):
        assert shown in out
