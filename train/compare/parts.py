"""Parts of a run that are done once: a file each says that it is, and what it took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.paths import write_whole

FOLDER = "parts"


@dataclass(frozen=True)
class Took:
    """What a part took.

    Attributes:
        cpu_seconds: of all threads of its process, in the attempt that finished it.
        attempts: 1 where nothing interrupted it; else the seconds are those of the rest.
    """

    cpu_seconds: float
    attempts: int


def do_once(run: Path, name: str, do: Callable[[], object]) -> None:
    """Do a part unless it was done; note what it took in RUN/parts."""
    done, begun = run / FOLDER / f"{name}.json", run / FOLDER / f"{name}.begun"
    if done.exists():
        return
    done.parent.mkdir(parents=True, exist_ok=True)
    with begun.open("a") as file:
        file.write(".")
    started = time.process_time()
    do()
    took = Took(time.process_time() - started, begun.stat().st_size)
    write_whole(done, json.dumps(asdict(took)).encode())


def took(run: Path, name: str) -> Took | None:
    """What a part of a run took; None where it was not done."""
    path = run / FOLDER / f"{name}.json"
    return Took(**json.loads(path.read_text())) if path.exists() else None
