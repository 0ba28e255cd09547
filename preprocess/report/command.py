"""The command that would make a store, from the options that it records."""

from __future__ import annotations

import shlex
from typing import Any

from preprocess.options import codec_options
from shared.errors import UserError
from shared.manifest import load_manifest
from shared.schema import StoreAttributes


def command_of(attributes: StoreAttributes, store: str) -> tuple[str, str]:
    """The `run` command whose options are those of a store, and what it cannot tell.

    Args:
        attributes: of the store.
        store: where it is.

    Returns:
        The command, with those options that differ from the data set's own; and a remark.
    """
    usual = _defaults(attributes)
    options = attributes.options.model_dump()
    given = {name: value for name, value in options.items() if value != usual.get(name, ...)}
    flags = [part for name, value in given.items() for part in _flag(name, value)]
    command = ["python", "-m", "preprocess", "run", attributes.dataset, "--root", "DIR"]
    remark = (
        "Put together from the options that the store records. It does not record where its"
        " videos lay (DIR), nor a --limit, nor whether it came from reblock, which makes the same"
        " bytes."
    )
    if lost := [name for name, value in given.items() if not _flag(name, value)]:
        remark += f" No flag sets {', '.join(lost)} to none, as they are in this store."
    return shlex.join([*command, "--out", store, *flags]), remark


def _defaults(attributes: StoreAttributes) -> dict[str, Any]:
    """What `run` would take without any flag; nothing where the data set is not known here."""
    try:
        return codec_options(load_manifest(attributes.dataset), {}).model_dump()
    except UserError:
        return {}


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if name == "crop":
        return [flag, "{}:{},{}:{}".format(*value) if value else "none"]
    if value is None:
        return []
    return [flag, f"{value:g}" if isinstance(value, float) else str(value)]
