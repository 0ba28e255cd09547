from __future__ import annotations

import json

import pytest
import torch
import typer
from pydantic import TypeAdapter, ValidationError

from preprocess.__main__ import app as preprocess
from preprocess.options import CLIP_OPTIONS, SEARCH_OPTIONS, codec_options
from shared.conventions import FrameSize
from shared.errors import UserError
from shared.manifest import load_manifest
from shared.schema import CodecOptions
from train.diffusion.noise import NoiseOptions
from train.models import AUTOENCODERS, build_autoencoder, build_denoiser
from train.models.block_autoencoder import BlockAutoencoderOptions
from train.models.kl_autoencoder import KlAutoencoderOptions
from train.options import PartError, one_of, read_options
from train.recipe import Recipe, recipe_from_dict, store_warning
from train.recipes import load_recipe, recipe_names
from train.spaces import SPACES, build_space
from train.spaces.latent import LatentSpaceOptions
from train.stages.diffusion import saved_fields


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_round_trip_through_json(name: str) -> None:
    recipe = load_recipe(name, [])
    assert recipe.name == name
    content = json.loads(json.dumps(recipe.to_dict()))
    assert recipe_from_dict(content) == recipe
    if recipe.autoencoder is not None:
        assert read_options(AUTOENCODERS, content["autoencoder"]) == recipe.autoencoder


PAPER = {
    *(f"vdm_{on}" for on in ("64", "128", "bair")),
    *(f"ldm_{on}" for on in ("128", "bair")),
    *(f"d_vdm_{on}" for on in ("64", "128", "bair")),
    *(f"ed_vdm_{on}" for on in ("64", "128", "256", "bair")),
}


def test_all_recipes_are_there() -> None:
    demos = {"vdm_demo", "ldm_demo", "d_vdm_demo", "ed_vdm_demo", "pvdm_demo", "movideo_demo"}
    assert PAPER | demos <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_levels_fit_the_clips_a_recipe_was_designed_for(name: str) -> None:
    recipe = load_recipe(name, [])
    if (stated := name.rpartition("_")[2]).isdigit():
        assert recipe.designed_for.size == int(stated)
    clips, kind = recipe.designed_for, SPACES[recipe.space.kind]
    any_vectors = {"block": clips.block, "search_range": 16, "reference": "previous"}
    store = CodecOptions(frames=clips.frames, **any_vectors | clips.extraction)
    with torch.device("meta"):
        autoencoder = None
        if recipe.autoencoder is not None:
            cell = kind.latent_cell(recipe.space, store)  # type: ignore[attr-defined]
            autoencoder = build_autoencoder(recipe.autoencoder, cell, store)
        space = build_space(recipe.space, store, autoencoder)
        network = build_denoiser(recipe.denoiser, space.denoiser_input, 4)
        assert network(*space.denoiser_input.zeros()).shape == (1, *space.shape)


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
        ("sampler.step=3", r"--set sampler.step=3: .*fields here: name, steps, next_steps,"),
        ("nope.deeper=1", r"--set nope.deeper=1: expected FIELD=VALUE"),
        ("seed.deeper=1", r"--set seed.deeper=1: expected FIELD=VALUE"),
        ("sampler.steps", r"--set sampler.steps: expected FIELD=VALUE"),
        ("=1", r"--set =1: expected FIELD=VALUE"),
        ("sampler.steps=many", r"sampler.steps: .*got 'many'"),
        ("sampler.name=euler", r"sampler.name: .*one of ddim, ddpm, dpm\+\+ \(got 'euler'"),
        ("autoencoder.kind=vq", r"autoencoder: kind must be one of kl, block, .*got 'vq'"),
        ("denoiser=null", r"denoiser: kind must be one of unet3d, planes_unet, got None"),
        ("denoiser=3", r"denoiser: kind must be one of unet3d, planes_unet, got None"),
        ("space=null", r"space: kind must be one of rgb, latent, .*, got None"),
        ("space=rgb", r"space: kind must be one of rgb, latent, .*, got None"),
        ("label_dropout=yes", r"--set label_dropout=yes: "),
        ("denoiser.mults=[true, 2]", r"--set denoiser.mults=\[true, 2\]: "),
        ("diffusion_training.compile=1", r"compile=1: must be true or false"),
        ("noise.zero_terminal_snr=null", r"must be true or false"),
        ("sampler.guidance=.nan", r"guidance: .*finite number"),
        ("refiner.times=[0.3, 0.5]", r"refiner: .*times .*must fall"),
        ("refiner.times=[1.5]", r"refiner.times.0: .*less than or equal to 1"),
        ("denoiser.dim=12", r"recipe ed_vdm_demo: denoiser.dim: .*multiple of 8 \(got 12\)"),
        ("condition_dropout={motion: 2}", r"condition_dropout.motion: .*less than or equal to 1"),
        ("denoiser.mults=[1, 2", r"--set denoiser\.mults="),
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
        (["space.kind=latent"], "a refiner .*space.kind=codec only"),
        (
            ["space.kind=latent", "refiner=null", "autoencoder.kind=contextual"],
            "space.kind=codec only",
        ),
        (["space.kind=latent", "space.factor=12"], "factor 12: must be a power of two"),
        (["sampler.dynamic_threshold=0.995"], "x_0 of the space 'codec' has no bounds"),
        (["sampler.steps=1001"], "sampler.steps 1001: must be at most 1000"),
        (["space.kind=wavelet"], "space: kind must be one of rgb, latent, difference, codec"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("ed_vdm_demo", overrides)


def test_thresholding_is_allowed_where_x0_is_bounded() -> None:
    recipe = load_recipe("vdm_demo", ["sampler.dynamic_threshold=0.995"])
    assert recipe.sampler.dynamic_threshold == 0.995


def test_an_unknown_field_of_a_recipe_is_refused() -> None:
    content = load_recipe("ed_vdm_demo", []).to_dict()
    content["denoiser"]["dimm"] = 3
    with pytest.raises(UserError, match=r"denoiser\.dimm: .*got 3"):
        recipe_from_dict(content)


def test_options_are_read_by_their_kind() -> None:
    found = read_options(AUTOENCODERS, {"kind": "block", "hidden": 8})
    assert found == BlockAutoencoderOptions(hidden=8)
    assert read_options(AUTOENCODERS, found) is found


@pytest.mark.parametrize(
    "value", [{"kind": "vq"}, {}, "kl", {"kind": ["kl"]}, LatentSpaceOptions(), None]
)
def test_an_unknown_kind_lists_the_choices(value: object) -> None:
    with pytest.raises(ValueError, match=f"kind must be one of {', '.join(AUTOENCODERS)}, got"):
        read_options(AUTOENCODERS, value)


def test_a_wrong_field_of_a_part_keeps_its_path() -> None:
    wrong = {"kind": "block", "hidden": "many"}
    with pytest.raises(PartError) as caught:
        read_options(AUTOENCODERS, wrong)
    assert caught.value.fault.errors()[0]["loc"] == ("hidden",)
    with pytest.raises(ValidationError, match="hidden"):
        TypeAdapter(one_of(AUTOENCODERS)).validate_python(wrong)
    content = load_recipe("ed_vdm_demo", []).to_dict()
    guided = content | {"guide": content | {"autoencoder": wrong}}
    with pytest.raises(UserError, match=r"guide\.autoencoder\.hidden: .*got 'many'"):
        recipe_from_dict(guided)


def test_a_recipe_with_a_guide_survives_json() -> None:
    guide = load_recipe("vdm_demo", [])
    content = load_recipe("ed_vdm_demo", []).to_dict()
    recipe = recipe_from_dict(content | {"guide": guide.to_dict()})
    assert isinstance(recipe.guide, Recipe)
    assert recipe.guide == guide
    assert recipe_from_dict(recipe.to_dict()) == recipe


def test_the_labels_dropout_stands_first_among_those_of_conditions() -> None:
    recipe = load_recipe("ed_vdm_demo", ["label_dropout=0.2", "condition_dropout={motion: 0.5}"])
    assert list(recipe.dropout.items()) == [("label", 0.2), ("motion", 0.5)]


def test_a_deleted_option_is_ignored_where_it_was_off_and_refused_where_it_was_on() -> None:
    recipe = load_recipe("ed_vdm_demo", [])
    content = recipe.to_dict()
    for used in (False, True):
        content["space"]["conditioned_decoder"] = used
        if not used:
            assert recipe_from_dict(content) == recipe
            continue
        with pytest.raises(UserError, match=r"the option was removed; .*kind=contextual"):
            recipe_from_dict(content)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipes_flags_make_the_store_it_was_designed_for(name: str) -> None:
    clips = load_recipe(name, []).designed_for
    run = typer.main.get_command(preprocess).commands["run"]  # type: ignore[attr-defined]
    found = run.make_context("run", ["folder", *clips.extraction_flags.split()]).params
    given = {option: found[option] for option in CLIP_OPTIONS | SEARCH_OPTIONS}
    store = codec_options(load_manifest("folder"), given)
    assert {option: getattr(store, option) for option in clips.extraction} == clips.extraction
    assert {o for o, value in given.items() if value is not None} == clips.extraction.keys()
    assert store_warning(load_recipe(name, []), store) is None


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_of_the_codec_and_no_others_want_vectors(name: str) -> None:
    recipe = load_recipe(name, [])
    flow = recipe.autoencoder if recipe.space.kind == "flow" else None
    pulled = flow is not None and (flow.vector_weight > 0 or flow.predictor == "store")
    wants = recipe.designed_for.vectors is not None
    assert wants == (recipe.space.kind in ("codec", "vectors") or pulled)


def test_the_default_extraction_is_not_what_the_demo_was_designed_for() -> None:
    warning = store_warning(load_recipe("ed_vdm_demo", []), CodecOptions())
    assert warning is not None
    assert warning.splitlines() == [
        "  --size 128, not 64: 4 times the pixels in every step",
        "  --block 16, not 8: motion finer than a block is left to the residual, whose small code"
        " blurs it",
        "  --search-range 16, not 24: motion of more than 16 pixels is left to the residual",
        "  --reference previous, not first: a mistake in one generated frame is carried on into all"
        " later ones",
        "  --motion-cost 0.3, not 5: less regular vectors: small models generate them in wrong"
        " places, and pictures break up",
        "It was designed for: dvdm-preprocess run DATASET --size 64 --block 8 --search-range"
        " 24 --reference first --motion-cost 5 --method exhaustive --compensation block"
        " --vector-unit 1",
    ]


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("size", 32, "0.25 times the pixels in every step"),
        ("size", "64x36", "--size 64x36, not 64: 0.56 times the pixels in every step"),
        ("block", 4, "4 times the blocks in every step"),
        ("search_range", 32, "longer vectors"),
        ("reference", "either", "a block whose generated reference is wrong"),
        ("motion_cost", 8.0, "fewer vectors: the residual paints more of the change"),
        ("method", "variational", "smooth fields, which hard blocks show badly"),
        ("compensation", "interpolated", "neighbouring vectors tear the picture"),
        ("vector_unit", 4, "finer vectors: more values to generate"),
    ],
)
def test_a_store_on_the_other_side_of_what_was_wanted_is_another_warning(
    option: str, value: object, expected: str
) -> None:
    recipe = load_recipe("ed_vdm_demo", [])
    store = CodecOptions(**{**recipe.designed_for.extraction, option: value})
    warning = store_warning(recipe, store)
    assert warning is not None
    [line, _] = warning.splitlines()
    assert line.startswith(f"  --{option.replace('_', '-')} ") and expected in line


def test_a_size_that_is_not_square_is_written_as_the_option_is() -> None:
    recipe = load_recipe("ed_vdm_demo", ["designed_for.size=256x144"])
    assert recipe.designed_for.extraction["size"] == FrameSize(144, 256)
    assert recipe.designed_for.extraction_flags.startswith("--size 256x144 --block 8")
    assert recipe.to_dict()["designed_for"]["size"] == "256x144"
    assert recipe_from_dict(recipe.to_dict()) == recipe
    for square in ("64", "64x64", "'64'"):
        same = load_recipe("ed_vdm_demo", [f"designed_for.size={square}"])
        assert same == load_recipe("ed_vdm_demo", [])
        assert same.to_dict()["designed_for"]["size"] == 64
    for wrong in ("0", "256:144", "[144, 256]", "null"):
        with pytest.raises(UserError, match=r"designed_for.size: must be the side of a square"):
            load_recipe("ed_vdm_demo", [f"designed_for.size={wrong}"])


def test_vectors_do_not_matter_to_a_recipe_that_does_not_learn_from_them() -> None:
    store = CodecOptions(size=64, block=32, reference="either", motion_cost=9)
    assert store_warning(load_recipe("vdm_demo", []), store) is None


def test_the_wanted_store_is_no_part_of_what_a_run_is() -> None:
    recipe = load_recipe("ed_vdm_demo", [])
    other = load_recipe("ed_vdm_demo", ["designed_for.size=16", "designed_for.vectors=null"])
    assert saved_fields(recipe.to_dict()) == saved_fields(other.to_dict())
    content = recipe.to_dict()
    del content["designed_for"]["vectors"]  # as an earlier version saved it
    assert recipe_from_dict(content).designed_for.vectors is None
