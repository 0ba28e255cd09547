"""Layers: preprocess -> shared <- train; a room of `train` imports from those below alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import shared

PROJECT = Path(__file__).parent.parent
HEAVY = {"torch", "av", "numba", "dask", "distributed"}

ROOMS = (
    "options",
    "run",
    "data",
    "models",
    "diffusion",
    "trainer",
    "spaces",
    "recipe",
    "recipes",
    "stages",
    "generate",
    "evaluate",
    "api",
    "serve",
    "__main__",
)
"""Rooms of `train` from the lowest to the highest: no room imports from one above it."""


def module_name(path: Path) -> str:
    """Dotted name of a file below the project's folder."""
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for package in ("shared", "preprocess", "train")
    for path in sorted((PROJECT / package).rglob("*.py"))
}


def imported(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} has a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES.keys()) or {node.module}
    return found


@cache
def imports() -> dict[str, set[str]]:
    """What every module imports, by its name."""
    return {name: imported(path) for name, path in MODULES.items()}


def top_level(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("preprocess", {"train", "torch", "diffusers"}),
        ("train", {"preprocess", "numba", "dask", "distributed"}),
        ("shared", {"preprocess", "train", *HEAVY}),
    ],
)
def test_imports_stay_within_bounds(package: str, forbidden: set[str]) -> None:
    own = {name: found for name, found in imports().items() if name.split(".")[0] == package}
    assert own
    offenders = {name: top_level(found) & forbidden for name, found in own.items()}
    assert not {name: names for name, names in offenders.items() if names}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: (found & MODULES.keys()) - {name} for name, found in imports().items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def room(name: str) -> int:
    return ROOMS.index(name.split(".")[1])


def test_every_room_of_the_trainer_imports_from_those_below() -> None:
    """Thus nothing below imports `train.evaluate`: the trainer can be read without it."""
    own = {name for name in MODULES if name.startswith("train.")}
    arrows = {(name, other) for name in own for other in imports()[name] & own}
    assert len(arrows) > len(own)
    upwards = {(name, other) for name, other in arrows if room(other) > room(name)}
    assert not upwards


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages in a fresh interpreter after importing some modules."""
    code = f"import sys, {', '.join(modules)}; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    return set(done.stdout.split())


def test_shared_needs_nothing_heavy() -> None:
    names = [name for name in MODULES if name.split(".")[0] == "shared"]
    assert not loaded_by(*names) & HEAVY


def test_help_and_inspect_start_fast() -> None:
    assert not loaded_by("preprocess.__main__", "preprocess.summary") & HEAVY
    assert not loaded_by("train.__main__") & HEAVY


def test_training_and_sampling_load_diffusers_where_it_is_used_alone() -> None:
    loaded = loaded_by("train.stages.run_stage", "train.generate.sample")
    assert "torch" in loaded
    assert not loaded & {"diffusers", "transformers", "tensorboard", "matplotlib", "scipy"}


def test_shared_is_ours() -> None:
    assert Path(shared.__file__).parent == PROJECT / "shared"
