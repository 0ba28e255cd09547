"""Every benchmark with options starts, and the documentation names it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if "ArgumentParser" in path.read_text()
)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_shows_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert name == "__main__" or f"benchmarks.{name}" in (ROOT / "docs/benchmarks.md").read_text()
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    module = "benchmarks" if name == "__main__" else f"benchmarks.{name}"
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert ended.value.code == 0
    assert "--" in capsys.readouterr().out
