"""Command line `dvdm-preprocess`: turn videos into a store, once, exactly.

Exit codes: 0 done, 2 the user's mistake, 1 any other failure, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from preprocess.options import (
    CLIP_OPTIONS,
    SEARCH_OPTIONS,
    Scheduler,
    Workers,
    parse_crop,
    takes_options,
)
from shared.console import EXIT_INTERRUPTED, PlainConsole, run_command, shell_command
from shared.errors import UserError
from shared.report.serving import LOOPBACK, PORT, Host, Port, page_folder

if TYPE_CHECKING:
    from preprocess.executor import ExecutorOptions
    from preprocess.steps.fill import PartitionResult
    from shared.store.paths import Location

Facts = TypeVar("Facts")

Dataset = Annotated[
    str,
    typer.Argument(
        help="Its name, which `datasets` lists; or your own manifest, path/to/mine.yaml."
    ),
]

app = typer.Typer(
    name="dvdm-preprocess",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turn video files into a store of first frames, motion vectors and residuals.",
)


@app.command()
@takes_options(CLIP_OPTIONS | SEARCH_OPTIONS)
def run(
    dataset: Dataset,
    *,
    root: Annotated[
        str | None, typer.Option(help="Folder of the videos. Default: data/DATASET")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="The store to make. Default: stores/DATASET with -OPTIONVALUE for each option"
            " given here that is not its default, in the order size, frames, stride, clips, hop,"
            " seed, draws, fps, fit, crop, hdr, deinterlace, decoder, filter, hwaccel, cuts,"
            " minmotion, maxmotion, block,"
            " range, unit, reference, compensation, method, motioncost, limit, anyname:"
            " stores/gestures-size64-block8-range24"
        ),
    ] = None,
    given: dict[str, Any],
    workers: Workers = None,
    scheduler: Scheduler = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use only this many videos, evenly spaced over the data set."),
    ] = None,
    any_name: Annotated[
        bool,
        typer.Option(
            "--any-name", help="Take every file for a video, not those with a known ending alone."
        ),
    ] = False,
    print_store: Annotated[
        bool, typer.Option("--print-store", help="Print the store's path, and make nothing.")
    ] = False,
) -> None:
    """Make a store from a data set's videos, or finish one that was interrupted.

    The same command again makes only what is missing. Files that cannot be used are listed with
    the reason, here and in rejected.jsonl in the store.
    """
    from shared.manifest import load_manifest

    executor = _executor(workers, scheduler)
    given["crop"] = parse_crop(given["crop"])
    if print_store:
        from preprocess.pipeline import store_name

        typer.echo(out or store_name(load_manifest(dataset), given, limit, any_name=any_name))
        return
    from preprocess.pipeline import extract
    from shared.console import Progress

    with _interruptible():
        outcome = extract(
            dataset, out, given, root=root, executor=executor, limit=limit, any_name=any_name,
            progress=Progress(),
        )  # fmt: skip
    for name in outcome.left_out:
        PlainConsole(stderr=True).print(
            f"Split {name} left out: its lists are not below {outcome.root}"
        )
    for remark, names in outcome.remarks.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        PlainConsole(stderr=True, soft_wrap=True).print(f"{names[0]!r}{others}: {remark}")
    origin = ("videos", f"{outcome.videos} in {outcome.root}"), *outcome.notes
    _print_summary(outcome.store, outcome.made, origin, ("--root", outcome.root))


@app.command()
@takes_options(SEARCH_OPTIONS)
def reblock(
    store: Annotated[str, typer.Argument(help="A sealed store.")],
    *,
    given: dict[str, Any],
    out: Annotated[
        str | None,
        typer.Option(
            help="The store to make. Default: STORE with -OPTIONVALUE for each option that"
            " changes: stores/gestures-block8"
        ),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Make a store with other search options from a store alone, without its videos.

    The result is the store that `run` would make from the videos with those options, byte for
    byte. Options that are not given stay as they are in STORE.
    """
    from preprocess.steps.reblock import reblock as search_again
    from preprocess.steps.reblock import store_beside
    from shared.console import Progress
    from shared.store.store import read_attributes

    executor = _executor(workers, scheduler)
    source = _reachable(store)
    before = read_attributes(source).options
    target = _reachable(out) if out else store_beside(source, before, given)
    with _interruptible():
        made = search_again(source, target, given, executor, Progress())
    _print_summary(target, made, (("from", str(source)),), ("--root", "DIR"))


@app.command()
def export(
    store: Annotated[str, typer.Argument(help="A sealed store.")],
    out: Annotated[str, typer.Option(help="A new folder for the shards.")],
    form: Annotated[str, typer.Option("--format", help="webdataset.")] = "webdataset",
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Write a store's valid clips as tar shards that WebDataset, and the trainer, can stream."""
    from preprocess.steps.export import export_store
    from shared.console import Progress

    executor = _executor(workers, scheduler)
    with _interruptible():
        made = export_store(_reachable(store), _reachable(out), form, executor, Progress())
    console = PlainConsole(soft_wrap=True)
    console.print(f"{len(made)} clips in {out}")
    console.print(f"Next: {shell_command('dvdm-train', 'vae', '--store', out)}")


@app.command()
def inspect(
    store: Annotated[str, typer.Argument(help="A store.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show the contents of a store, its options, and the rejected files."""
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
    """Write a report as one page: clips, vectors, residuals, energy, compression, rejects.

    The page needs no other file and no network, and stays under 20 MB for any store.
    """
    from preprocess.report import build_report
    from shared.console import Progress, byte_count

    with _interruptible():
        made = build_report(_reachable(store), _reachable(out), sample, seed, Progress())
    console = PlainConsole(soft_wrap=True)
    rest = f"; {made.labels_left_out} labels not shown" if made.labels_left_out else ""
    measured = f"{made.measured} of {made.clips} clips measured{rest}"
    console.print(f"{made.page}: {byte_count(made.bytes)}, {measured}")
    console.print(f"Open {made.page} in a browser")


@app.command()
def view(
    store: Annotated[str, typer.Argument(help="A sealed store.")],
    host: Host = LOOPBACK,
    port: Port = PORT,
) -> None:
    """Serve a page to browse a store: clips by label, person and split, their motion, rejects."""
    with page_folder("view"):
        from preprocess.view.page import view as view_store

        view_store(_reachable(store), host, port)


@app.command("motion-stats")
@takes_options(CLIP_OPTIONS)
def motion_stats(
    one: Annotated[str, typer.Argument(metavar="A", help="Folder of videos, or a sealed store.")],
    other: Annotated[str, typer.Argument(metavar="B", help="Another, to compare with A.")],
    *,
    given: dict[str, Any],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only this many videos of each folder.")
    ] = None,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Compare the motion of two sets of videos, such as real and generated ones.

    Vectors are searched in every clip alike, and their lengths, sums, entropies, directions and
    places compared: Wasserstein and Jensen-Shannon divergences, next to those of two halves of A.
    The options shape the clips of folders; a folder next to a store takes the store's size.
    """
    from preprocess.report.motion_stats import compare_motion, print_motion
    from shared.console import Progress

    given["crop"] = parse_crop(given["crop"])
    places, executor = [_reachable(one), _reachable(other)], _executor(workers, None)
    with _interruptible():
        facts = compare_motion(places, given, executor, limit, Progress())
    _show(facts, as_json, print_motion)


@app.command()
def verify(
    store: Annotated[str, typer.Argument(help="A sealed store.")],
    root: Annotated[
        str | None, typer.Option(help="Folder of its videos. Default: data/DATASET")
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Clips to search again with the slow reference search.")
    ] = 8,
) -> None:
    """Compare a store with its videos, decoded independently; exit code 1 if anything differs."""
    from preprocess.steps.verify import print_findings, verify_store
    from shared.console import Progress

    videos = _reachable(root) if root else None
    findings = verify_store(_reachable(store), videos, sample, Progress())
    print_findings(PlainConsole(), findings)
    if findings.wrong:
        raise typer.Exit(1)


@app.command()
def datasets(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATASET",
            help="Names, or your own manifests, path/to/mine.yaml. Default: all that have a name",
        ),
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder that holds the data sets.")] = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List data sets: contents, size, folder, and whether they are present."""
    from preprocess.planning.discover import catalogue, print_catalogue

    _show(catalogue(data, names or ()), as_json, print_catalogue)


@app.command()
def download(
    dataset: Dataset,
    root: Annotated[Path | None, typer.Option(help="Folder for it. Default: data/DATASET")] = None,
) -> None:
    """Download a data set's files, check and unpack them; resumes if it was interrupted."""
    from preprocess.datasets.download import DownloadError
    from preprocess.datasets.download import download as fetch
    from shared.console import Progress
    from shared.manifest import load_manifest

    manifest = load_manifest(dataset)
    place = root or Path("data", manifest.name)
    console = PlainConsole(soft_wrap=True)
    try:
        with _interruptible():
            fetched = fetch(manifest, place, Progress())
    except DownloadError as error:
        PlainConsole(stderr=True, soft_wrap=True).print(f"Error: {error}")
        raise typer.Exit(1) from None
    count = f"{len(fetched.now)} files fetched, {len(fetched.before)} were there"
    console.print(f"{manifest.title} in {place}: {count}")
    following = shell_command("dvdm-preprocess", "run", dataset, "--root", place)
    console.print(f"Next: {following}", soft_wrap=True)


@app.command()
def render(
    root: Annotated[Path, typer.Option(help="Folder for the videos.")] = Path("data/gestures"),
    subjects: Annotated[int, typer.Option(help="Number of people.")] = 20,
    repetitions: Annotated[int, typer.Option(help="Times that each performs each signal.")] = 1,
    size: Annotated[int, typer.Option(help="Height and width, pixels; even.")] = 128,
    frames: Annotated[int, typer.Option(help="Frames of a video, at 20 a second.")] = 48,
    seed: Annotated[int, typer.Option(help="Another seed, other people.")] = 0,
    noise_sigma: Annotated[float, typer.Option(help="Sensor noise, grey levels.")] = 0.0,
    camera_px: Annotated[float, typer.Option(help="Slow camera movement, pixels.")] = 0.0,
    outfits: Annotated[
        int, typer.Option(help="Sets of clothes and surroundings; 0: each subject its own.")
    ] = 0,
    depth: Annotated[
        bool,
        typer.Option("--depth", help="The same clips as depth: backdrop black, hands white."),
    ] = False,
    workers: Workers = None,
) -> None:
    """Render the embedded data set: a figure performing the 24 signals, as H.264 files."""
    from preprocess.datasets.gestures.dataset import render as render_videos
    from shared.console import Progress
    from shared.cores import usable_cores

    given = {
        "subjects": subjects,
        "repetitions": repetitions,
        "size": size,
        "frames": frames,
        "seed": seed,
        "noise_sigma": noise_sigma,
        "camera_px": camera_px,
        "outfits": outfits,
        "depth": depth,
    }
    summary = render_videos(root, given, workers or usable_cores(), Progress())
    console = PlainConsole()
    console.print(
        f"{summary.videos} videos in {root}: {summary.rendered} rendered in"
        f" {summary.seconds:.1f} s, {summary.skipped} were there",
    )
    following = shell_command("dvdm-preprocess", "run", "gestures", "--root", root)
    console.print(f"Next: {following}", soft_wrap=True)


def _show(facts: Facts, as_json: bool, show: Callable[[PlainConsole, Facts], None]) -> None:
    """Print facts for people, or as JSON for programs."""
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
    else:
        show(PlainConsole(), facts)


def main() -> None:
    """Run the command line; the user's mistakes end in one message and exit code 2."""
    sys.exit(run_command(app, "preprocess"))


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        PlainConsole(stderr=True).print("Interrupted; run the same command again to continue.")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _print_summary(
    store: Location,
    made: PartitionResult | None,
    origin: Sequence[tuple[str, str]],
    check: Sequence[object],
) -> None:
    from preprocess.summary import describe, print_made

    console = PlainConsole()
    if made is None:
        console.print(f"{store} is complete already; nothing to do")
    rate = made.clips_a_second if made else 0.0
    print_made(console, describe(store), origin, check, rate)


def _reachable(text: str) -> Location:
    from shared.store.paths import location, require_reachable

    place = location(text)
    require_reachable(place)
    return place


def _executor(workers: int | None, scheduler: str | None) -> ExecutorOptions:
    from preprocess.executor import ExecutorOptions
    from shared.cores import usable_cores

    if workers and scheduler:
        raise UserError("--workers is for this machine; with --scheduler its own workers are used")
    return ExecutorOptions(workers or usable_cores(), scheduler)


if __name__ == "__main__":
    main()
