"""Lists of runs, and two runs side by side."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def two(run: Path, tmp_path: Path) -> Path:
    """Two copies of a run, one with fewer sampling steps; neither is scored."""
    ignored = shutil.ignore_patterns("evaluation", "report")
    for name in ("one", "deeper/other"):
        shutil.copytree(run, tmp_path / name, ignore=ignored)
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["sampler"]["steps"] = 2
    (tmp_path / "deeper/other/recipe.json").write_text(json.dumps(recipe))
    return tmp_path


def test_runs_are_listed_at_any_depth(cli: Cli, two: Path) -> None:
    code, out, err = cli("runs", two)
    assert code == 0, err
    lines = [line for line in out.splitlines() if "ed_vdm_demo" in line]
    assert len(lines) == 2
    assert "deeper/other" in lines[0] and "one" in lines[1]
    assert "vae 4, diffusion 4, refiner 4" in lines[1] and "toy" in lines[1]


def test_a_folder_without_runs_is_named(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("runs", tmp_path)
    assert code == 2
    assert f"no run in {tmp_path}" in err


def scores(psnr: float) -> dict[str, object]:
    figures = {"psnr": psnr, "psnr_over_clip": psnr, "ssim": 0.5}
    return {
        "clips": 4, "read_as_asked": 3, "psnr_generated": psnr, "protocol": {"name": "demo"},
        "first_frame_repeated": figures, "frames": figures, "scores": figures, "distances": {},
    }  # fmt: skip


def test_what_differs_is_shown_and_scores_stand_side_by_side(
    cli: Cli, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = (two / "one", two / "deeper/other")
    code, out, err = cli("compare-runs", *pair)
    assert code == 0, err
    assert out.count("sampler.") == 1
    [line] = [line for line in out.splitlines() if "sampler.steps" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["sampler.steps", "4", "2"]
    assert f"No scores of {pair[0]} and {pair[1]}" in out
    rows = [("PSNR", psnr, None) for psnr in (20.5, 21.25)]
    monkeypatch.setattr("train.evaluate.runs.score_rows", lambda found: [rows[found["clips"]]])
    for path, clips in zip(pair, (0, 1), strict=True):
        (path / "evaluation").mkdir()
        content = scores(0.0) | {"clips": clips}
        (path / "evaluation" / "scores.json").write_text(json.dumps(content))
    code, out, err = cli("compare-runs", *pair)
    assert code == 0, err
    [line] = [line for line in out.splitlines() if "PSNR" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["PSNR", "20.50", "21.25"]
    code, _, err = cli("compare-runs", two, pair[1])
    assert code == 2
    assert "no run, it has no recipe.json" in err
