"""Every real file is in the store or rejected with a reason; nothing vanishes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.store import Store

Cli = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(("kind", "sample"), [("bad", 2), ("clips", 1)])
def test_every_file_is_accounted_for(
    kind: str, sample: int, real_clips: Path, tmp_path: Path, cli: Cli
) -> None:
    root, store = real_clips / kind, tmp_path / "store"
    options = ("--root", root, "--out", store, "--size", 64, "--workers", 1)
    code, _, err = cli("run", "folder", *options)
    assert code == 0, err
    rejected = [json.loads(x) for x in (store / "rejected.jsonl").read_text().split("\n") if x]
    assert all(record["reason"] for record in rejected)
    stored = set(Store(store).column("video").tolist())
    assert stored | {record["file"] for record in rejected} == {p.name for p in root.iterdir()}
    code, out, err = cli("verify", store, "--root", root, "--sample", sample)
    assert code == 0, out + err
