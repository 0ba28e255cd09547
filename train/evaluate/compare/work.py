"""One run of a comparison: train, generate. Can be killed anywhere and called again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.console import EXIT_BY_SIGNAL, Progress, hush, run_command
from shared.errors import UserError
from shared.schema import StoreAttributes
from shared.store.export import ClipReader, open_clips
from shared.store.lock import hold
from shared.store.paths import location, write_whole
from train.data.clips import Clips
from train.evaluate.compare.plan import Run
from train.generate.generator import Generator, load_generator
from train.recipe import recipe_from_dict
from train.stages.autoencoder import train_autoencoder
from train.stages.diffusion import train_diffusion
from train.stages.latents import encode_store
from train.stages.refiner import train_refiner

# MERGED: Parts of a run that are done once: a file each says that it is, and what it took.


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


# MERGED: Independent tasks in processes of one thread each; what one makes does not depend on the others.
#
# Tasks write files, so nothing comes back from a process but that it is done. A stopped or killed
# comparison stops its processes, which save what they have.


_POLL_SECONDS = 0.2
_PARTS = 100
"""Of the progress bar, for each task."""


@dataclass(frozen=True)
class Task:
    """Something to be done in a process of its own.

    Attributes:
        name: shown while it is at work.
        work: a function of a module, called with `argument`; both go through pickle.
        argument: what it works on.
        after: the name of the task that must be done before, if any.
        share: how much of it is done, 0...1, asked for in this process.
    """

    name: str
    work: Callable[[Any], object]
    argument: Any
    after: str | None = None
    share: Callable[[], float] = lambda: 0.0


class Pool:
    """Processes that take tasks; started when there is one for them, and kept for the next.

    A context: they end with it.

    Args:
        workers: how many at most.
    """

    def __init__(self, workers: int) -> None:
        self._workers, self._most = list[_Worker](), workers

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def run(self, tasks: Sequence[Task], title: str) -> None:
        """Do all tasks, in the order given as far as `after` allows.

        Raises:
            UserError: a task refused its input; it has said why.
            RuntimeError: a task failed otherwise; its traceback was printed.
            KeyboardInterrupt: a task was asked to stop.
        """
        waiting, done = list(tasks), set[str]()
        names = {task.name for task in tasks}
        with Progress().bar(title, _PARTS * len(tasks), "parts", patience_seconds=2) as bar:
            while len(done) < len(tasks):
                while (worker := self._free(len(waiting))) is not None and (
                    task := _ready(waiting, done, names)
                ):
                    waiting.remove(task)
                    worker.begin(task)
                done |= {name for worker in self._workers if (name := worker.finished())}
                shares = {w.task.name: w.task.share() for w in self._workers if w.task}
                note = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
                whole = len(done) + sum(shares.values())
                bar.update(int(_PARTS * whole), f"{len(done)} of {len(tasks)} done; {note}")
                time.sleep(_POLL_SECONDS)

    def _free(self, waiting: int) -> _Worker | None:
        for worker in self._workers:
            if worker.task is None:
                return worker
        if not waiting or len(self._workers) >= self._most:
            return None
        self._workers.append(_Worker())
        return self._workers[-1]


class _Worker:
    """One process, and the task it is at."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._tasks, inside = context.Pipe()
        self.task: Task | None = None
        self._process = context.Process(target=_inside, args=(inside, os.getpid()))
        with _one_thread():
            self._process.start()
        inside.close()  # so that the end of the process is the end of the pipe

    def begin(self, task: Task) -> None:
        self.task = task
        self._tasks.send((task.work, task.argument))

    def finished(self) -> str | None:
        """The name of the task that has just been done, if one has."""
        if self.task is None or not self._tasks.poll():
            return None
        try:
            self._tasks.recv()
        except EOFError:
            self._process.join()
            _refuse(self._process.exitcode, self.task.name)
        name, self.task = self.task.name, None
        return name

    def stop(self) -> None:
        """End the process: at once where it waits, after saving where it trains."""
        self._process.terminate()
        self._process.join()
        self._tasks.close()


def _ready(waiting: list[Task], done: set[str], names: set[str]) -> Task | None:
    free = (t for t in waiting if t.after is None or t.after in done or t.after not in names)
    return next(free, None)


def _refuse(exit_code: int | None, name: str) -> None:
    if exit_code in (-signal.SIGTERM, EXIT_BY_SIGNAL + signal.SIGTERM):
        raise KeyboardInterrupt
    if exit_code == 2:
        raise UserError(f"{name} could not be done, for the reason above")
    raise RuntimeError(f"{name} ended with exit code {exit_code}")


def _inside(tasks: Connection, parent: int) -> None:
    """What a process does: one task after the other, until one fails."""
    # A terminal's interrupt reaches all processes; the parent decides and sends SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    hush()
    try:
        while True:
            work, argument = tasks.recv()
            if code := run_command(lambda: work(argument)):  # noqa: B023, called at once
                sys.exit(code)
            tasks.send(None)
    except EOFError:
        return
    except KeyboardInterrupt:
        sys.exit(EXIT_BY_SIGNAL + signal.SIGTERM)


def _end_with(parent: int) -> None:
    """Stop, and save, once the process that started this one is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A process started meanwhile computes on one thread, and gets to know it before it begins."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


RUNS, GENERATED, FACTS = "runs", "generated", "run.json"

_BATCH = 8
"""Clips generated at once, and the most that a killed run loses of them."""

_SEEDS_APART = 100_000
"""Between the noises of two runs' seeds."""


@dataclass(frozen=True)
class Work:
    """What a worker needs to know of a run.

    Attributes:
        run: from the plan.
        out: the comparison's folder.
        store: of the run's system.
        chosen: test clips to generate, positions among the valid clips.
        device: torch's name of it.
    """

    run: Run
    out: Path
    store: Path
    chosen: tuple[int, ...]
    device: str

    @property
    def folder(self) -> Path:
        """The run's own."""
        return run_folder(self.out, self.run.name)

    def facts(self, store: ClipReader) -> dict[str, Any]:
        """All that the result depends on, as JSON has it."""
        recipe = self.run.recipe.to_dict()
        extraction = store.attributes.model_dump(mode="json")
        facts = {"recipe": recipe, "store": extraction, "chosen": self.chosen}
        return json.loads(json.dumps(facts))


def run_folder(out: Path, name: str) -> Path:
    """Where a run's networks and clips are."""
    return out / RUNS / name


def perform(work: Work) -> None:
    """Train and generate, in this process, on one thread.

    Raises:
        UserError: the folder holds the same run of a comparison with other options, or another
            process is at work in it.
    """
    torch.set_num_threads(1)
    with hold(work.folder):
        _perform(work)


def _perform(work: Work) -> None:
    run, folder, device = work.run, work.folder, torch.device(work.device)
    store = open_clips(location(str(work.store)))
    refuse_other(work, store)
    folder.mkdir(exist_ok=True)
    write_whole(folder / FACTS, json.dumps(work.facts(store), indent=1).encode())
    for name in run.takes:
        _take(work, name)
    recipe = run.recipe
    steps = {
        "vae": lambda: train_autoencoder(recipe, store, folder, device),
        "encode": lambda: encode_store(recipe, store, folder, device),
        "diffusion": lambda: train_diffusion(recipe, store, folder, device),
        "refiner": lambda: train_refiner(recipe, store, folder, device),
        GENERATED: lambda: _generate(work, store, device),
    }
    for name, step in steps.items():
        do_once(folder, name, step)


def generated(folder: Path, count: int) -> NDArray[np.uint8]:
    """The clips of a finished run, shape (N, T, 3, H, W), in the order that was asked for."""
    return np.concatenate([np.load(folder / GENERATED / _piece(i)) for i in _starts(count)])


def is_done(work: Work) -> bool:
    """Whether a run has all its clips."""
    return took(work.folder, GENERATED) is not None


def share_done(work: Work) -> float:
    """How much of a run is done, 0...1, for people to look at: training three quarters of it."""
    folder = work.folder
    clips = sum((folder / GENERATED / _piece(i)).exists() for i in _starts(len(work.chosen)))
    if is_done(work):
        return 1.0
    if clips:
        return 0.75 + 0.25 * clips / len(_starts(len(work.chosen)))
    return 0.75 * min(1.0, _last_step(folder / "diffusion") / work.run.steps)


def refuse_other(work: Work, store: ClipReader) -> None:
    """Notice a folder in which another comparison was made.

    Raises:
        UserError: it was made with other options, or from another store.
    """
    facts, path = work.facts(store), work.folder / FACTS
    if path.exists() and _completed(json.loads(path.read_text())) != _completed(facts):
        raise UserError(
            f"{work.folder} was made with other options, or from another store; give those, or"
            " another --out"
        )


def _completed(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts that may be older than an option: it then had what is now its default."""
    recipe = recipe_from_dict(facts["recipe"]).to_dict()
    store = StoreAttributes.model_validate(facts["store"]).model_dump(mode="json")
    return facts | {"recipe": recipe, "store": store}


def _take(work: Work, name: str) -> None:
    """Copy what another run learned, whole or not at all."""
    assert work.run.after is not None
    source, target = run_folder(work.out, work.run.after) / name, work.folder / name
    if target.exists():
        return
    beside = target.with_name(f".{name}")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside)
    beside.rename(target)


def _generate(work: Work, store: ClipReader, device: torch.device) -> None:
    generator = load_generator(work.folder, device)
    clips = Clips(store, work.run.recipe.split)
    (work.folder / GENERATED).mkdir(exist_ok=True)
    for start in _starts(len(work.chosen)):
        target = work.folder / GENERATED / _piece(start)
        if not target.exists():
            beside = target.with_name(f".{target.name}")
            np.save(beside, _clips(generator, clips, work, start))
            beside.rename(target)


def _clips(generator: Generator, clips: Clips, work: Work, start: int) -> NDArray[np.uint8]:
    """Clips `start` and following: noise depends on the seed and the clip's number alone."""
    indices = np.array(work.chosen[start : start + _BATCH])
    batch = clips.batch(indices, generator.device)
    first = work.run.recipe.seed * _SEEDS_APART + start
    seeds = range(first, first + len(indices))
    return generator(batch.first_frame, batch.label.tolist(), seeds).frames.numpy()


def _starts(count: int) -> range:
    return range(0, count, _BATCH)


def _piece(start: int) -> str:
    return f"clips-{start:05d}.npy"


def _last_step(folder: Path) -> int:
    """Of a stage that is running, as its log has it."""
    try:
        lines = (folder / "metrics.jsonl").read_bytes().splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, IndexError, ValueError, KeyError):  # none yet, or half a line
        return 0
