"""Errors that are the user's to mend: shown as one message, without a traceback, exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """Something in the input is wrong: the message says what, got, allowed and the remedy."""


class StoreError(UserError):
    """A store is missing, unsealed, incomplete, damaged, or made with other options."""


class ManifestError(UserError):
    """A data-set manifest is missing or malformed."""
