"""The commands from folders that hold other packages of the same names, and from read-only code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


def call(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("program", ["train", "preprocess"])
def test_another_package_of_the_same_name_is_named(tmp_path: Path, program: str) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/__init__.py").touch()
    path = {"PYTHONPATH": str(PROJECT)}
    start = f"import dvdm; dvdm.{program}()"
    for command in (("-m", program, "--help"), ("-c", start)):
        done = call(sys.executable, *command, cwd=tmp_path, **path)
        assert done.returncode == 2, done.stderr
        assert f"another package 'shared' before this software's: {tmp_path}" in done.stderr
        assert "Traceback" not in done.stderr
    shutil.rmtree(tmp_path / "shared")
    (tmp_path / f"{program}.py").touch()
    done = call(sys.executable, "-c", start, cwd=tmp_path, **path)
    assert done.returncode == 2, done.stderr
    assert f"another package {program!r} before this software's: {tmp_path}" in done.stderr
    # A folder without code is no package, and in nobody's way.
    (tmp_path / f"{program}.py").unlink()
    (tmp_path / "shared").mkdir()
    done = call(sys.executable, "-m", program, "--help", cwd=tmp_path, **path)
    assert done.returncode == 0, done.stderr


def test_kernels_compile_without_a_place_to_keep_them(tmp_path: Path) -> None:
    """Code and home can only be read; root, too, must be without the right to write anywhere."""
    unprivileged = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    if unprivileged and not shutil.which("setpriv"):
        pytest.skip("root writes everywhere, and there is no setpriv")
    code, home = tmp_path / "code", tmp_path / "home"
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("shared", "preprocess"):
        shutil.copytree(PROJECT / package, code / package, ignore=ignored)
    shutil.copy(PROJECT / "dvdm.py", code)
    home.mkdir()
    for folder in (home, *(path for path in code.rglob("*") if path.is_dir()), code):
        folder.chmod(0o555)
    look = (
        "import os, preprocess.motion.exhaustive; from preprocess.kernel_cache import config;"
        "print(config.CACHE_DIR, oct(os.stat(config.CACHE_DIR).st_mode))"
    )
    environment = {"PYTHONPATH": str(code), "HOME": str(home), "TMPDIR": str(tmp_path)}
    bare = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [*unprivileged, sys.executable, "-B", "-c", look],
        cwd=home, capture_output=True, text=True, env={**bare, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder, mode = done.stdout.split()
    assert mode == "0o40700"
    assert Path(folder).parent == tmp_path and not Path(folder).exists()
    assert f"Kernels are compiled into {folder} for this command alone" in done.stderr


@pytest.mark.parametrize("command", ["dvdm-train", "dvdm-preprocess"])
def test_the_installed_commands_start_anywhere(tmp_path: Path, command: str) -> None:
    """Also in a folder that holds packages of their names."""
    (tmp_path / "shared").mkdir()
    for path in ("shared/__init__.py", "train.py", "preprocess.py"):
        (tmp_path / path).touch()
    without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [Path(sys.executable).parent / command, "--help"],
        cwd=tmp_path, capture_output=True, text=True, env=without,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
