"""What the command line does, once its options are read."""

from __future__ import annotations

import json
from pathlib import Path

from shared.console import Progress, console
from shared.report.html import byte_count
from train.data.clips import open_store
from train.evaluate.codes import CODES_FILES, CodesOptions, codes_table, compare_codes
from train.evaluate.evaluate import PAGE, SCORES, TABLE, EvaluateOptions, evaluate
from train.evaluate.page import score_rows, shown
from train.evaluate.report import build_report
from train.generate.generator import load_with_store
from train.recipes import load_recipe
from train.run import RunFolder
from train.trainer.distributed import choose_device
from train.trainer.signals import stoppable

DEFAULT_COSTS = "vdm_128,ldm_128,d_vdm_128,ed_vdm_128"


def show_costs(names: str | None, overrides: list[str], as_json: bool, device: str) -> None:
    """Print what recipes cost; without names, the systems of the paper's Table 4 at 128x128."""
    from train.evaluate.cost import cost_data, cost_table, recipe_cost

    recipes = [load_recipe(name.strip(), overrides) for name in (names or DEFAULT_COSTS).split(",")]
    where = choose_device(device)
    with Progress().bar("counting", len(recipes), "recipes") as bar:
        costs = []
        for recipe in recipes:
            costs.append(recipe_cost(recipe, where))
            bar()
    if as_json:
        console.print_json(json.dumps(cost_data(costs)))
    else:
        console.print(cost_table(costs), markup=False)


def compare_residual_codes(store_path: str, out: Path, options: CodesOptions, device: str) -> None:
    """Print, and write into OUT, what residual codes of one latent size lose on test clips."""
    store, chosen = open_store(store_path), choose_device(device)
    out.mkdir(parents=True, exist_ok=True)
    with stoppable():
        content = compare_codes(store, out, options, chosen)
    console.print(codes_table(content), markup=False)
    console.print(f"wrote {', '.join(CODES_FILES)} in {out}", markup=False)


def evaluate_run(
    run: Path, store_path: str, out: Path, options: EvaluateOptions, device: str
) -> None:
    """Score a run by a protocol; see `train.evaluate.evaluate`."""
    generator, store = load_with_store(run, store_path, choose_device(device))
    with stoppable(), RunFolder(run).record_command():
        scores = evaluate(generator, store, run, out, options)
    for what, value, _ in score_rows(scores):
        console.print(f"{what:70} {shown(value)}", markup=False)
    console.print(
        f"protocol {options.protocol.name}: wrote {SCORES}, {TABLE}, {PAGE} and the clips in {out}."
        f" Next: python -m train report {run} --store {store_path}",
        markup=False,
    )


def report_run(
    run: Path, store_path: str | None, out: Path, before: list[str], device: str
) -> None:
    """Write OUT/index.html from a run; data and codec are shown where its store is given."""
    trained = load_with_store(run, store_path, choose_device(device)) if store_path else None
    page = build_report(run, out, before, trained, Progress())
    rest = "" if store_path else "; with --store STORE it shows data and reconstructions, too"
    console.print(f"open {page} ({byte_count(page.stat().st_size)}{rest})", markup=False)
