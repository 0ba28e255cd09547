"""preprocess -> shared <- train, and nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import shared

PROJECT = Path(__file__).parent.parent
HEAVY = {"torch", "av", "numba", "dask", "distributed"}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("preprocess", {"train", "torch", "diffusers"}),
        ("train", {"preprocess", "numba", "dask", "distributed"}),
        ("shared", {"preprocess", "train", *HEAVY}),
    ],
)
def test_imports_stay_within_bounds(package: str, forbidden: set[str]) -> None:
    files = sorted((PROJECT / package).rglob("*.py"))
    assert files
    offenders = {str(path): imported(path) & forbidden for path in files}
    assert not {path: names for path, names in offenders.items() if names}


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages in a fresh interpreter after importing some modules."""
    code = f"import sys, {', '.join(modules)}; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    return set(done.stdout.split())


def test_shared_needs_nothing_heavy() -> None:
    names = [f"shared.{path.stem}" for path in (PROJECT / "shared").glob("[a-z]*.py")]
    assert not loaded_by(*names) & HEAVY


def test_help_and_inspect_start_fast() -> None:
    assert not loaded_by("preprocess.__main__", "preprocess.summary") & HEAVY


def test_shared_is_ours() -> None:
    assert Path(shared.__file__).parent == PROJECT / "shared"
