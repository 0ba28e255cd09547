"""From a store to a video, through the command line; exit codes and messages."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shared.conventions import FrameSize
from shared.schema import StoreAttributes
from shared.store.layout import ATTRIBUTE, METADATA
from shared.store.lock import hold
from shared.store.store import Store, create_store
from tests.train.conftest import (
    NO_REFINER,
    STAGES,
    TINY_FILLED,
    TINY_FLOW,
    TINY_LATENT,
    TINY_PAPER,
    TINY_PIXELS,
    Overrides,
    call_train,
    train_stages,
)
from tests.train.stores import OPTIONS, make_store

Cli = Callable[..., tuple[int, str, str]]


def test_training_writes_every_stage(run: Path) -> None:
    for stage in ("vae", "diffusion", "refiner"):
        assert (run / stage / "config.json").is_file()
        assert len((run / stage / "metrics.jsonl").read_text().splitlines()) == 4
        assert (run / stage / "step-00000004" / "ema.safetensors").is_file()
    statistics = json.loads((run / "statistics" / "config.json").read_text())
    assert len(statistics["mean"]) == len(statistics["std"]) == 6
    commands = [json.loads(line) for line in (run / "commands.jsonl").read_text().splitlines()]
    # Other tests evaluate the same run; their commands follow these.
    stages = [record["command"].split()[1] for record in commands[:3]]
    assert stages == ["vae", "encode", "diffusion"]
    assert json.loads((run / "recipe.json").read_text())["denoiser"]["dim"] == 16


def test_a_sample_is_a_video_and_a_sheet(
    cli: Cli, run: Path, picture: Path, tmp_path: Path
) -> None:
    import av

    video = tmp_path / "new" / "v.mp4"
    code, out, err = cli("sample", "--run", run, "--image", picture, "--text", "Go", "--out", video)
    assert code == 0, err
    assert f"{picture}: 30x20, cut to the middle, resized to 16x16, as the store" in out
    assert "dpm++, 4 steps; 'Go', guidance 3; seed 0; 4 frames" in out
    for name in ("v.mp4", "v.gif", "v.png", "v-motion.mp4", "v-motion.gif"):
        assert f"wrote {video.with_name(name)}" in out
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == OPTIONS.frames
    assert frames[0].shape == (256, 256, 3)
    sheet = np.asarray(Image.open(video.with_suffix(".png")))
    assert sheet.shape == (16, 4 * 16 + 3 * 2, 3)
    given = Image.open(picture).crop((5, 0, 25, 20)).resize((16, 16), Image.Resampling.LANCZOS)
    assert abs(sheet[:, :16].astype(int) - np.asarray(given).astype(int)).max() <= 25


def test_the_seed_and_the_label_decide(cli: Cli, run: Path, picture: Path, tmp_path: Path) -> None:
    def sheet(name: str, *more: object) -> bytes:
        code, _, err = cli(
            "sample", "--run", run, "--image", picture, "--out", tmp_path / f"{name}.mp4", *more
        )
        assert code == 0, err
        return (tmp_path / f"{name}.png").read_bytes()

    turn = sheet("turn", "--text", "Turn Left", "--seed", 3)
    assert sheet("again", "--text", "Turn Left", "--seed", 3) == turn
    assert sheet("spelled", "--text", " tURN lEFT ", "--seed", 3) == turn
    others = [
        sheet("seed", "--text", "Turn Left", "--seed", 4),
        sheet("label", "--text", "Halt", "--seed", 3),
        sheet("free", "--seed", 3),
    ]
    assert len({turn, *others}) == 4


def test_every_option_of_sampling_reaches_the_sampler(
    cli: Cli, run: Path, picture: Path, tmp_path: Path
) -> None:
    given = ("--run", run, "--image", picture, "--text", "Go", "--out", tmp_path / "v.mp4")
    more = ("--sampler", "ddim", "--steps", 3, "--eta", 0.5, "--guidance", 2, "--seed", 9)
    code, out, err = cli("sample", *given, *more, "--count", 2, "--frames", 7)
    assert code == 0, err
    assert "ddim, 3 steps; 'Go', guidance 2; seeds 9 to 10; 7 frames in 2 clips" in out
    with Image.open(tmp_path / "v.png") as sheet:
        assert sheet.size == (7 * 16 + 6 * 2, 2 * 16 + 2)
    assert (tmp_path / "v-09.mp4").is_file() and (tmp_path / "v-10-motion.gif").is_file()


def test_mistakes_in_sampling_are_named(cli: Cli, run: Path, picture: Path, tmp_path: Path) -> None:
    good = {"--run": run, "--image": picture, "--out": tmp_path / "v.mp4"}
    (tmp_path / "text.png").write_text("no picture")
    cases: list[tuple[dict[str, object], str]] = [
        ({"--text": "Jump"}, "'Jump' is not a label of this run; its labels: 'Go', 'Halt', 'Turn"),
        ({"--image": tmp_path / "none.png"}, "no such file"),
        ({"--image": tmp_path / "text.png"}, "not a readable picture"),
        ({"--out": tmp_path / "v.gif"}, "give a name that ends in .mp4"),
        ({"--run": tmp_path / "none"}, "run first: dvdm-train diffusion"),
        ({"--device": "warp"}, "--device warp: must be auto, cpu, cuda or cuda:N"),
        ({"--seed": -1}, "--seed"),
        ({"--count": 0}, "--count"),
        ({"--frames": 1}, "--frames"),
        ({"--sampler": "euler"}, "--sampler euler: must be one of ddim, ddpm, dpm++"),
        ({"--steps": 2000}, "sampler.steps 2000: must be at most 1000, the number of noise steps"),
        ({"--eta": 0.5}, "eta is an option of ddim; the sampler is dpm++"),
        ({"--guidance": 2}, "--guidance leads towards a text; give --text too"),
        ({"--dynamic-threshold": 0.99}, "x_0 of the space 'codec' has no bounds to keep it in"),
    ]
    for changes, message in cases:
        code, out, err = cli(
            "sample", *(part for pair in (good | changes).items() for part in pair)
        )
        assert (code, out) == (2, ""), message
        assert message in err
        assert "Traceback" not in err
    assert not (tmp_path / "v.mp4").exists()


def test_another_store_than_the_recipe_wants_is_used_with_a_warning(
    cli: Cli, store: Store, tmp_path: Path
) -> None:
    """What a recipe was designed for is no part of a run: it goes on where it was."""
    assert cli("extraction", "--recipe", "vdm_demo") == (0, "--size 64\n", "")
    given = ("--store", store.path, "--out", tmp_path / "run", "--set", "refiner=null")
    given += ("--recipe", "ed_vdm_demo")
    given += ("--set", "autoencoder_training.steps=2", "--set", "autoencoder_training.seconds=null")
    code, _, err = cli("vae", *given)
    assert code == 0, err
    assert f"Warning: {store.path} is not the store that ed_vdm_demo was designed for:" in err
    assert "--size 16, not 64: 0.062 times the pixels in every step" in err
    assert "--reference first, not" not in err
    trained = (tmp_path / "run/vae/step-00000002/ema.safetensors").read_bytes()

    own = {"size": 16, "block": 4, "vectors": {"search_range": 3, "reference": "first"}}
    code, _, err = cli("vae", *given, "--set", f"designed_for={json.dumps(own)}")
    assert code == 0, err
    assert "Warning" not in err
    assert (tmp_path / "run/vae/step-00000002/ema.safetensors").read_bytes() == trained


def test_an_unsealed_and_a_missing_store_are_refused(cli: Cli, tmp_path: Path) -> None:
    attributes = StoreAttributes(
        dataset="toy", manifest_hash="m", options=OPTIONS, clips=1, shard_clips=1, plan_hash="p"
    )
    create_store(tmp_path / "unsealed", attributes)
    for name, message in (("unsealed", "is not sealed"), ("missing", "no store at")):
        for stage in ("vae", "encode", "diffusion"):
            code, _, err = cli(stage, "--store", tmp_path / name, "--out", tmp_path / "run")
            assert code == 2
            assert message in err


def test_a_label_without_training_clips_is_named(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When training starts, and when it is sampled; `Later` is in no video at all."""
    make_store(tmp_path / "store")
    group = json.loads((tmp_path / "store" / METADATA).read_text())
    group["attributes"][ATTRIBUTE]["labels"].append("Later")
    (tmp_path / "store" / METADATA).write_text(json.dumps(group))
    for stage in STAGES:
        assert train_stages(tmp_path / "store", tmp_path / "run", NO_REFINER, (stage,)) == [0]
        assert "No training clip has 1 of the 5 labels: 'Later'" in capsys.readouterr().err
    sample = ("sample", "--run", tmp_path / "run", "--image", picture, "--out", tmp_path / "v.mp4")
    assert call_train(*sample, "--text", "later") == 0
    assert "No training clip of this run has the label 'Later'" in capsys.readouterr().err
    assert call_train(*sample, "--text", "Go") == 0
    assert "No training clip" not in capsys.readouterr().err


def test_a_second_training_in_a_folder_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold(tmp_path / "run"):
        for stage in STAGES:
            assert train_stages(store.path, tmp_path / "run", stages=(stage,)) == [2]
            err = capsys.readouterr().err
            assert "another run is at work on" in err and "choose another --out" in err


def test_a_full_disk_ends_in_one_message_and_the_same_command_goes_on(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The limit on the size of files fails as a full disk does, at whatever is large first."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (0, 100, 2000, 20_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            codes = train_stages(store.path, tmp_path / "run", NO_REFINER)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        err = capsys.readouterr().err
        assert codes[-1] == 2, err
        assert "File too large; allow larger files there" in err
        assert "Traceback" not in err
    assert train_stages(store.path, tmp_path / "run", NO_REFINER) == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "reason"), [("x" * 300, "File name too long"), ("file/run", "Not a directory")]
)
def test_a_folder_that_cannot_be_made_is_named(
    store: Store, run: Path, picture: Path, tmp_path: Path, name: str, reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("no folder")
    out = tmp_path / name
    calls: list[tuple[object, ...]] = [
        (stage, "--store", store.path, "--out", out) for stage in STAGES
    ]
    calls += [
        ("evaluate", "--run", run, "--store", store.path, "--out", out),
        ("report", run, "--out", out),
        ("sample", "--run", run, "--image", picture, "--out", out / "v.mp4"),
        ("sample", "--run", run, "--image", out),
        ("sample", "--run", out, "--image", picture),
    ]
    for call in calls:
        assert call_train(*call) == 2, call
        err = capsys.readouterr().err
        assert "Traceback" not in err, call
        assert reason in err or "no such file" in err or "nothing trained" in err, call


def test_stages_out_of_order_say_what_comes_first(
    cli: Cli, store: Store, run: Path, picture: Path, tmp_path: Path
) -> None:
    new = ("--recipe", "ed_vdm_demo", "--store", store.path, "--out", tmp_path / "run")
    for stage in ("encode", "diffusion"):
        code, _, err = cli(stage, *new)
        assert code == 2
        assert "run first: dvdm-train" in err
    assert train_stages(store.path, tmp_path / "run", stages=("vae",)) == [0]
    code, _, err = cli("diffusion", *new)
    assert code == 2
    assert "run first: dvdm-train encode" in err
    code, _, err = cli("sample", "--run", tmp_path / "run", "--image", picture)
    assert code == 2
    assert "run first: dvdm-train diffusion" in err


def test_another_network_in_the_same_folder_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_stages(store.path, tmp_path, stages=("vae",)) == [0]
    changed = {"autoencoder.latent_channels": "5"}
    assert train_stages(store.path, tmp_path, changed, stages=("vae",)) == [2]
    assert "holds a run with another autoencoder.latent_channels (" in capsys.readouterr().err


def test_another_store_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_store(tmp_path / "other", options=OPTIONS.model_copy(update={"search_range": 5}))
    assert train_stages(store.path, tmp_path / "run", stages=("vae",)) == [0]
    assert train_stages(other.path, tmp_path / "run", stages=("encode",)) == [2]
    assert "search_range (run: 3, store: 5)" in capsys.readouterr().err


def test_a_run_older_than_an_option_goes_with_its_store(
    run: Path, store: Store, tmp_path: Path
) -> None:
    older = tmp_path / "run"
    shutil.copytree(run, older)
    config = json.loads((older / "vae/config.json").read_text())
    assert config["store"]["options"].pop("vector_unit") == 1
    (older / "vae/config.json").write_text(json.dumps(config))
    assert train_stages(store.path, older, stages=("encode",)) == [0]


def test_quarter_pixels_reach_a_generated_clip(cli: Cli, picture: Path, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"vector_unit": 4})
    other = make_store(tmp_path / "store", options=options)
    assert train_stages(other.path, tmp_path / "run") == [0, 0, 0]
    video = tmp_path / "v.mp4"
    assert cli("sample", "--run", tmp_path / "run", "--image", picture, "--out", video)[0] == 0
    assert video.is_file()


@pytest.mark.parametrize(
    ("recipe", "network"), [("ed_vdm_demo", NO_REFINER), ("ed_vdm_128", TINY_PAPER)]
)
def test_resumed_stages_equal_undisturbed_ones(
    store: Store, tmp_path: Path, recipe: str, network: Overrides
) -> None:
    """Resumed or not: the same bytes, random numbers of the loss included."""
    cut = network | {f"{name}_training.steps": "2" for name in ("autoencoder", "diffusion")}
    one, two = tmp_path / "one", tmp_path / "two"

    def train(run: Path, changes: Overrides, *stages: str) -> None:
        assert train_stages(store.path, run, changes, stages, recipe) == [0] * len(stages)

    torch.manual_seed(0)
    train(one, network, "vae", "encode", "diffusion")
    torch.manual_seed(0)
    train(two, cut, "vae")
    train(two, network, "vae", "encode")
    train(two, cut, "diffusion")
    train(two, network, "diffusion")
    for stage in ("vae", "diffusion"):
        files = sorted((one / stage / "step-00000004").glob("*.safetensors"))
        assert len(files) >= 3
        for file in files:
            assert file.read_bytes() == (two / file.relative_to(one)).read_bytes(), file


def test_the_recipes_seed_decides_every_weight(store: Store, tmp_path: Path) -> None:
    weights = []
    for name in ("one", "two"):
        assert train_stages(store.path, tmp_path / name, stages=("vae",)) == [0]
        weights.append((tmp_path / name / "vae/step-00000004/ema.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("reference", "changes"),
    [
        ("previous", NO_REFINER),
        ("previous", {}),
        ("previous", {"refiner.adversarial_weight": "0"}),
        ("either", {}),
    ],
)
def test_a_loop_over_frames_works_with_and_without_a_refiner(
    cli: Cli, picture: Path, tmp_path: Path, reference: str, changes: Overrides
) -> None:
    """On frames whose sides are no multiples of the block, which the refiner takes, too."""
    options = OPTIONS.model_copy(update={"reference": reference, "size": FrameSize(14, 14)})
    store = make_store(tmp_path / "store", options=options)
    run = tmp_path / "run"
    assert train_stages(store.path, run, changes) == [0, 0, 0]
    sheets = tmp_path / "v.png"
    arguments = ("--image", picture, "--text", "halt", "--out", sheets.with_suffix(".mp4"))
    assert cli("sample", "--run", run, *arguments)[0] == 0
    assert np.asarray(Image.open(sheets)).shape == (14, 4 * 14 + 6, 3)
    assert (run / "refiner").exists() == (changes is not NO_REFINER)


CONTEXTUAL: Overrides = {
    "autoencoder.hidden": None,
    "autoencoder.latent_channels": None,
    "autoencoder.kind": "contextual",
    "autoencoder.blocks": "200",
}
SPACES: dict[str, tuple[str, str, Overrides]] = {
    "rgb": ("vdm_demo", "previous", TINY_PIXELS),
    "difference": ("d_vdm_demo", "first", TINY_PIXELS),
    "difference to the first frame": (
        "d_vdm_demo",
        "previous",
        TINY_PIXELS | {"space.reference": "first"},
    ),
    "latent": ("ldm_demo", "previous", TINY_LATENT),
    "flow": ("lfdm_demo", "first", TINY_FLOW),
    "vectors, filled in": ("ed_vdm_filled_demo", "first", TINY_FILLED),
    "vectors": ("ed_vdm_vectors_demo", "first", TINY_PIXELS | {"refiner.width": "8"}),
    "codec, blocks that choose their reference, closed loop": (
        "ed_vdm_demo",
        "either",
        {"space.closed_loop": "true"},
    ),
    "codec, closed loop, contextual": (
        "ed_vdm_demo",
        "previous",
        {"space.closed_loop": "true"} | CONTEXTUAL,
    ),
}
"""Recipe, reference of the store, changes."""

WIDE = FrameSize(16, 32)

QUICK = ("latent", "vectors, filled in")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in SPACES]
)
def test_every_space_trains_samples_and_is_scored(
    cli: Cli, picture: Path, tmp_path: Path, name: str
) -> None:
    """On frames that are not square: those of other tests are."""
    recipe, reference, changes = SPACES[name]
    options = OPTIONS.model_copy(update={"reference": reference, "size": WIDE})
    store, run = make_store(tmp_path / "store", options=options), tmp_path / "run"
    assert train_stages(store.path, run, changes, recipe=recipe) == [0, 0, 0]
    out = tmp_path / "v.mp4"
    code, said, err = cli("sample", "--run", run, "--image", picture, "--text", "go", "--out", out)
    assert code == 0, err
    assert f"{picture}: 30x20, cut to the middle, resized to 32x16" in said
    with Image.open(out.with_suffix(".png")) as sheet:
        assert sheet.size == (4 * 32 + 3 * 2, 16)
    with Image.open(out.with_suffix(".gif")) as film:
        assert film.size == (8 * 32, 8 * 16)
    assert out.with_stem("v-motion").exists() == (name == "vectors" or "codec" in name)
    code, _, err = cli("evaluate", "--run", run, "--store", store.path, "--judge-steps", 4)
    assert code == 0, err
    scores = json.loads((run / "evaluation" / "scores.json").read_text())
    exact = name in ("rgb", "difference", "difference to the first frame")
    assert (scores["psnr_reconstruction"] > 60) == exact
    code, _, err = cli("report", run, "--store", store.path)
    assert code == 0, err


def test_pixels_can_be_kept_in_their_range(
    cli: Cli, store: Store, picture: Path, tmp_path: Path
) -> None:
    """An untrained network under absurd guidance drives pixels far out of it."""
    run, saturated = tmp_path / "run", []
    assert train_stages(store.path, run, TINY_PIXELS, recipe="vdm_demo") == [0, 0, 0]
    given = ("sample", "--run", run, "--image", picture, "--text", "go", "--guidance", 500)
    for name, more in (("free", ()), ("kept", ("--dynamic-threshold", 0.99))):
        assert cli(*given, *more, "--out", tmp_path / f"{name}.mp4")[0] == 0
        last = np.asarray(Image.open(tmp_path / f"{name}.png"))[:, -16:]
        saturated.append(np.isin(last, (0, 255)).mean())
    assert saturated[0] > 0.15 > 0.03 > saturated[1]


def test_a_store_without_labels_needs_no_text(cli: Cli, picture: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", labels=())
    run, out = tmp_path / "run", tmp_path / "v.mp4"
    assert train_stages(store.path, run) == [0, 0, 0]
    assert cli("sample", "--run", run, "--image", picture, "--out", out)[0] == 0
    code, _, err = cli("sample", "--run", run, "--image", picture, "--out", out, "--text", "Go")
    assert code == 2
    assert "none: it was trained without labels" in err
    code, _, err = cli("evaluate", "--run", run, "--store", store.path, "--judge-steps", 4)
    assert code == 0, err
    scores = json.loads((run / "evaluation" / "scores.json").read_text())
    assert (scores["read_as_asked"], scores["classifier_accuracy_real"]) == (None, None)
    code, _, err = cli("report", run, "--store", store.path)
    assert code == 0, err


def test_a_process_of_its_own_ends_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train", "vae", "--store", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no store at" in done.stderr
    assert "Traceback" not in done.stderr
