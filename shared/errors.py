"""Errors that a user can correct: shown as one message without a traceback, with exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """Wrong input; the message gives the value, the allowed ones and the remedy."""


class StoreError(UserError):
    """A store that is missing, unsealed, incomplete, damaged, or made with other options."""


class ManifestError(UserError):
    """A data-set manifest that is missing or malformed."""
