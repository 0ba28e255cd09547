"""A whole comparison at its smallest, through the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from shared.store.store import Store
from tests.train.conftest import call_train
from tests.train.evaluate.compare.conftest import FIRST, SPLITS, SUBJECTS
from tests.train.stores import write_store
from train.data.clips import Clips
from train.evaluate.compare.compare import choose_starts
from train.evaluate.compare.jobs import generated_clips
from train.evaluate.metrics.frames import psnr

pytestmark = pytest.mark.slow

SMALLEST = (
    "--budget-tflop", 0.0015, "--seeds", 1, "--codec-seeds", 1, "--clips-a-label", 1, "--steps", 2,
    "--batch", 2, "--autoencoder-steps", 4, "--refiner-steps", 2, "--judge-steps", 4, "--tiny",
    "--device", "cpu", "--samples", 2, "--systems",
    "rgb,latent,flow,planes,difference,codec,codec-either,codec-first,codec-filter",
)  # fmt: skip
SPACES = [
    "rgb (VDM)", "latent (LDM)", "flow (LFDM)", "planes (PVDM)", "difference (D-VDM)",
    "codec (ED-VDM)",
]  # fmt: skip
OURS = ["codec, first frame, cost 5 (ours)", "codec, first frame, cost 5, filter (ours)"]


@pytest.fixture(scope="module")
def comparison(compare_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished one. Not to change."""
    out = tmp_path_factory.mktemp("compared")
    assert call_train("compare", "--data", compare_data, "--out", out, *SMALLEST) == 0
    return out


@pytest.fixture(scope="module")
def content(comparison: Path) -> dict[str, Any]:
    return json.loads((comparison / "compare.json").read_text())


def test_every_system_has_its_row_and_what_is_missing_is_named(content: dict[str, Any]) -> None:
    titles = {n: [row["title"] for row in rows] for n, rows in content["tables"].items()}
    bounds = ["real test clips", "first frame repeated"]
    assert titles["equal_flops"] == bounds + SPACES + OURS
    assert titles["equal_steps"] == bounds + SPACES
    assert titles["codec"] == [*bounds, "codec (ED-VDM)", *OURS]
    assert titles["cost"] == SPACES + OURS
    assert "preprocess reblock" in content["left_out"]["codec, per block, cost 5"]
    steps = {row["title"]: row["steps"] for row in content["tables"]["equal_steps"][2:]}
    assert len(set(steps.values())) == 1


def test_scores_are_those_of_the_clips_that_all_systems_started_from(
    comparison: Path, compare_data: Path, content: dict[str, Any]
) -> None:
    rows = {row["title"]: row["figures"] for row in content["tables"]["equal_flops"]}
    assert rows["real test clips"]["PSNR of all, dB"]["mean"] == pytest.approx(100)
    store = Store(compare_data / "paper")
    first = np.stack([store.clip("first_frame", k) for k in content["chosen"]])
    for name, title in {"rgb": SPACES[0], "codec-filter": OURS[1]}.items():
        run = comparison / "runs" / f"{name}-flops-seed0"
        clips = generated_clips(run)
        assert clips.shape == (2 * 4, 4, 3, 32, 32)
        assert np.array_equal(clips[:, 0].numpy(), np.concatenate([first, first]))
        assert not torch.equal(clips[:4], clips[4:])
        scored = json.loads((run / "scores.json").read_text())["scores"]
        assert scored["clips"] == 8
        assert rows[title]["PSNR of all, dB"]["mean"] == pytest.approx(scored["psnr"])
        nearest = rows[title]["PSNR of the nearest sample, dB"]["mean"]
        assert scored["psnr"] < nearest == pytest.approx(scored["psnr_nearest"])
    # The first frame repeated, by the metric alone.
    real = _films(store, content["chosen"])
    floor = float(psnr(real[:, :1].expand_as(real)[:, 1:], real[:, 1:]).mean())
    for column in ("PSNR of all, dB", "PSNR of the nearest sample, dB"):
        assert rows["first frame repeated"][column]["mean"] == pytest.approx(floor, abs=1e-4)


def test_flow_takes_the_store_with_vectors_into_the_first_frame(content: dict[str, Any]) -> None:
    stores = {name: Path(run["store"]).name for name, run in content["runs"].items()}
    assert stores["flow-flops-seed0"] == stores["codec-first-flops-seed0"] == "ours"
    assert stores["latent-flops-seed0"] == "paper"


def test_costs_are_those_of_every_stage(content: dict[str, Any]) -> None:
    rows = {row["title"]: row["figures"] for row in content["tables"]["cost"]}
    stages = ("autoencoder", "latents", "denoiser", "refining network")
    for title, figures in rows.items():
        parts = [figures[f"{stage}, TFLOP"] for stage in stages]
        whole = figures["all stages, TFLOP"]["mean"]
        assert sum(part["mean"] for part in parts if part) == pytest.approx(whole), title
    assert rows["flow (LFDM)"]["autoencoder, TFLOP"]["mean"] > 0
    assert rows["rgb (VDM)"]["autoencoder, TFLOP"] is None


def test_runs_can_be_repeated_by_the_stages_from_what_is_written(content: dict[str, Any]) -> None:
    run = content["runs"]["latent-flops-seed0"]
    assert run["recipe"] == "ldm_demo"
    assert "sampler.steps" not in run["overrides"]
    assert any(override.startswith("sampler=") for override in run["overrides"])


def test_markdown_and_page_show_the_same_rows(comparison: Path) -> None:
    markdown, page = ((comparison / f"compare.{kind}").read_text() for kind in ("md", "html"))
    for title in [*SPACES, *OURS]:
        assert f"| {title} " in markdown
        assert title in page
    assert "none is FVD" in markdown
    assert page.count('alt="flow"') == 3
    assert "Of all 8 real test clips the label is read right in" in markdown
    assert "http" not in page.replace("http://www.w3.org", "")


def test_again_there_is_nothing_to_do_and_the_tables_are_the_same(
    comparison: Path, compare_data: Path
) -> None:
    before = (comparison / "compare.md").read_text()
    [part] = comparison.glob("runs/codec-flops-seed0/generated/parts/*.safetensors")
    made, scored = part.stat().st_mtime_ns, (comparison / "bounds.json").stat().st_mtime_ns
    assert call_train("compare", "--data", compare_data, "--out", comparison, *SMALLEST) == 0
    assert part.stat().st_mtime_ns == made
    assert (comparison / "bounds.json").stat().st_mtime_ns == scored
    assert (comparison / "compare.md").read_text() == before


def test_a_folder_of_another_comparison_is_refused(
    comparison: Path, compare_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [*SMALLEST, "--steps", 3]
    assert call_train("compare", "--data", compare_data, "--out", comparison, *other) == 2
    assert (
        "holds a run with another recipe.sampler.steps (run: 2, here: 3)" in capsys.readouterr().err
    )


def test_finished_runs_are_shown_while_others_are_not_done(
    comparison: Path, compare_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", compare_data, "--out", tmp_path, *SMALLEST, "--finished")
    assert call_train("compare", *arguments) == 2
    assert "no run is finished yet" in capsys.readouterr().err
    shutil.copytree(comparison, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "runs" / "rgb-flops-seed0")
    assert call_train("compare", *arguments) == 0
    content = json.loads((tmp_path / "compare.json").read_text())
    assert content["left_out"]["rgb-flops-seed0"] == "not finished"
    assert [row["title"] for row in content["tables"]["equal_flops"][2:]] == SPACES[1:] + OURS


def test_starts_are_far_apart_in_each_video_and_people_take_turns() -> None:
    """Two labels, two people, a video of 16 overlapping windows of each."""
    video = np.repeat([f"v{k}" for k in range(4)], 16)
    label, subject = np.repeat([0, 0, 1, 1], 16), np.repeat([0, 1, 0, 1], 16)
    chosen = choose_starts(label, subject, video, np.arange(64), 8)
    assert chosen[:8].tolist() == [0, 16, 8, 24, 4, 20, 12, 28]
    assert chosen[8:].tolist() == [48, 40, 56, 36, 52, 44, 60, 34]
    # A video of one clip each: the order is that of the store, as before.
    alone = choose_starts(label, subject, np.arange(64).astype(str), np.arange(64), 4)
    assert alone[:4].tolist() == [0, 16, 1, 17]


def test_a_budget_for_all_stages_trains_them_all_within_it(
    compare_data: Path, tmp_path: Path
) -> None:
    small = list(SMALLEST)
    for name in ("--budget-tflop", "--autoencoder-steps", "--refiner-steps", "--samples"):
        del small[(place := small.index(name)) : place + 2]
    arguments = (
        "--data", compare_data, "--systems", "flow,codec-filter", "--count", "all",
        "--budget-tflop", 0.003, "--out", tmp_path, "--workers", 1,
    )  # fmt: skip
    assert call_train("compare", *small, *arguments) == 0
    content = json.loads((tmp_path / "compare.json").read_text())
    for row in content["tables"]["cost"]:
        assert 0.8 * 0.003 < row["figures"]["all stages, TFLOP"]["mean"] <= 0.003, row["title"]
    assert "PSNR of the nearest sample" not in (tmp_path / "compare.md").read_text()
    runs = tmp_path / "runs"
    filtered = runs / "codec-filter-flops-seed0"
    for run, stages in {runs / "flow-flops-seed0": "vae", filtered: "vae refiner"}.items():
        recipe = json.loads((run / "recipe.json").read_text())
        for stage, name in {"vae": "autoencoder", "refiner": "refiner"}.items():
            if stage in stages:
                [step] = (run / stage).glob("step-*")
                assert int(step.name[5:]) == recipe[f"{name}_training"]["steps"]


def test_one_store_of_one_person_without_the_papers_vectors_and_chosen_systems(
    tmp_path: Path,
) -> None:
    labels = tuple(f"sign {k}" for k in range(10))
    write_store(tmp_path / "store", options=FIRST, subjects=("a",), labels=labels)
    arguments = (
        "--store", tmp_path / "store", "--systems", "codec,codec-first", "--split", "videos",
        "--workers", 1,
    )  # fmt: skip
    assert call_train("compare", *SMALLEST, *arguments, "--out", tmp_path / "out") == 0
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [row["title"] for row in content["tables"]["codec"][2:]] == OURS[:1]
    assert set(content["left_out"]) >= {SPACES[-1], "person kept, %"}
    assert "fewer than two subjects" in content["left_out"]["person kept, %"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "empty"), "no store in empty: make compare makes the stores"),
        (("--store", "paper", "--store", "others"), "has other clips than"),
        (("--store", "ours", "--systems", "codec"), "--motion-cost 0"),
        (("--store", "paper", "--split", "people"), "no split 'people'"),
    ],
)
def test_stores_that_do_not_serve_are_named(
    arguments: tuple[str, ...],
    message: str,
    compare_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("paper", "ours"):
        (tmp_path / name).symlink_to(compare_data / name)
    if "others" in arguments:
        write_store(tmp_path / "others", options=FIRST, subjects=SUBJECTS[1:], splits=SPLITS)
    assert call_train("compare", *SMALLEST, *arguments, "--out", "out") == 2
    assert message in capsys.readouterr().err


def _films(store: Store, chosen: list[int]) -> torch.Tensor:
    clips = Clips(store, None)
    return clips.frames(clips.batch(chosen, torch.device("cpu")))


def test_killed_in_training_and_with_other_workers_the_clips_are_the_same(
    comparison: Path, compare_data: Path, tmp_path: Path
) -> None:
    """SIGKILL while the second denoiser trains: its worker ends, too; the same command goes on."""
    some = ("--systems", "flow,codec-filter", "--workers", 1)
    arguments = ["compare", "--data", compare_data, "--out", tmp_path, *SMALLEST, *some]
    command = [sys.executable, "-m", "train", *map(str, arguments)]
    process = subprocess.Popen(command, start_new_session=True)
    begun = tmp_path / "runs" / "codec-first-flops-seed0" / "times" / "diffusion.begun"
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert workers and not psutil.wait_procs(workers, timeout=120)[1]
    assert not (begun.parent / "generated.json").exists()
    assert call_train(*arguments) == 0
    runs = [path.parent for path in sorted(tmp_path.glob("runs/*/generated"))]
    assert {run.name for run in runs} >= {"flow-flops-seed0", "codec-filter-flops-seed0"}
    for run in runs:
        once = generated_clips(comparison / "runs" / run.name)
        assert torch.equal(generated_clips(run), once), run.name
