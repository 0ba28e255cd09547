"""Command line of the trainer: dvdm-train --help."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.console import run_command
from shared.errors import UserError
from shared.report.serving import LOOPBACK, PORT, Host, Port, page_folder
from train.run import run_folder

app = typer.Typer(name="dvdm-train", no_args_is_help=True, rich_markup_mode=None)

RecipeName = Annotated[str, typer.Option("--recipe", help="One of the files in train/recipes.")]
_RUN: dict[str, Any] = {
    "metavar": "RUN",
    "parser": run_folder,
    "help": "A trained run: its folder, an exported one, or hf://USER/NAME[@REVISION].",
}
TrainedRun = Annotated[Path, typer.Option("--run", **_RUN)]
RunArgument = Annotated[Path, typer.Argument(**_RUN)]
StorePath = Annotated[
    str, typer.Option("--store", help="A sealed store from `preprocess run`, or an export of one.")
]
OutPath = Annotated[Path, typer.Option("--out", help="The run's folder.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a field of the recipe: path.to.field=value. Repeatable."),
]
Processes = Annotated[
    str,
    typer.Option(
        help="Processes that train together on this machine: a number, or auto: on a CPU one a"
        " core, of one thread each, as far as the batch allows."
    ),
]
Sampler = Annotated[
    str | None, typer.Option("--sampler", help="ddpm, ddim or dpm++; default: the run's.")
]
SamplingSteps = Annotated[
    int | None, typer.Option("--steps", help="Sampling steps; default: the run's.")
]
Guidance = Annotated[
    float | None, typer.Option("--guidance", help="How far towards the text; 1: no guidance.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]

DEFAULT_RECIPE = "ed_vdm_filled_demo"
DEFAULT_STORE = "stores/gestures"
DEFAULT_OUT = Path("runs/gestures-ed_vdm_filled_demo")


STAGES = {
    "encode": "Compute the latents of every clip, cached next to the store, and their statistics.",
    "diffusion": "Train the denoiser, and the refining network where the recipe has one.",
}


@app.command()
def vae(
    recipe: RecipeName = DEFAULT_RECIPE,
    store: StorePath = DEFAULT_STORE,
    out: OutPath = DEFAULT_OUT,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Start from this run's autoencoder; with --set autoencoder.train=decoder its"
            " denoiser is kept.",
        ),
    ] = None,
    set_: Overrides = None,
    device: Device = "auto",
    processes: Processes = "1",
) -> None:
    """Train the autoencoder, where the recipe has one."""
    from train.recipes import load_recipe
    from train.stages.run_stage import run_stage

    changes = set_ or []
    chosen = load_recipe(recipe, changes)
    run_stage("vae", chosen, store, out, changes, device, processes, start)


@app.command()
def extraction(recipe: RecipeName = DEFAULT_RECIPE, set_: Overrides = None) -> None:
    """Print the options of `preprocess run` that make the store a recipe was designed for."""
    from train.recipes import load_recipe

    typer.echo(load_recipe(recipe, set_ or []).designed_for.extraction_flags)


def _add_stage(name: str, help_text: str) -> None:
    @app.command(name, help=help_text)
    def stage(
        recipe: RecipeName = DEFAULT_RECIPE,
        store: StorePath = DEFAULT_STORE,
        out: OutPath = DEFAULT_OUT,
        set_: Overrides = None,
        device: Device = "auto",
        processes: Processes = "1",
    ) -> None:
        from train.recipes import load_recipe
        from train.stages.run_stage import run_stage

        changes = set_ or []
        run_stage(name, load_recipe(recipe, changes), store, out, changes, device, processes)


for _name, _help in STAGES.items():
    _add_stage(_name, _help)


@app.command()
def distil(
    start: Annotated[
        Path, typer.Option("--from", help="A trained run: the teacher.", parser=run_folder)
    ],
    out: Annotated[Path, typer.Option("--out", help="The new run's folder.")],
    store: StorePath = DEFAULT_STORE,
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Sampling steps of the new run, of one pass each.")
    ] = 4,
    set_: Overrides = None,
    device: Device = "auto",
    processes: Processes = "1",
) -> None:
    """Train a run that samples in few steps without guidance, from one that takes many."""
    from train.run import RunFolder
    from train.stages.distil import distilled_recipe
    from train.stages.run_stage import run_stage

    changes = set_ or []
    recipe = distilled_recipe(RunFolder(start), steps, changes)
    run_stage("distil", recipe, store, out, changes, device, processes, start)


@app.command()
def sample(
    run: TrainedRun = DEFAULT_OUT,
    image: Annotated[
        Path | None,
        typer.Option(
            "--image",
            help="The first frame: any picture; transparent parts become black. None where a run"
            " takes none (PVDM's).",
        ),
    ] = None,
    image_model: Annotated[
        Path | None,
        typer.Option(
            "--image-model",
            help="Instead of --image: local folder of a text-to-image pipeline of diffusers, which"
            " makes the first frame.",
        ),
    ] = None,
    image_text: Annotated[
        str | None,
        typer.Option("--image-text", help="What that frame shows. Default: --text."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option("--text", help="A label's text, or any where the run has a text encoder."),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(help="Where the run's text encoder is now, if not where it was."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="The video to write; GIF and contact sheet next to it.")
    ] = Path("samples/sample.mp4"),
    count: Annotated[
        int, typer.Option("--count", min=1, help="Videos, of as many seeds from --seed on.")
    ] = 1,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            min=2,
            help="Frames of a video; beyond a clip's, clips go on from each other's last frame, or"
            " as the system says.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    guidance: Guidance = None,
    sampler: Sampler = None,
    steps: SamplingSteps = None,
    eta: Annotated[
        float | None, typer.Option("--eta", help="ddim: noise on the way, 0 to 1 (DDPM's).")
    ] = None,
    dynamic_threshold: Annotated[
        float | None,
        typer.Option(
            "--dynamic-threshold",
            help="Keep x_0 in its range, at this quantile, e.g. 0.995; rgb and difference alone.",
        ),
    ] = None,
    fps: Annotated[float, typer.Option("--fps", min=1, help="Frames a second.")] = 8,
    stride: Annotated[
        float | None,
        typer.Option(
            "--stride",
            min=0.01,
            help="Frames of a real video from one frame to the next: larger is faster motion; for"
            " runs with space.stride=true.",
        ),
    ] = None,
    motion_from: Annotated[
        str | None,
        typer.Option(
            "--motion-from",
            help="A store: take first frames and real motion of its test clips, of --text if given;"
            " for runs whose motion a guide generates (MoVideo's).",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Generate videos from a picture and a text: mp4, GIF, contact sheet, and drawn motion."""
    from train.generate.sample import SampleOptions, sample_videos

    options = SampleOptions(out, seed=seed, count=count, frames=frames, fps=fps, stride=stride)
    changes = {
        "name": sampler,
        "steps": steps,
        "guidance": guidance,
        "eta": eta,
        "dynamic_threshold": dynamic_threshold,
    }
    sample_videos(
        run, image, text, text_encoder, options, changes, device, motion_from=motion_from,
        image_model=image_model, image_text=image_text,
    )  # fmt: skip


@app.command()
def serve(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            parser=run_folder,
            help="Trained runs, to compare; each a folder or hf://USER/NAME[@REVISION].",
        ),
    ],
    store: Annotated[
        str | None,
        typer.Option("--store", help="A store whose test clips give example first frames."),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(help="Where the runs' text encoder is now, if not where it was."),
    ] = None,
    host: Host = LOOPBACK,
    port: Port = PORT,
    device: Device = "auto",
) -> None:
    """Serve a page to try runs in a browser: picture and text in, videos side by side out."""
    with page_folder("serve") as folder:
        from train.serve import serve as serve_page

        serve_page(runs, store, text_encoder, host, port, device, folder)


@app.command()
def evaluate(
    run: TrainedRun = DEFAULT_OUT,
    store: StorePath = DEFAULT_STORE,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Default: RUN/evaluation, with a folder of other protocols."),
    ] = None,
    protocol: Annotated[
        str, typer.Option("--protocol", help="dvdm, lfdm, bair, reconstruction or demo.")
    ] = "demo",
    i3d: Annotated[
        Path | None,
        typer.Option("--i3d", help="StyleGAN-V's i3d_torchscript.pt, for FVD; without it none."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, help="Fewer first frames than the protocol says."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="Fewer samples of each than the protocol says."),
    ] = None,
    judges: Annotated[
        Path | None,
        typer.Option("--judges", help="Folder of the classifiers, to share. Default: OUT/judges."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    frames: Annotated[
        int | None,
        typer.Option(
            "--frames",
            min=2,
            help="Score videos of so many frames instead, window by window: drift of background and"
            " person, FVD at that length.",
        ),
    ] = None,
    sampler: Sampler = None,
    steps: SamplingSteps = None,
    guidance: Guidance = None,
    real_motion: Annotated[
        bool,
        typer.Option(
            "--real-motion",
            help="Give the network the real clips' motion in place of its guide's (MoVideo).",
        ),
    ] = False,
    judge_steps: Annotated[
        int,
        typer.Option("--judge-steps", min=1, help="Training steps of the classifiers."),
    ] = 600,
    device: Device = "auto",
) -> None:
    """Score a run by a protocol on the test split; given again, it goes on where it was."""
    from train.evaluate.evaluate import evaluate_run

    evaluate_run(
        run, store, out, protocol=protocol, count=count, samples=samples, seed=seed, i3d=i3d,
        judges=judges, judge_steps=judge_steps, device=device, frames=frames,
        sampler=sampler, steps=steps, guidance=guidance, real_motion=real_motion,
    )  # fmt: skip


@app.command(
    hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def codes() -> None:
    """Say what replaces this former command."""
    from train.evaluate.protocols import CODES_IS_GONE

    raise UserError(CODES_IS_GONE)


@app.command()
def report(
    run: RunArgument = DEFAULT_OUT,
    store: Annotated[
        str | None,
        typer.Option("--store", help="Its store, to show data, codec and reconstruction too."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Default: RUN/report.")] = None,
    before: Annotated[
        list[str] | None,
        typer.Option(help="A command that led to the store, to be shown too. Repeatable."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Write one page to look at, OUT/index.html: generated clips, scores, curves, cost, commands.

    It needs no other file and no network; what the run does not have yet, it says how to make.
    """
    from train.evaluate.report import report_run

    report_run(run, store, out or run / "report", before or [], device)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Of runs, at any depth.")] = Path("runs"),
) -> None:
    """List the runs in a folder: recipe, data set, steps, seconds, scores."""
    from train.evaluate.runs import show_runs

    show_runs(folder)


@app.command("compare-runs")
def compare_runs(
    one: Annotated[Path, typer.Argument(metavar="A", parser=run_folder, help="A run.")],
    other: Annotated[Path, typer.Argument(metavar="B", parser=run_folder, help="Another.")],
) -> None:
    """Show how the recipes of two runs differ, and their scores side by side."""
    from train.evaluate.runs import compare_runs

    compare_runs(one, other)


@app.command()
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    license_: Annotated[
        str, typer.Option("--license", help="Licence of the model: apache-2.0, cc-by-4.0, other...")
    ],
) -> None:
    """Write a run as a folder that travels: averaged weights, configs and a model card.

    Every command takes the folder in place of a run, without a store; `hf upload` publishes it.
    """
    from train.evaluate.export import export_run

    export_run(run, out, license_)


@app.command()
def cost(
    recipes: Annotated[
        str | None, typer.Option("--recipes", help="Names, with commas between them.")
    ] = None,
    set_: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    device: Device = "auto",
) -> None:
    """Print parameters, operations and memory of recipes, compared with the paper's Table 4."""
    from train.evaluate.cost import show_costs

    show_costs(recipes, set_ or [], json, device)


@app.command()
def compare(
    store: Annotated[
        list[str] | None,
        typer.Option("--store", help="Stores of the same clips, searched differently. Repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of such stores; compare/stores without --store."),
    ] = None,
    systems: Annotated[
        str | None, typer.Option("--systems", help="Names, with commas between them. Default: all.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Runs, scores and tables.")] = Path("compare"),
    workers: Annotated[
        int, typer.Option(min=1, help="Runs at a time, a process of one thread each.")
    ] = 2,
    budget_tflop: Annotated[
        float | None, typer.Option(help="Training FLOPs of each run, 10^12.")
    ] = None,
    count: Annotated[
        str | None,
        typer.Option(help="What they pay for: denoiser, or all stages. Default: denoiser."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds of the tables of all systems.")] = None,
    codec_seeds: Annotated[
        int | None, typer.Option(help="Seeds of the table within the codec; 0: none.")
    ] = None,
    clips_a_label: Annotated[
        int | None, typer.Option(help="Test clips to start from, for each label.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Clips generated from each of them. Default: 1.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    batch: Annotated[int | None, typer.Option(help="Clips in a training step.")] = None,
    autoencoder_steps: Annotated[
        int | None, typer.Option(help="Training steps of autoencoders.")
    ] = None,
    refiner_steps: Annotated[
        int | None, typer.Option(help="Training steps of the refining network.")
    ] = None,
    judge_steps: Annotated[
        int | None, typer.Option(help="Training steps of the classifier that judges.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Split protocol. Default: the stores' first.")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="Networks for tests.")] = False,
    finished: Annotated[
        bool, typer.Option("--finished", help="Train nothing; tables of the runs that are done.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train systems at equal cost, score what each generates, write the tables."""
    options = {
        "budget_tflop": budget_tflop,
        "count": count,
        "seeds": seeds,
        "codec_seeds": codec_seeds,
        "clips_a_label": clips_a_label,
        "samples": samples,
        "steps": steps,
        "batch": batch,
        "autoencoder_steps": autoencoder_steps,
        "refiner_steps": refiner_steps,
        "judge_steps": judge_steps,
        "split": split,
        "tiny": tiny,
    }
    from train.evaluate.compare.compare import compare as compare_systems

    given = {name: value for name, value in options.items() if value is not None}
    folder = data or (None if store else Path("compare/stores"))
    names = [name.strip() for name in systems.split(",")] if systems else []
    compare_systems(
        store or [], folder, out, given,
        names=names, workers=workers, device=device, finished=finished,
    )  # fmt: skip


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run_command(app, "train"))


if __name__ == "__main__":
    main()
