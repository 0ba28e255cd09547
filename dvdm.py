"""Start `dvdm-preprocess` and `dvdm-train`, if the packages that Python finds are this software's.

`train`, `shared` and `preprocess` are common names: a folder on Python's path may hold others.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_HOME = Path(__file__).resolve().parent


def require_own(*names: str) -> None:
    """Exit with code 2 and a message where another program's package has one of the names."""
    for name in names:
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != _HOME / name / "__init__.py":
            sys.stderr.write(
                f"Error: Python finds another package {name!r} before this software's:"
                f" {found or 'a folder without __init__.py'}, not {_HOME / name}.\n"
                "Use dvdm-train or dvdm-preprocess in place of python -m, take that folder out of"
                " PYTHONPATH, or start from another folder.\n"
            )
            sys.exit(2)


def train() -> None:
    """Run the command line of the trainer."""
    _start("train")


def preprocess() -> None:
    """Run the command line of the extraction."""
    _start("preprocess")


def _start(package: str) -> None:
    require_own("shared", package)
    import_module(f"{package}.__main__").main()
