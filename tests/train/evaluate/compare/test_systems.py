from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UserError
from shared.schema import CodecOptions
from train.evaluate.compare.systems import (
    PAPER,
    CompareOptions,
    Extraction,
    Run,
    equal_steps,
    overrides,
    plan_runs,
    read_options,
    select,
    system_cost,
    systems,
)
from train.recipe import Recipe
from train.recipes import load_recipe

STORE = CodecOptions(size=64, block=8, reference="previous", motion_cost=0)
OPTIONS = CompareOptions(budget_tflop=12, batch=4, seeds=1)
ALL = systems(OPTIONS, STORE.block)
GFLOP = dict.fromkeys(ALL, 4.0) | {"rgb": 100.0, "difference": 100.0, "latent": 5.0}
SPACES = ("rgb", "latent", "difference", "codec")


def settings(options: CompareOptions = OPTIONS) -> dict[str, tuple[str, ...]]:
    return {name: overrides(system, options, STORE, "people") for name, system in ALL.items()}


def plan(options: CompareOptions = OPTIONS, names: tuple[str, ...] = ()) -> dict[str, Run]:
    stores = dict.fromkeys(ALL, "store")
    runs = plan_runs(select(ALL, names), settings(options), stores, GFLOP, options)
    return {run.name: run for run in runs}


def recipes() -> dict[str, Recipe]:
    return {name: load_recipe(ALL[name].recipe, [*settings()[name]]) for name in SPACES}


def test_runs_at_equal_flops_use_the_budget_and_no_more() -> None:
    runs = plan()
    steps = {name: runs[f"{name}-flops-seed0"].steps for name in SPACES}
    assert steps == {"rgb": 30, "latent": 600, "difference": 30, "codec": 750}


@given(st.floats(0.5, 1000), st.floats(0.01, 100), st.integers(1, 8))
def test_one_more_step_would_be_beyond_the_budget(tflop: float, gflop: float, batch: int) -> None:
    options = CompareOptions(budget_tflop=tflop, batch=batch)
    if gflop * batch > tflop * 1000:
        with pytest.raises(UserError, match="does not pay for one step"):
            equal_steps(options, gflop)
    else:
        steps = equal_steps(options, gflop)
        assert steps * batch * gflop <= tflop * 1000 * (1 + 1e-9)
        assert (steps + 1) * batch * gflop > tflop * 1000 * (1 - 1e-9)


def test_at_equal_steps_every_space_has_as_many_as_pixels_can_pay_for() -> None:
    runs = plan()
    short = {run.system: run for run in runs.values() if "equal_steps" in run.tables}
    assert {name: run.steps for name, run in short.items()} == dict.fromkeys(SPACES, 30)
    # Pixels are trained once for both tables; the others share their autoencoder.
    assert short["rgb"].tables == ("equal_flops", "equal_steps")
    assert short["codec"].after == "codec-flops-seed0"
    assert not short["codec"].takes_denoiser


def test_the_steps_of_a_budget_do_not_depend_on_the_systems_that_are_selected() -> None:
    alone = plan(names=("latent",))
    assert list(alone) == ["latent-flops-seed0", "latent-steps-seed0"]
    assert alone.items() <= plan().items()


def test_the_filter_is_trained_on_top_of_the_very_model_it_is_compared_with() -> None:
    runs = plan(replace(OPTIONS, codec_seeds=3), names=("codec-filter",))
    filtered, base = runs["codec-filter-flops-seed2"], runs["codec-first-flops-seed2"]
    assert filtered.after == base.name
    assert filtered.takes_denoiser
    assert filtered.steps == base.steps
    recipe = filtered.load_recipe()
    assert recipe.refiner is not None
    assert (recipe.seed, recipe.diffusion_training.steps) == (2, base.steps)


def test_seeds_count_for_each_table_by_itself() -> None:
    runs = plan(CompareOptions(budget_tflop=12, seeds=3, codec_seeds=1))
    assert runs["codec-flops-seed0"].tables == ("equal_flops", "codec")
    assert runs["codec-flops-seed2"].tables == ("equal_flops",)
    assert "codec-cost5-flops-seed0" in runs
    assert "codec-cost5-flops-seed1" not in runs


def test_systems_differ_in_nothing_but_their_space_and_its_networks() -> None:
    own = {"name", "space", "autoencoder", "denoiser", "diffusion_training"}
    common = [
        {name: value for name, value in recipe.to_dict().items() if name not in own}
        for recipe in recipes().values()
    ]
    assert all(content == common[0] for content in common)
    for recipe in recipes().values():
        training = recipe.diffusion_training
        assert training.batch == OPTIONS.batch
        assert (training.optimiser, training.seconds) == ("muon", None)
        assert recipe.split == "people"


def test_networks_have_the_same_number_of_parameters_within_eight_per_cent() -> None:
    costs = {name: system_cost(recipe) for name, recipe in recipes().items()}
    counts = [cost.parameters for cost in costs.values()]
    assert max(counts) / min(counts) < 1.08
    assert costs["rgb"].training / costs["codec"].training > 25
    assert costs["rgb"].training == costs["difference"].training


def test_a_store_fits_a_system_by_its_options_alone() -> None:
    assert PAPER.matches(STORE)
    assert not PAPER.matches(STORE.model_copy(update={"motion_cost": 0.3}))
    assert not PAPER.matches(STORE.model_copy(update={"vector_unit": 2}))
    command = Extraction("first", 5, 24).command("data/stores/old")
    assert command == (
        "python -m preprocess reblock data/stores/old --reference first --motion-cost 5"
        " --search-range 24 --out data/stores/first-cost5"
    )


def test_an_unknown_system_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no system 'rbg'; there are: rgb, latent"):
        select(ALL, ("latent", "rbg"))


def test_a_wrong_option_is_named_as_on_the_command_line() -> None:
    with pytest.raises(UserError, match="--budget-tflop -1"):
        read_options({"budget_tflop": -1.0})
