"""The list of rejects that lies in every store: one JSON object a line, sorted by file."""

from __future__ import annotations

import json
from collections.abc import Iterable

from preprocess.videos import Reject
from shared.paths import Location, write_whole
from shared.store import REJECTED


def write_rejects(store: Location, rejects: Iterable[Reject]) -> None:
    """One JSON object a line, sorted by file."""
    lines = [json.dumps(reject.record(), ensure_ascii=False) + "\n" for reject in rejects]
    write_whole(store / REJECTED, "".join(lines).encode())


def read_rejects(store: Location) -> list[Reject]:
    """What `write_rejects` wrote; empty before a store is finalised."""
    path = store / REJECTED
    if not path.exists():
        return []
    # Not splitlines(): names may hold characters that it takes for the end of a line.
    lines = path.read_text(encoding="utf-8").split("\n")
    return [Reject(**json.loads(line)) for line in lines if line]
