"""The table of systems, and the plan that follows from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UserError
from shared.schema import CodecOptions
from train.evaluate.compare.plan import (
    Run,
    SystemCost,
    affordable_steps,
    plan_runs,
    stage_steps,
    stage_tflop,
    system_cost,
)
from train.evaluate.compare.systems import (
    PAPER,
    CompareOptions,
    Extraction,
    System,
    overrides,
    read_options,
    select,
    systems,
)
from train.evaluate.cost import denoiser_pass
from train.recipe import Recipe
from train.recipes import load_recipe

STORE = CodecOptions(size=64, block=8, reference="previous", motion_cost=0)
OPTIONS = CompareOptions(budget_tflop=12, batch=4, seeds=1)
ALL = systems(OPTIONS, STORE.block)
GFLOP = dict.fromkeys(ALL, 4.0) | {"rgb": 100.0, "difference": 100.0, "latent": 5.0}
SPACES = ("rgb", "latent", "flow", "planes", "difference", "codec")
CLIPS, TRAINING = 100, 80


def store_for(system: System) -> CodecOptions:
    """Options of the store that a system takes."""
    wanted = system.extraction
    if wanted is None:
        return STORE
    options = vars(wanted) | {"size": 64, "block": wanted.block or STORE.block}
    return CodecOptions.model_validate(options)


def settings(options: CompareOptions = OPTIONS) -> dict[str, tuple[str, ...]]:
    return {
        name: overrides(system, options, store_for(system), "people")
        for name, system in ALL.items()
    }


def plan(options: CompareOptions = OPTIONS, names: tuple[str, ...] = ()) -> dict[str, Run]:
    stores = dict.fromkeys(ALL, "store")
    steps = {
        name: affordable_steps(options.budget_tflop, gflop * options.batch, name)
        for name, gflop in GFLOP.items()
    }
    runs = plan_runs(select(ALL, names), settings(options), stores, GFLOP, steps, options)
    return {run.name: run for run in runs}


def recipes(names: tuple[str, ...] = SPACES) -> dict[str, Recipe]:
    return {name: load_recipe(ALL[name].recipe, [*settings()[name]]) for name in names}


@pytest.fixture(scope="module")
def costs() -> dict[str, SystemCost]:
    """Counted on one clip of an autoencoder's batch: figures are of a clip."""
    found = {}
    for name, recipe in recipes((*SPACES, "codec-filter")).items():
        one = replace(recipe, autoencoder_training=replace(recipe.autoencoder_training, batch=1))
        found[name] = system_cost(one, CLIPS, TRAINING)
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_row_can_be_built_on_the_store_it_takes(name: str) -> None:
    (recipe,) = recipes((name,)).values()
    assert denoiser_pass(recipe)[0].shapes.x0


def test_runs_at_equal_flops_use_the_budget_and_no_more() -> None:
    runs = plan()
    steps = {name: runs[f"{name}-flops-seed0"].steps for name in SPACES}
    assert steps == {
        "rgb": 30, "latent": 600, "flow": 750, "planes": 750, "difference": 30, "codec": 750
    }  # fmt: skip


@given(st.floats(0.5, 1000), st.floats(0.01, 1000), st.floats(0.01, 1), st.floats(0, 600))
def test_one_more_step_would_be_beyond_the_budget(
    tflop: float, gflop: float, part: float, once: float
) -> None:
    room = tflop * 1000 * part
    if gflop + once > room * (1 + 1e-9):
        with pytest.raises(UserError, match="does not pay for one step"):
            affordable_steps(tflop, gflop, "a system", part=part, once=once)
    elif gflop + once < room * (1 - 1e-9):
        steps = affordable_steps(tflop, gflop, "a system", part=part, once=once)
        assert once + steps * gflop <= room * (1 + 1e-9)
        assert once + (steps + 1) * gflop > room * (1 - 1e-9)


def test_the_budget_that_is_named_as_enough_is_enough() -> None:
    with pytest.raises(
        UserError, match=r"one step of a system: 100.0 GFLOP and 50.0 before; give at least 0\.3$"
    ):
        affordable_steps(0.1, 100, "a system", part=0.5, once=50)
    assert affordable_steps(0.3, 100, "a system", part=0.5, once=50) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rgb", "latent", "flow", "codec-filter"])
def test_a_budget_for_all_stages_is_used_by_all_stages(
    name: str, costs: dict[str, SystemCost]
) -> None:
    cost, recipe = costs[name], recipes((name,))[name]
    alone = stage_steps(ALL[name], recipe, cost, OPTIONS)
    assert alone == {"diffusion": affordable_steps(12, cost.training * OPTIONS.batch, name)}
    steps = stage_steps(ALL[name], recipe, cost, replace(OPTIONS, count="all"))
    own = [f"{stage}_training.steps={count}" for stage, count in steps.items()]
    recipe = load_recipe(ALL[name].recipe, [*settings()[name], *own])
    tflop = stage_tflop(recipe, cost)
    # Less than a step of each stage is left over.
    step = {"autoencoder": cost.autoencoder, "diffusion": cost.training, "refiner": cost.refiner}
    rest = sum(
        gflop * getattr(recipe, f"{stage}_training").batch / 1000 for stage, gflop in step.items()
    )
    assert 12 - rest < sum(tflop.values()) <= 12 * (1 + 1e-9)
    # Seconds in the recipes on their own: flow 300 of 600, the filter 20 and 120 of 500.
    parts = {"flow": (0.5, 0), "codec-filter": (20 / 500, 120 / 500), "latent": (20 / 380, 0)}
    for stage, part in zip(
        ("autoencoder", "refining network"), parts.get(name, (0, 0)), strict=True
    ):
        assert tflop[stage] == pytest.approx(12 * part, abs=rest)


def test_where_all_stages_are_paid_for_the_filter_trains_its_own_model() -> None:
    runs = plan(replace(OPTIONS, count="all"), names=("codec-filter",))
    assert runs["codec-filter-flops-seed0"].after is None
    assert not runs["codec-filter-flops-seed0"].takes_denoiser


@pytest.mark.slow
def test_an_autoencoder_of_pairs_costs_more_a_clip_than_one_of_blocks(
    costs: dict[str, SystemCost],
) -> None:
    assert costs["rgb"].autoencoder == costs["rgb"].latents == 0
    assert 4 < costs["flow"].autoencoder / costs["latent"].autoencoder < 8
    # All frames but the first of all clips, by the encoder alone.
    assert costs["latent"].latents == pytest.approx(CLIPS * 15 * 64 * 2 * 118_272 / 1e9, rel=0.02)
    # The first frame's features are made anew in every step.
    assert costs["flow"].training / costs["latent"].training == pytest.approx(1, abs=0.03)


def test_at_equal_steps_every_space_has_as_many_as_pixels_can_pay_for() -> None:
    runs = plan()
    short = {run.system: run for run in runs.values() if "equal_steps" in run.tables}
    assert {name: run.steps for name, run in short.items()} == dict.fromkeys(
        (*SPACES, "guided"), 30
    )
    # Pixels are trained once for both tables; the others share their autoencoder.
    assert short["rgb"].tables == ("equal_flops", "equal_steps")
    assert short["codec"].after == "codec-flops-seed0"
    assert not short["codec"].takes_denoiser


def test_the_steps_of_a_budget_do_not_depend_on_the_systems_that_are_selected() -> None:
    alone = plan(names=("latent",))
    assert list(alone) == ["latent-flops-seed0", "latent-steps-seed0"]
    assert alone.items() <= plan().items()


def test_a_budget_for_all_stages_has_no_table_of_equal_steps_of_one_of_them() -> None:
    assert list(plan(replace(OPTIONS, count="all"), names=("latent",))) == ["latent-flops-seed0"]


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
    own = {"name", "space", "autoencoder", "denoiser", "diffusion_training", "condition_dropout"}
    own.add("designed_for")  # the vectors of its store
    contents = {name: recipe.to_dict() for name, recipe in recipes().items()}
    assert contents["flow"]["autoencoder_training"].pop("learning_rate") == 2e-3
    for name in SPACES:
        contents[name]["autoencoder_training"].pop("learning_rate", None)
    common = [
        {name: value for name, value in content.items() if name not in own}
        for content in contents.values()
    ]
    assert all(content == common[0] for content in common)
    for recipe in recipes().values():
        training = recipe.diffusion_training
        assert training.batch == OPTIONS.batch
        assert (training.optimiser, training.seconds) == ("muon", None)
        assert recipe.split == "people"


def test_a_guide_has_the_same_training_and_its_denoiser_as_many_steps() -> None:
    recipe = plan()["guided-flops-seed0"].load_recipe()
    assert recipe.guide is not None
    assert recipe.diffusion_training == recipe.guide.diffusion_training
    assert recipe.diffusion_training.steps == affordable_steps(12, 4.0 * OPTIONS.batch, "guided")
    same = ("designed_for", "noise", "text", "label_dropout", "sampler", "split", "seed")
    assert all(getattr(recipe, name) == getattr(recipe.guide, name) for name in same)
    assert recipe.decoder is None
    assert recipe.condition_dropout == {"warped": 0.5}


@pytest.mark.slow
def test_networks_have_the_same_number_of_parameters_within_eight_per_cent(
    costs: dict[str, SystemCost],
) -> None:
    counts = [costs[name].parameters for name in SPACES]
    assert max(counts) / min(counts) < 1.08
    assert costs["rgb"].training / costs["codec"].training > 25
    assert costs["rgb"].training == costs["difference"].training


def test_a_store_fits_a_system_by_its_options_alone() -> None:
    assert PAPER.matches(STORE)
    assert not PAPER.matches(STORE.model_copy(update={"motion_cost": 0.3}))
    assert not PAPER.matches(STORE.model_copy(update={"vector_unit": 2}))
    overlapped = STORE.model_copy(update={"compensation": "overlapped"})
    assert not PAPER.matches(overlapped)
    assert replace(PAPER, compensation="overlapped").matches(overlapped)
    wanted = Extraction("first", 5, 24)
    command = "dvdm-preprocess reblock data/stores/old --reference first --motion-cost 5"
    whole = "--method exhaustive --vector-unit 1 --out data/stores"
    assert wanted.command("data/stores/old") == (
        f"{command} --search-range 24 --compensation block {whole}/first-cost5"
    )
    overlapping = replace(wanted, compensation="overlapped")
    assert overlapping.command("data/stores/old") == (
        f"{command} --search-range 24 --compensation overlapped {whole}/first-cost5-overlapped"
    )


def test_a_system_may_want_blocks_of_its_own() -> None:
    wanted = Extraction("first", 5, 24, "interpolated", "variational", vector_unit=4, block=4)
    command = wanted.command("old")
    assert command.endswith(
        "--vector-unit 4 --block 4 --out ./first-cost5-interpolated-variational"
    )
    own = {**vars(wanted), "size": 64}
    assert wanted.matches(CodecOptions(**own))
    assert not wanted.matches(CodecOptions(**{**own, "block": 8}))
    assert not wanted.matches(CodecOptions(**{**own, "method": "exhaustive"}))


def test_a_system_is_searched_as_the_table_says_not_as_its_recipe_wants() -> None:
    for name, recipe in recipes(tuple(ALL)).items():
        shape, wanted = recipe.designed_for, ALL[name].extraction
        assert (shape.size, shape.frames) == (64, 16)
        assert shape.block == ((wanted and wanted.block) or 8)
        searched = shape.vectors and Extraction(**vars(shape.vectors))
        assert searched == (wanted and replace(wanted, block=None))


def test_an_unknown_system_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no system 'rbg'; there are: rgb, latent"):
        select(ALL, ("latent", "rbg"))


def test_steps_that_the_budget_decides_are_refused() -> None:
    given = {"count": "all", "refiner_steps": 3, "autoencoder_steps": 3}
    with pytest.raises(UserError, match="--autoencoder-steps: with --count all they follow"):
        read_options(given)
    assert read_options({**given, "count": "denoiser"}).refiner_steps == 3


def test_a_wrong_option_is_named_as_on_the_command_line() -> None:
    with pytest.raises(UserError, match="--budget-tflop -1"):
        read_options({"budget_tflop": -1.0})
    with pytest.raises(UserError, match=r"--count both: .*'denoiser' or 'all'"):
        read_options({"count": "both"})
