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

import numpy as np
import pytest

from tests.train.conftest import call_train

SMALLEST = (
    "--budget-tflop", 0.0015, "--seeds", 1, "--codec-seeds", 1, "--clips-a-label", 1, "--steps", 2,
    "--batch", 2, "--autoencoder-steps", 4, "--refiner-steps", 2, "--judge-steps", 4, "--tiny",
    "--device", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def comparison(compare_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished one. Not to change."""
    out = tmp_path_factory.mktemp("compared")
    assert call_train("compare", "--data", compare_data, "--out", out, *SMALLEST) == 0
    return out


def test_every_system_has_its_row_and_what_is_missing_is_named(comparison: Path) -> None:
    content = json.loads((comparison / "compare.json").read_text())
    titles = {n: [row["title"] for row in rows] for n, rows in content["tables"].items()}
    bounds = ["real test clips", "first frame repeated"]
    spaces = ["rgb (VDM)", "latent (LDM)", "difference (D-VDM)", "codec (ED-VDM)"]
    ours = ["codec, first frame, cost 5 (ours)", "codec, first frame, cost 5, filter (ours)"]
    assert titles["equal_flops"] == bounds + spaces + ours
    assert titles["equal_steps"] == bounds + spaces
    assert titles["codec"] == ["codec (ED-VDM)", *ours]
    assert titles["cost"] == spaces + ours
    assert "codec, per block, cost 5" in content["left_out"]
    steps = {row["title"]: row["steps"] for row in content["tables"]["equal_steps"][2:]}
    assert len(set(steps.values())) == 1


def test_scores_are_those_of_the_kept_clips(comparison: Path) -> None:
    """PSNR by numpy, from the arrays that were kept and the real clips' own bounds."""
    content = json.loads((comparison / "compare.json").read_text())
    rows = {row["title"]: row["figures"] for row in content["tables"]["equal_flops"]}
    assert rows["real test clips"]["PSNR of all, dB"]["mean"] == pytest.approx(100)
    name = "rgb-flops-seed0"
    clips = np.load(comparison / "runs" / name / "generated" / "clips-00000.npy")
    assert clips.shape == (4, 4, 3, 32, 32)
    assert clips.dtype == np.uint8
    scored = json.loads((comparison / "runs" / name / "scores.json").read_text())
    assert scored["scores"]["clips"] == 4
    mean = rows["rgb (VDM)"]["PSNR of all, dB"]["mean"]
    assert mean == pytest.approx(scored["scores"]["psnr"])


def test_markdown_and_page_show_the_same_rows(comparison: Path) -> None:
    markdown, page = ((comparison / f"compare.{kind}").read_text() for kind in ("md", "html"))
    for title in ("latent (LDM)", "codec (ED-VDM)", "codec, first frame, cost 5, filter (ours)"):
        assert f"| {title} |" in markdown
        assert title in page
    assert "none is FVD" in markdown
    assert "http" not in page.replace("http://www.w3.org", "")


def test_again_there_is_nothing_to_do_and_the_tables_are_the_same(
    comparison: Path, compare_data: Path
) -> None:
    before = (comparison / "compare.md").read_text()
    clips = comparison / "runs" / "codec-flops-seed0" / "generated" / "clips-00000.npy"
    made = clips.stat().st_mtime_ns
    assert call_train("compare", "--data", compare_data, "--out", comparison, *SMALLEST) == 0
    assert clips.stat().st_mtime_ns == made
    assert (comparison / "compare.md").read_text() == before


def test_a_folder_of_another_comparison_is_refused(
    comparison: Path, compare_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [*SMALLEST, "--steps", 3]
    assert call_train("compare", "--data", compare_data, "--out", comparison, *other) == 2
    assert "was made with other options" in capsys.readouterr().err


def test_a_missing_store_is_named_with_what_makes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call_train("compare", "--data", tmp_path, "--out", tmp_path / "out") == 2
    assert "previous-cost0" in (message := capsys.readouterr().err)
    assert "make compare" in message


def test_a_store_that_is_not_what_its_name_says_is_refused(
    compare_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(compare_data / "first-cost5", tmp_path / "previous-cost0")
    assert call_train("compare", "--data", tmp_path, "--out", tmp_path / "out") == 2
    assert "other options than its name says" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_anywhere_and_with_other_workers_the_clips_are_the_same(
    comparison: Path, compare_data: Path, tmp_path: Path
) -> None:
    arguments = ["compare", "--data", compare_data, "--out", tmp_path, "--workers", 1, *SMALLEST]
    command = [sys.executable, "-m", "train", *map(str, arguments)]
    for seconds in (25, 35):
        process = subprocess.Popen(command, start_new_session=True)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(5)
    assert subprocess.run(command, check=False).returncode == 0
    files = sorted(path.relative_to(comparison) for path in comparison.glob("runs/*/generated/*"))
    assert files
    for file in files:
        assert (tmp_path / file).read_bytes() == (comparison / file).read_bytes(), file
