from __future__ import annotations

import json

import pytest
import torch

from shared.errors import UserError
from train.diffusion.noise import NoiseOptions
from train.evaluate.cost import denoiser_pass as denoising_case
from train.models.block_autoencoder import BlockAutoencoderOptions
from train.models.kl_autoencoder import KlAutoencoderOptions
from train.recipe import autoencoder_options, recipe_from_dict
from train.recipes import load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_load_and_survive_json(name: str) -> None:
    recipe = load_recipe(name, [])
    assert recipe.name == name
    content = json.loads(json.dumps(recipe.to_dict()))
    assert recipe_from_dict(content) == recipe
    if recipe.autoencoder is not None:
        assert autoencoder_options(content["autoencoder"]) == recipe.autoencoder


PAPER = {
    *(f"vdm_{on}" for on in ("64", "128", "bair")),
    *(f"ldm_{on}" for on in ("128", "bair")),
    *(f"d_vdm_{on}" for on in ("64", "128", "bair")),
    *(f"ed_vdm_{on}" for on in ("64", "128", "256", "bair")),
}


def test_all_recipes_are_there() -> None:
    demos = {"vdm_demo", "ldm_demo", "d_vdm_demo", "ed_vdm_demo"}
    assert PAPER | demos <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_levels_fit_the_clips_a_recipe_was_designed_for(name: str) -> None:
    recipe = load_recipe(name, [])
    if (stated := name.rpartition("_")[2]).isdigit():
        assert recipe.designed_for.size == int(stated)
    case, autoencoder = denoising_case(recipe)
    assert (autoencoder is None) == (recipe.autoencoder is None)
    with torch.device("meta"):
        prediction = case.network()(*case.shapes.zeros())
        assert prediction.shape == (1, *case.shapes.x0)


@pytest.mark.parametrize("name", sorted(PAPER))
def test_recipes_of_the_paper_have_no_additions_of_ours(name: str) -> None:
    recipe = load_recipe(name, [])
    assert recipe.refiner is None
    assert recipe.denoiser.layout == 0
    assert recipe.noise == NoiseOptions(schedule="cosine", prediction="epsilon")
    assert (recipe.text.encoder is None) == name.endswith("_bair")
    assert recipe.space == type(recipe.space)(), "each space's own defaults are the paper's"


def test_an_unknown_recipe_lists_the_known() -> None:
    with pytest.raises(UserError, match=r"unknown recipe 'ed_vdm'; known: .*ed_vdm_demo"):
        load_recipe("ed_vdm", [])


def test_overrides_reach_every_depth_and_type() -> None:
    recipe = load_recipe(
        "ed_vdm_demo",
        [
            "seed=3",
            "split=subjects",
            "refiner=null",
            "denoiser.mults=[1, 2, 4]",
            "noise.zero_terminal_snr=true",
            "diffusion_training.seconds=null",
            "diffusion_training.learning_rate=1e-3",
            "sampler.name=dpm++",
        ],
    )
    assert (recipe.seed, recipe.split, recipe.refiner) == (3, "subjects", None)
    assert recipe.denoiser.mults == (1, 2, 4)
    assert recipe.noise.zero_terminal_snr is True
    assert recipe.diffusion_training.seconds is None
    assert recipe.diffusion_training.learning_rate == 1e-3
    assert recipe.sampler.name == "dpm++"


def test_an_override_changes_nothing_else() -> None:
    plain, changed = load_recipe("ed_vdm_128", []), load_recipe("ed_vdm_128", ["seed=5"])
    assert changed.to_dict() == plain.to_dict() | {"seed": 5}


def test_the_autoencoder_is_chosen_by_its_kind() -> None:
    assert isinstance(load_recipe("ed_vdm_demo", []).autoencoder, BlockAutoencoderOptions)
    kl = load_recipe("ed_vdm_demo", ["autoencoder.kind=kl"]).autoencoder
    assert isinstance(kl, KlAutoencoderOptions)
    assert kl == KlAutoencoderOptions(), "another kind starts from its own defaults"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampler.step=3", r"--set sampler.step=3: .*fields here: name, steps, guidance"),
        ("nope=1", r"--set nope=1: .*fields here: name, designed_for, space"),
        ("nope.deeper=1", r"--set nope.deeper=1: expected FIELD=VALUE"),
        ("seed.deeper=1", r"--set seed.deeper=1: expected FIELD=VALUE"),
        ("sampler.steps", r"--set sampler.steps: expected FIELD=VALUE"),
        ("=1", r"--set =1: expected FIELD=VALUE"),
        ("sampler.steps=many", r"sampler.steps: .*got 'many'"),
        ("sampler.name=euler", r"sampler.name: .*one of ddim, ddpm, dpm\+\+ \(got 'euler'"),
        ("diffusion_training.batch=0", r"diffusion_training.batch: .*greater than or equal to 1"),
        ("diffusion_training.learning_rate=-1", r"learning_rate: .*greater than 0"),
        ("autoencoder.kind=vq", r"autoencoder: .*'kl', 'block'"),
        ("noise=null", r"noise: "),
        ("seed=true", r"--set seed=true: is no field of true or false; it is 0 now"),
        ("label_dropout=yes", r"--set label_dropout=yes: is no field of true or false"),
        ("denoiser.mults=[true, 2]", r"is no field of true or false; it is \[1, 2\]"),
        ("diffusion_training.seconds=on", r"is no field of true or false"),
        ("diffusion_training.compile=1", r"compile=1: must be true or false"),
        ("noise.zero_terminal_snr=null", r"must be true or false"),
        ("diffusion_training.learning_rate=.inf", r"learning_rate: .*finite number"),
        ("sampler.guidance=.nan", r"guidance: .*finite number"),
        ("diffusion_training.gradient_norm=0", r"gradient_norm: .*greater than 0"),
        ("diffusion_training.beta2=1", r"beta2: .*less than 1"),
        ("refiner.width=0", r"refiner.width: .*greater than or equal to 1"),
        ("refiner.times=[0.3, 0.5]", r"refiner: .*times .*must fall"),
        ("refiner.times=[]", r"refiner.times: .*at least 1 item"),
        ("refiner.times=[1.5]", r"refiner.times.0: .*less than or equal to 1"),
    ],
)
def test_wrong_overrides_are_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("ed_vdm_demo", [override])


def test_options_that_contradict_each_other_are_refused() -> None:
    overrides = ["noise.zero_terminal_snr=true", "noise.prediction=epsilon"]
    with pytest.raises(UserError, match="zero_terminal_snr needs prediction='v'"):
        load_recipe("ed_vdm_demo", overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["autoencoder=null"], "the space 'codec' needs an autoencoder"),
        (["space.kind=rgb", "refiner=null"], "the space 'rgb' has no autoencoder"),
        (["space.kind=latent"], "a refiner stands behind motion and residual"),
        (["space.kind=latent", "space.factor=12"], "factor 12: must be a power of two"),
        (["sampler.dynamic_threshold=0.995"], "x_0 of the space 'codec' has no bounds"),
        (["sampler.steps=1001"], "sampler.steps 1001: must be at most 1000"),
        (["space.kind=wavelet"], "'rgb', 'latent', 'difference', 'codec'"),
    ],
)
def test_spaces_that_do_not_fit_the_rest_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("ed_vdm_demo", overrides)


def test_pixels_have_bounds_to_keep_them_in() -> None:
    recipe = load_recipe("vdm_demo", ["sampler.dynamic_threshold=0.995"])
    assert recipe.sampler.dynamic_threshold == 0.995


def test_a_value_that_is_not_yaml_is_named() -> None:
    with pytest.raises(UserError, match=r"--set denoiser\.mults="):
        load_recipe("ed_vdm_demo", ["denoiser.mults=[1, 2"])


def test_an_unknown_field_of_a_recipe_is_refused() -> None:
    content = load_recipe("ed_vdm_demo", []).to_dict()
    content["sampler"]["stepz"] = 3
    with pytest.raises(UserError, match="stepz"):
        recipe_from_dict(content)


@pytest.mark.parametrize(
    "override",
    [
        "diffusion_training.checkpoint_every=0",
        "diffusion_training.log_every=0",
        "sampler.steps=0",
        "label_dropout=2",
        "seed=-1",
    ],
)
def test_values_that_cannot_work_are_refused(override: str) -> None:
    with pytest.raises(UserError, match=override.split("=", maxsplit=1)[0]):
        load_recipe("ed_vdm_demo", [override])
