"""Errors that a user can correct: shown as one message without a traceback, with exit code 2."""

from __future__ import annotations

import errno


class UserError(Exception):
    """Wrong input; the message gives the value, the allowed ones and the remedy."""


class StoreError(UserError):
    """A store that is missing, unsealed, incomplete, damaged, or made with other options."""


class ManifestError(UserError):
    """A data-set manifest that is missing or malformed."""


_SAME_AGAIN = "then run the same command again: what is done is kept"

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"free some space, {_SAME_AGAIN}"),
    errno.EFBIG: f"allow larger files there, or choose another place, {_SAME_AGAIN}",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM), "correct the permissions, or choose another place"
    ),
    errno.EROFS: "the disk can only be read: choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    **dict.fromkeys(
        (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP),
        "something else is there: choose another place",
    ),
    errno.EIO: f"the disk fails: choose another one, {_SAME_AGAIN}",
}


def place_error(error: OSError) -> UserError | None:
    """Make the message for a disk or path that cannot be used; None for errors of other kinds."""
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return None
    name = "" if error.filename is None else f"{error.filename}: "
    return UserError(f"{name}{error.strerror}; {remedy}")
