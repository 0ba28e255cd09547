"""How option values behave: frozen, typed, finite, and without unknown fields."""

from __future__ import annotations

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Give it as `config` to pydantic's dataclass decorator."""
