"""From command-line flags to checked options and a default place for the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import UserError
from shared.manifest import Manifest
from shared.schema import CodecOptions

SUFFIXES = {
    "size": "size",
    "frames": "frames",
    "stride": "stride",
    "block": "block",
    "search_range": "range",
    "reference": "reference",
    "zero_bias": "zerobias",
    "motion_cost": "motioncost",
}
"""How an option that differs from its default shows in the store's name, in this order."""


def codec_options(manifest: Manifest, given: dict[str, Any]) -> CodecOptions:
    """Options of an extraction: those given, else the data set's, else the schema's.

    Args:
        manifest: states size, frames and stride.
        given: by option name; None where the user gave none.

    Raises:
        UserError: a value is not allowed; the message names flag, value and what is allowed.
    """
    return _checked({**_defaults(manifest), **_stated(given)})


def change_options(options: CodecOptions, given: dict[str, Any]) -> CodecOptions:
    """Options with those given in place of their own.

    Raises:
        UserError: a value is not allowed; the message names flag, value and what is allowed.
    """
    return _checked({**options.model_dump(), **_stated(given)})


def default_store(manifest: Manifest, given: dict[str, Any], limit: int | None) -> Path:
    """`stores/<data set>`, with a suffix for each given option that is not its default."""
    schema = {name: field.default for name, field in CodecOptions.model_fields.items()}
    usual = {**schema, **_defaults(manifest)}
    parts = [manifest.name]
    for name, value in sorted(_stated(given).items(), key=lambda item: [*SUFFIXES].index(item[0])):
        if value != usual[name]:
            parts.append(f"{SUFFIXES[name]}{value:g}" if name != "reference" else _reference(value))
    parts += [f"limit{limit}"] if limit is not None else []
    return Path("stores", "-".join(parts))


def _checked(values: dict[str, Any]) -> CodecOptions:
    try:
        return CodecOptions.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(map(_explain, error.errors()))) from None


def _reference(value: str) -> str:
    return f"{SUFFIXES['reference']}{value}"


def _defaults(manifest: Manifest) -> dict[str, Any]:
    return {"size": manifest.size, "frames": manifest.frames, "stride": manifest.stride}


def _stated(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _explain(error: Any) -> str:
    flag = "--" + "-".join(str(part) for part in error["loc"]).replace("_", "-")
    reason = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{flag} {error['input']}: {reason}"
