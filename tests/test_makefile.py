"""The Makefile: values are data, the store's name is `preprocess`'s own, a missing run an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from preprocess.options import default_store
from shared.manifest import load_manifest
from train.recipe import ClipShape
from train.recipes import load_recipe, recipe_names

ROOT = Path(__file__).parent.parent
HOSTILE = (
    'it\'s  a "quoted" word, `touch made` $(touch made)',
    "$(shell touch made) $HOME ${HOME} $$ $(TEXT)",
    "* ~; touch made # \\",
)

FAKE = """#!{python}
import json, os, sys
wanted = {wanted!r}
if sys.argv[1:5] == ["-m", "train", "extraction", "--recipe"] and sys.argv[6:] == []:
    if sys.argv[5] in wanted:
        print(wanted[sys.argv[5]])
        sys.exit()
if "--print-store" in sys.argv or sys.argv[1:4] == ["-m", "train", "extraction"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
"""


def designed_for(recipe: str) -> ClipShape:
    return load_recipe(recipe, []).designed_for


class Make:
    """Runs `make` with a Python that writes its arguments down, and answers what `make` asks it.

    What recipes want is asked in this process, where torch is loaded once; all else of the real
    commands.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}
        self.log = folder / "log"
        self.python = folder / "python"
        wanted = {name: designed_for(name).extraction_flags for name in recipe_names()}
        content = FAKE.format(python=sys.executable, log=str(self.log), wanted=wanted)
        self.python.write_text(content)
        self.python.chmod(0o755)
        for name in (".ready", ".serve"):
            (folder / name).touch()

    def run(self, target: str, **values: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "-f", str(ROOT / "Makefile"), target]
        command += [f"{name}={value}" for name, value in values.items()]
        command += [f"PY={self.python}", f"VENV={self.folder}", f"MAKEFILE_LIST={ROOT}/Makefile"]
        # Not all of the environment: under `make test` it holds the variables of that make.
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self.environment}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def calls(self, target: str, **values: str) -> list[list[str]]:
        """Arguments of each Python that the target starts."""
        self.log.unlink(missing_ok=True)
        done = self.run(target, **values)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    return Make(tmp_path)


def test_make_alone_lists_what_one_can_do_on_one_screen(make: Make) -> None:
    lines = make.run("help").stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 90
    assert any(line.startswith("preprocess ") for line in lines)


@pytest.mark.parametrize("value", HOSTILE)
def test_texts_and_paths_reach_the_commands_as_they_are(make: Make, value: str) -> None:
    given = {"RUN": value, "IMAGE": value, "TEXT": value, "OUT": value}
    [call] = make.calls("sample", **given)
    for flag in ("--run", "--image", "--text", "--out"):
        assert call[call.index(flag) + 1] == value
    [call] = make.calls("preprocess", DATASET="folder", ROOT=value, STORE=value)
    assert call == ["-m", "preprocess", "run", "folder", "--root", value, "--out", value]
    [call] = make.calls("reblock", STORE=value, NEW=value, BLOCK="8")
    assert call == ["-m", "preprocess", "reblock", value, "--out", value, "--block", "8"]
    [call] = make.calls("export", STORE=value, NEW=value)
    assert call == ["-m", "preprocess", "export", value, "--out", value]
    [call] = make.calls("compare", STORE=value, COMPARE="mine", COMPARE_SET="--seeds 1")
    assert call == ["-m", "train", "compare", "--store", value, *["--out", "mine", "--seeds", "1"]]
    assert not (make.folder / "made").exists()


def test_values_of_the_environment_are_data_too(make: Make) -> None:
    make.environment["TEXT"] = HOSTILE[1]
    [call] = make.calls("sample")
    assert call[call.index("--text") + 1] == HOSTILE[1]


def test_set_holds_fields_separated_by_blanks(make: Make) -> None:
    fields = ["text.encoder=null", "a=$(touch)", "b='`x`", "space.name=*"]
    (make.folder / "store").mkdir()
    (make.folder / "store" / "zarr.json").touch()
    calls = make.calls("train", STORE="store", SET="  ".join(fields))
    stages = [call for call in calls if call[1] == "train"]
    assert [call[2] for call in stages] == ["vae", "encode", "diffusion"]
    for call in stages:
        assert call[-4:] == [f"--set={field}" for field in fields]
        assert call[call.index("--out") + 1] == "runs/gestures-ed_vdm_filled_demo"
    assert not (make.folder / "made").exists()


def test_every_option_of_an_extraction_is_passed_on(make: Make) -> None:
    given = {
        "ROOT": "videos",
        "SIZE": "64",
        "FRAMES": "8",
        "STRIDE": "2",
        "CLIPS": "windows",
        "HOP": "4",
        "DRAWS": "2",
        "FPS": "10",
        "FIT": "pad",
        "CROP": "0:9,1:8",
        "HDR": "refuse",
        "DEINTERLACE": "bwdif",
        "DECODER": "ffmpeg",
        "FILTER": "eq=gamma=1.2,crop=in_w-8",
        "HWACCEL": "cuda",
        "CUTS": "skip",
        "MIN_MOTION": "0.1",
        "MAX_MOTION": "4",
        "LIMIT": "3",
        "BLOCK": "8",
        "SEARCH_RANGE": "7",
        "VECTOR_UNIT": "2",
        "COMPENSATION": "overlapped",
        "REFERENCE": "first",
        "METHOD": "exhaustive",
        "MOTION_COST": "5",
        "WORKERS": "1",
    }
    [call] = make.calls("preprocess", CLIP_SEED="3", **given)
    options = dict(zip(call[4::2], call[5::2], strict=True))
    flags = {"--" + name.lower().replace("_", "-"): value for name, value in given.items()}
    assert options == {**flags, "--seed": "3"}


def test_training_makes_the_store_that_its_recipe_wants_with_the_users_own_options(
    make: Make,
) -> None:
    """It has the name that `preprocess` gives it; default values are no part of that."""
    calls = make.calls("train", BLOCK="4", SEARCH_RANGE="16", CROP="0:90,10:80", LIMIT="2")
    extraction, *stages = calls
    wanted = designed_for("ed_vdm_filled_demo").extraction
    named = {**wanted, "block": 4, "search_range": 16, "crop": (0, 90, 10, 80)}
    store = default_store(load_manifest("gestures"), named, 2)
    assert (
        str(store) == "stores/gestures-size64-crop0x90x10x80-block4-unit4-referencefirst"
        "-compensationinterpolated-methodvariational-motioncost1.5-limit2"
    )
    assert "--out" not in extraction
    assert {call[call.index("--store") + 1] for call in stages} == {str(store)}
    [report] = make.calls("report", BLOCK="4", SEARCH_RANGE="16", CROP="0:90,10:80", LIMIT="2")
    assert report[report.index("--store") + 1] == str(store)


def test_a_recipes_store_is_made_in_any_place_and_by_preprocess_too(make: Make) -> None:
    [extraction, *_] = make.calls("train", DATASET="folder", ROOT="my videos", STORE="new")
    wanted = designed_for("ed_vdm_filled_demo").extraction_flags.split()
    run = ["-m", "preprocess", "run", "folder"]
    assert extraction == [*run, *wanted, "--root", "my videos", "--out", "new"]
    [chosen] = make.calls("preprocess", DATASET="folder", RECIPE="ed_vdm_filled_demo", BLOCK="8")
    assert chosen == [*run, *wanted, "--block", "8"]
    assert make.calls("preprocess", DATASET="folder") == [run]
    # A store that is there is not taken for one of other options.
    (make.folder / "new").mkdir()
    (make.folder / "new" / "zarr.json").touch()
    [again] = make.calls("preprocess", DATASET="folder", RECIPE="ed_vdm_filled_demo", STORE="new")
    assert again == [*run, *wanted, "--out", "new"]


@pytest.mark.slow
def test_changed_and_unknown_recipes_are_asked_for_their_store(make: Make) -> None:
    changed = {"RECIPE": "vdm_demo", "SET": "designed_for.size=32  seed=1"}
    [call] = make.calls("preprocess", DATASET="folder", **changed)
    assert call == ["-m", "preprocess", "run", "folder", "--size", "32"]
    make.log.unlink()
    done = make.run("train", RECIPE="nope", SET="a=$(touch made)")
    assert done.returncode == 2
    assert "unknown recipe 'nope'; known: " in done.stderr
    assert not make.log.exists()
    assert not (make.folder / "made").exists()


def test_the_demo_extracts_what_its_recipe_wants(make: Make) -> None:
    given = {"DEMO": "demo", "SUBJECTS": "3", "DEMO_RECIPE": "ed_vdm_demo", "CLASSIFIER": "3"}
    render, extraction, *stages = make.calls("_demo", **given)
    wanted = designed_for("ed_vdm_demo").extraction_flags
    fixed = ["-m", "preprocess", "run", "gestures", "--root", "demo/data", "--out", "demo/store"]
    assert render[2] == "render"
    assert extraction == [*fixed, *wanted.split()]
    assert [call[2] for call in stages] == ["vae", "encode", "diffusion", "evaluate", "report"]
    assert stages[-1][-1] == f"python {' '.join(fixed)} {wanted}", "as the report shows it"


def test_the_demo_may_be_of_ones_own_videos(make: Make) -> None:
    """Their folder's name is data; nothing is rendered, and the demo's folder is another."""
    recipe = "ed_vdm_filled_demo"
    given = {"DEMO": "demo-own", "SUBJECTS": "3", "DEMO_RECIPE": recipe, "CLASSIFIER": "3"}
    calls = make.calls("_demo", DATA="my $(touch made) videos", **given)
    assert [call[2] for call in calls] == [
        "run", "vae", "encode", "diffusion", "evaluate", "report",
    ]  # fmt: skip
    extraction = calls[0]
    assert extraction[3:6] == ["folder", "--root", "my $(touch made) videos"]
    assert extraction[extraction.index("--out") + 1] == "demo-own/store"
    wanted = designed_for(recipe).extraction_flags.split()
    assert extraction[-len(wanted) :] == wanted
    assert {call[call.index("--out") + 1] for call in calls[1:4]} == {"demo-own/run"}
    assert calls[-1].count("--before") == 1
    assert not (make.folder / "made").exists()


@pytest.mark.parametrize("path", ["mine.yaml", "./a folder/mine.yml", "/deep/down.y/mine.yaml"])
def test_a_manifest_of_ones_own_in_place_of_a_name(make: Make, path: str) -> None:
    [call] = make.calls("preprocess", DATASET=path, ROOT="videos")
    assert call == ["-m", "preprocess", "run", path, "--root", "videos"]
    [call] = make.calls("download", DATASET=path)
    assert call == ["-m", "preprocess", "download", path]
    [call] = make.calls("datasets", DATASET=path)
    assert call == ["-m", "preprocess", "datasets", path]
    [call] = make.calls("datasets")
    assert call == ["-m", "preprocess", "datasets"]
    calls = make.calls("train", DATASET=path, STORE="store")
    assert {call[call.index("--out") + 1] for call in calls[1:]} == {"runs/mine-ed_vdm_filled_demo"}


def test_serve_takes_several_runs(make: Make) -> None:
    [call] = make.calls("serve", RUN="runs/a b", RUNS="runs/c  runs/d", STORE="s", PORT="0")
    runs = ["runs/a b", "runs/c", "runs/d"]
    assert call == ["-m", "train", "serve", *runs, "--store", "s", "--port", "0"]
    assert make.calls("serve") == [["-m", "train", "serve", "demo/run"]]


def test_view_takes_a_store_or_the_data_sets_own(make: Make) -> None:
    [call] = make.calls("view", STORE="my store", PORT="0")
    assert call == ["-m", "preprocess", "view", "my store", "--port", "0"]
    [call] = make.calls("view", DATASET="natops", SIZE="64")
    assert call == ["-m", "preprocess", "view", "stores/natops-size64"]


def test_a_store_that_is_there_is_not_made_again(make: Make) -> None:
    (make.folder / "store").mkdir()
    (make.folder / "store" / "zarr.json").touch()
    assert [call[2] for call in make.calls("train", STORE="store")] == [
        "vae",
        "encode",
        "diffusion",
    ]


def test_compare_renders_clips_unless_it_is_given_a_store(make: Make) -> None:
    [call] = make.calls("compare", STORE="real", STORES="real-first  real-0")
    assert call[3:7] == ["--store", "real", "--store=real-first", "--store=real-0"]
    *made, compare = make.calls("compare")
    assert [call[2] for call in made] == ["render", "run", *["reblock"] * 4, *["run"] * 2]
    for call, recipe in zip(made[-2:], ("ed_vdm_vectors_demo", "ed_vdm_filled_demo"), strict=True):
        assert " ".join(call).endswith(designed_for(recipe).extraction_flags)
    assert compare[1:] == ["train", "compare", "--data", "compare/stores", "--out", "compare"]


def test_search_options_of_reblock_do_not_name_its_source(make: Make) -> None:
    [call] = make.calls("reblock", SIZE="64", BLOCK="8")
    assert call == ["-m", "preprocess", "reblock", "stores/gestures-size64", "--block", "8"]


@pytest.mark.parametrize("given", [{"RUN": "runs/mine"}, {"DATASET": "mine"}, {"RECIPE": "vdm_64"}])
def test_a_chosen_run_is_never_replaced_by_another(make: Make, given: dict[str, str]) -> None:
    [call] = make.calls("sample", **given)
    chosen = f"runs/{given.get('DATASET', 'gestures')}-{given.get('RECIPE', 'ed_vdm_filled_demo')}"
    assert call[call.index("--run") + 1] == given.get("RUN", chosen)


def test_without_a_choice_the_demo_serves_until_a_run_is_there(make: Make) -> None:
    [call] = make.calls("sample")
    assert call[call.index("--run") + 1] == "demo/run"
    trained = make.folder / "runs/gestures-ed_vdm_filled_demo/diffusion/config.json"
    trained.parent.mkdir(parents=True)
    trained.touch()
    [call] = make.calls("sample")
    assert call[call.index("--run") + 1] == "runs/gestures-ed_vdm_filled_demo"


@pytest.mark.slow
def test_a_missing_run_is_an_error(make: Make) -> None:
    make.python = Path(sys.executable)
    done = make.run("sample", RUN="runs/no run", TEXT="x", IMAGE="x.png")
    assert done.returncode == 2
    assert "runs/no run" in done.stderr


@pytest.mark.parametrize("name", ["ZERO_BIAS", "COST_FROM"])
def test_deleted_options_are_refused_by_name(make: Make, name: str) -> None:
    done = make.run("preprocess", **{name: "1"})
    assert done.returncode == 2
    assert f"{name} is gone" in done.stderr


def test_codes_says_what_replaces_it(make: Make) -> None:
    done = make.run("codes")
    assert done.returncode == 2
    assert "--protocol reconstruction" in done.stderr


def test_every_stage_gets_the_number_of_processes(make: Make) -> None:
    for values, expected in (({}, "auto"), ({"PROCESSES": "2"}, "2")):
        calls = [c for c in make.calls("train", STORE="store", **values) if "--recipe" in c]
        stages = {call[2]: call[call.index("--processes") + 1] for call in calls[-3:]}
        assert stages == dict.fromkeys(("vae", "encode", "diffusion"), expected)


def test_report_takes_run_and_store_of_the_training(make: Make) -> None:
    [call] = make.calls("report", DATASET="mhad", RECIPE="ed_vdm_64")
    store = "stores/mhad-size64"
    assert call == ["-m", "train", "report", "runs/mhad-ed_vdm_64", "--store", store]
