"""`python -m preprocess`: videos into a store, once, exactly. Exit codes: 0 done, 2 the user's
mistake, 1 anything else, 130 interrupted."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from preprocess import options as flags
from shared.console import EXIT_INTERRUPTED, run_command
from shared.errors import UserError

if TYPE_CHECKING:
    from preprocess.executor import Machines
    from preprocess.steps.fill import Filled
    from shared.store.paths import Location

Facts = TypeVar("Facts")

app = typer.Typer(
    name="preprocess",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn video files into a store of first frames, motion vectors and residuals.",
)


@app.command()
def run(
    dataset: Annotated[str, typer.Argument(help="Its name; `datasets` lists them.")],
    root: Annotated[
        str | None, typer.Option(help="Where the videos lie. Default: data/DATASET")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="The store to make. Default: stores/DATASET with -OPTIONVALUE for each option"
            " given here that is not its default, in the order size, frames, stride, clips, hop,"
            " seed, fps, fit, crop, block, range, unit, reference, method, zerobias, motioncost,"
            " limit:"
            " stores/gestures-size64-block8-range24"
        ),
    ] = None,
    size: flags.Size = None,
    frames: flags.Frames = None,
    stride: flags.Stride = None,
    clips: flags.Clips = None,
    hop: flags.Hop = None,
    seed: flags.Seed = None,
    fps: flags.Fps = None,
    fit: flags.Fit = None,
    crop: flags.Crop = None,
    block: flags.Block = None,
    search_range: flags.SearchRange = None,
    vector_unit: flags.VectorUnit = None,
    reference: flags.ReferenceFrame = None,
    method: flags.Method = None,
    zero_bias: flags.ZeroBias = None,
    motion_cost: flags.MotionCost = None,
    cost_from: flags.CostFrom = None,
    workers: flags.Workers = None,
    scheduler: flags.Scheduler = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use so many videos only, spread evenly over the data set."),
    ] = None,
) -> None:
    """Make a store from a data set's videos, or finish one that was interrupted.

    The same command again does only what is missing. Files that cannot be used are listed with
    the reason, here and in rejected.jsonl in the store.
    """
    from preprocess.options import parse_crop

    given = {
        "size": size,
        "frames": frames,
        "stride": stride,
        "clips": clips,
        "hop": hop,
        "seed": seed,
        "fps": fps,
        "fit": fit,
        "crop": parse_crop(crop),
        "block": block,
        "search_range": search_range,
        "vector_unit": vector_unit,
        "reference": reference,
        "method": method,
        "zero_bias": zero_bias,
        "motion_cost": motion_cost,
        "cost_from": cost_from,
    }
    _run(dataset, root, out, given, _machines(workers, scheduler), limit)


@app.command()
def reblock(
    store: Annotated[str, typer.Argument(help="A sealed store.")],
    block: flags.Block = None,
    search_range: flags.SearchRange = None,
    vector_unit: flags.VectorUnit = None,
    reference: flags.ReferenceFrame = None,
    method: flags.Method = None,
    zero_bias: flags.ZeroBias = None,
    motion_cost: flags.MotionCost = None,
    cost_from: flags.CostFrom = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="The store to make. Default: STORE with -OPTIONVALUE for each option that"
            " changes: stores/gestures-block8"
        ),
    ] = None,
    workers: flags.Workers = None,
    scheduler: flags.Scheduler = None,
) -> None:
    """Make a store with other search options from a store alone, without its videos.

    The result is the store that `run` would make from the videos with those options, byte for
    byte. Options that are not given stay as they are in STORE.
    """
    given = {
        "block": block,
        "search_range": search_range,
        "vector_unit": vector_unit,
        "reference": reference,
        "method": method,
        "zero_bias": zero_bias,
        "motion_cost": motion_cost,
        "cost_from": cost_from,
    }
    _reblock(store, out, given, _machines(workers, scheduler))


@app.command()
def export(
    store: Annotated[str, typer.Argument(help="A sealed store.")],
    out: Annotated[str, typer.Option(help="A new folder for the shards.")],
    form: Annotated[str, typer.Option("--format", help="webdataset.")] = "webdataset",
    workers: flags.Workers = None,
    scheduler: flags.Scheduler = None,
) -> None:
    """Write a store's valid clips as tar shards that WebDataset, and the trainer, can stream."""
    from preprocess.steps.export import export_store
    from shared.console import Progress

    machines = _machines(workers, scheduler)
    with _interruptible():
        made = export_store(_reachable(store), _reachable(out), form, machines, Progress())
    console = Console(soft_wrap=True)
    console.print(f"{len(made)} clips in {out}", markup=False, highlight=False)
    console.print(f"Next: python -m train vae --store {out}", markup=False, highlight=False)


@app.command()
def inspect(
    store: Annotated[str, typer.Argument(help="A store.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show what a store holds, how it was made, and what was rejected."""
    from preprocess.summary import describe, print_store

    _show(describe(_reachable(store)), as_json, print_store)


@app.command()
def report(
    store: Annotated[str, typer.Argument(help="A sealed store.")],
    out: Annotated[str, typer.Option(help="The page to write.")] = "report.html",
    sample: Annotated[
        int, typer.Option(min=1, help="Clips to measure, drawn at random; the page says how many.")
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other clips.")] = 0,
) -> None:
    """Write one page to look at: clips, vectors, residuals, energy, compression, rejects.

    The page needs no other file and no network, and stays under 20 MB whatever the store.
    """
    from preprocess.report import build_report
    from shared.console import Progress, byte_count

    with _interruptible():
        made = build_report(_reachable(store), _reachable(out), sample, seed, Progress())
    console = Console(soft_wrap=True)
    rest = f"; {made.labels_left_out} labels not shown" if made.labels_left_out else ""
    measured = f"{made.measured} of {made.clips} clips measured{rest}"
    console.print(f"{made.page}: {byte_count(made.bytes)}, {measured}", markup=False)
    console.print(f"Open {made.page} in a browser", markup=False, highlight=False)


@app.command()
def verify(
    store: Annotated[str, typer.Argument(help="A sealed store.")],
    root: Annotated[
        str | None, typer.Option(help="Where its videos lie. Default: data/DATASET")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Clips to search again with the slow reference search.")
    ] = 8,
) -> None:
    """Hold a store against its videos, decoded by another path; exit 1 where anything differs."""
    from preprocess.steps.verify import print_findings, verify_store
    from shared.console import Progress

    videos = _reachable(root) if root else None
    findings = verify_store(_reachable(store), videos, sample, Progress())
    print_findings(Console(), findings)
    if findings.wrong:
        raise typer.Exit(1)


@app.command()
def datasets(
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets.")] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the data sets: what, how many, where they would be, and whether they are there."""
    from preprocess.planning.catalogue import catalogue, print_catalogue

    _show(catalogue(data), as_json, print_catalogue)


@app.command()
def download(
    dataset: Annotated[str, typer.Argument(help="Its name; `datasets` lists them.")],
    root: Annotated[
        Path | None, typer.Option(help="Where to put it. Default: data/DATASET")
    ] = None,
) -> None:
    """Fetch a data set's files, check and unpack them; goes on where it was interrupted."""
    from preprocess.datasets.download import DownloadError
    from preprocess.datasets.download import download as fetch
    from shared.console import Progress
    from shared.manifest import load_manifest

    manifest = load_manifest(dataset)
    place = root or Path("data", dataset)
    console = Console(soft_wrap=True)
    try:
        with _interruptible():
            fetched = fetch(manifest, place, Progress())
    except DownloadError as error:
        Console(stderr=True, soft_wrap=True).print(f"Error: {error}", markup=False)
        raise typer.Exit(1) from None
    count = f"{len(fetched.now)} files fetched, {len(fetched.before)} were there"
    console.print(f"{manifest.title} in {place}: {count}", markup=False, highlight=False)
    console.print(f"Next: python -m preprocess run {dataset} --root {place}", markup=False)


@app.command()
def render(
    root: Annotated[Path, typer.Option(help="Where to put the videos.")] = Path("data/gestures"),
    subjects: Annotated[int, typer.Option(help="How many people.")] = 20,
    repetitions: Annotated[int, typer.Option(help="How often each performs each signal.")] = 1,
    size: Annotated[int, typer.Option(help="Height and width, pixels; even.")] = 128,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    noise_sigma: Annotated[float, typer.Option(help="Sensor noise, grey levels.")] = 0.0,
    camera_px: Annotated[float, typer.Option(help="Slow camera movement, pixels.")] = 0.0,
    outfits: Annotated[
        int, typer.Option(help="Sets of clothes and surroundings; 0: each subject its own.")
    ] = 0,
    workers: flags.Workers = None,
) -> None:
    """Render the embedded data set: a figure performing the 24 signals, as H.264 files."""
    from preprocess.datasets.gestures.dataset import render as render_videos
    from shared.console import Progress

    given = {
        "subjects": subjects,
        "repetitions": repetitions,
        "size": size,
        "seed": seed,
        "noise_sigma": noise_sigma,
        "camera_px": camera_px,
        "outfits": outfits,
    }
    summary = render_videos(root, given, workers or _cpus(), Progress())
    console = Console()
    console.print(
        f"{summary.videos} videos in {root}: {summary.rendered} rendered in"
        f" {summary.seconds:.1f} s, {summary.skipped} were there",
        markup=False,
        highlight=False,
    )
    console.print(f"Next: python -m preprocess run gestures --root {root}", markup=False)


def _show(facts: Facts, as_json: bool, show: Callable[[Console, Facts], None]) -> None:
    """Facts for people, or as JSON for machines."""
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    else:
        show(Console(), facts)


def main() -> None:
    """Run the command line; the user's mistakes end in one message and exit code 2."""
    sys.exit(run_command(app))


def _run(
    dataset: str,
    root: str | None,
    out: str | None,
    given: dict[str, Any],
    machines: Machines,
    limit: int | None,
) -> None:
    from preprocess.options import codec_options, default_store
    from shared.manifest import load_manifest

    manifest = load_manifest(dataset)
    options = codec_options(manifest, given)
    if root is None and dataset == "folder":
        raise UserError("folder: say where your videos lie with --root DIR")
    videos = _reachable(root) if root else Path("data", dataset)
    store = _reachable(out) if out else default_store(manifest, given, limit)

    from preprocess.datasets.gestures.dataset import ensure_rendered
    from preprocess.pipeline import Extraction
    from preprocess.pipeline import run as run_extraction
    from shared.console import Progress

    progress = Progress()
    with _interruptible():
        if dataset == "gestures" and isinstance(videos, Path):
            ensure_rendered(videos, machines.workers, progress)
        extraction = Extraction(manifest, videos, store, options, machines, limit)
        outcome = run_extraction(extraction, progress)
    for name in outcome.left_out:
        Console(stderr=True).print(f"Split {name} left out: its lists are not below {videos}")
    _summary(store, outcome.filled, ("videos", f"{outcome.videos} in {videos}"), f"--root {videos}")


def _reblock(name: str, out: str | None, given: dict[str, Any], machines: Machines) -> None:
    from preprocess.steps.reblock import default_store, reblock
    from shared.console import Progress
    from shared.store.store import read_attributes

    source = _reachable(name)
    before = read_attributes(source).options
    store = _reachable(out) if out else default_store(source, before, given)
    with _interruptible():
        filled = reblock(source, store, given, machines, Progress())
    _summary(store, filled, ("from", str(source)), "--root DIR")


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted; run the same command again to continue.")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _summary(store: Location, filled: Filled | None, origin: tuple[str, str], check: str) -> None:
    """What was made; `filled` is None where there was nothing left to do."""
    from preprocess.summary import describe, print_made

    console = Console()
    if filled is None:
        console.print(f"{store} is complete already; nothing to do", markup=False, highlight=False)
    rate = filled.clips_a_second if filled else 0.0
    print_made(console, describe(store), origin, check, rate)


def _reachable(text: str) -> Location:
    from shared.store.paths import location, require_reachable

    place = location(text)
    require_reachable(place)
    return place


def _machines(workers: int | None, scheduler: str | None) -> Machines:
    from preprocess.executor import Machines

    if workers and scheduler:
        raise UserError("--workers is for this machine; with --scheduler its own workers are used")
    return Machines(workers or _cpus(), scheduler)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()
