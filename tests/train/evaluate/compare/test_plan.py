from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UserError
from shared.schema import CodecOptions
from train.evaluate.compare.plan import Run, choose_clips, equal_steps, plan_codecs, plan_spaces
from train.evaluate.compare.systems import CompareOptions, codecs, read_options, spaces, system_cost

STORE = CodecOptions(size=64, block=8, reference="previous", motion_cost=0)
OPTIONS = CompareOptions(budget_tflop=12, batch=4)
GFLOP = {"rgb": 100.0, "difference": 100.0, "latent": 5.0, "codec": 4.0} | {
    system.name: 4.0 for system in codecs(OPTIONS, STORE)
}


def test_runs_at_equal_flops_use_the_budget_and_no_more() -> None:
    runs = [r for r in plan_spaces(spaces(OPTIONS, STORE), OPTIONS, GFLOP, 0) if _long(r)]
    assert [(run.system.name, run.steps) for run in runs] == [
        ("rgb", 30),
        ("latent", 600),
        ("difference", 30),
        ("codec", 750),
    ]


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
    runs = plan_spaces(spaces(OPTIONS, STORE), OPTIONS, GFLOP, 0)
    short = {run.system.name: run for run in runs if "steps" in run.budgets}
    assert {name: run.steps for name, run in short.items()} == dict.fromkeys(short, 30)
    assert list(short) == ["rgb", "latent", "difference", "codec"]
    # Pixels are trained once for both tables; the others share their autoencoder.
    assert short["rgb"].budgets == ("flops", "steps")
    assert short["codec"].after == "codec-flops-seed0"
    assert "vae" in short["codec"].takes


def test_the_filter_stands_behind_the_very_model_it_is_compared_with() -> None:
    runs = {run.system.name: run for run in plan_codecs(codecs(OPTIONS, STORE), OPTIONS, GFLOP, 2)}
    filtered, base = runs["codec-filter"], runs["codec-first"]
    assert filtered.after == base.name
    assert filtered.takes == ("vae", "statistics", "diffusion")
    assert filtered.recipe.refiner is not None
    assert filtered.steps == base.steps
    assert filtered.recipe.seed == 2


def test_systems_differ_in_nothing_but_their_space() -> None:
    recipes = [system.recipe for system in spaces(OPTIONS, STORE)]
    for field in ("noise", "sampler", "text", "label_dropout", "split", "refiner"):
        assert len({repr(getattr(recipe, field)) for recipe in recipes}) == 1, field
    for recipe in recipes:
        assert recipe.denoiser.layout == 0
        assert recipe.diffusion_training.batch == OPTIONS.batch
        assert recipe.diffusion_training.optimiser == "muon"


def test_networks_have_the_same_number_of_parameters_within_eight_per_cent() -> None:
    costs = {s.recipe.name: system_cost(s.recipe) for s in spaces(OPTIONS, STORE)}
    counts = [cost.parameters for cost in costs.values()]
    assert max(counts) / min(counts) < 1.08
    assert costs["rgb"].training / costs["codec"].training > 25
    assert costs["rgb"].training == costs["difference"].training


@given(st.data())
def test_chosen_clips_are_test_clips_of_every_label_and_of_different_people(
    data: st.DataObject,
) -> None:
    labels, people, each = (data.draw(st.integers(1, 4)) for _ in range(3))
    label = np.tile(np.repeat(np.arange(labels), each), people)
    subject = np.repeat(np.arange(people), labels * each)
    test = np.flatnonzero(subject < max(1, people - 1))
    per_label = data.draw(st.integers(1, each * max(1, people - 1)))
    chosen = choose_clips(label, subject, test, per_label)
    assert len(set(chosen.tolist())) == len(chosen) == labels * per_label
    assert set(chosen.tolist()) <= set(test.tolist())
    for one in range(labels):
        own = subject[chosen[label[chosen] == one]]
        assert len(set(own.tolist())) == min(per_label, max(1, people - 1))


def test_too_few_test_clips_of_a_label_are_named() -> None:
    label, subject = np.array([0, 0, 1]), np.zeros(3, np.int64)
    with pytest.raises(UserError, match="--clips-a-label 2: label 1 has 1 test clips"):
        choose_clips(label, subject, np.arange(3), 2)


def test_a_wrong_option_is_named_as_on_the_command_line() -> None:
    with pytest.raises(UserError, match="--budget-tflop -1"):
        read_options({"budget_tflop": -1.0})


def _long(run: Run) -> bool:
    return "flops" in run.budgets
