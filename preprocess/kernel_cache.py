"""A place for Numba's compiled kernels, before any is declared.

Numba keeps them next to the code, or in the user's cache. Where it can write to neither, it refuses
to declare a cached kernel; they then go to a temporary folder that only this user can read, which
worker processes share and which ends with this process.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from numba import config, njit

from shared.console import errors
from shared.errors import UserError


def _probe() -> None:
    pass


def _ensure() -> None:
    try:
        njit(cache=True)(_probe)
    except RuntimeError:  # "cannot cache function: no locator available"
        try:
            folder = tempfile.mkdtemp(prefix="dvdm-kernels-")
        except OSError as error:
            raise UserError(
                f"no folder for compiled kernels can be written to ({error}); name one in the"
                " environment variable NUMBA_CACHE_DIR"
            ) from None
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = config.CACHE_DIR = folder
        errors.print(
            f"Kernels are compiled into {folder} for this command alone: neither the code's folder"
            " nor the user's cache can be written to. NUMBA_CACHE_DIR names a place that stays."
        )


_ensure()
