"""How option values behave: frozen, typed, and without unknown fields."""

from __future__ import annotations

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid")
"""Give it as `config` to pydantic's dataclass decorator."""
