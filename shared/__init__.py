"""The contract between `preprocess` and `train`: conventions, schema, store, reports.

It needs neither torch nor av nor numba, so that either side can be installed alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.store.clips import StoredClips

__version__ = "0.1.0"


def open_store(path: str) -> StoredClips:
    """Open the clips of a store or of an export of one, local or on S3, as a sequence.

    Raises:
        UserError: there is none, it cannot be reached, or it is not finished.
    """
    from shared.store.clips import open_store

    return open_store(path)
