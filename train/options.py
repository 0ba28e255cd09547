"""Behaviour of option values, and the choice among kinds of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from shared.errors import UserError

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Frozen, typed, finite, without unknown fields: the `config` of pydantic's dataclasses."""


class HasOptions(Protocol):
    """An entry of a table of kinds: a space, a denoiser, an autoencoder.

    Attributes:
        options_type: dataclass of its options; its field `kind` names the entry.
    """

    options_type: ClassVar[type]


class PartError(ValueError):
    """A fault within a part of a recipe.

    Attributes:
        fault: the part's own errors.
    """

    def __init__(self, fault: ValidationError) -> None:
        super().__init__(str(fault))
        self.fault = fault


def one_of(table: Mapping[str, type[HasOptions]]) -> Any:
    """Type of a field whose `kind` names an entry of a table, which may grow later."""
    return Annotated[Any, BeforeValidator(partial(read_options, table))]


def read_options(table: Mapping[str, type[HasOptions]], value: Any) -> Any:
    """Options of the kind that they name, from a mapping; options of a known kind as they are.

    Raises:
        ValueError: the kind is unknown, or a field is wrong.
    """
    if type(value) in {entry.options_type for entry in table.values()}:
        return value
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if not isinstance(kind, str) or kind not in table:
        raise ValueError(f"kind must be one of {', '.join(table)}, got {kind!r}")
    try:
        return TypeAdapter(table[kind].options_type).validate_python(value)
    except ValidationError as fault:
        raise PartError(fault) from None


def without_deleted_fields(content: dict[str, Any]) -> dict[str, Any]:
    """A recipe, or fields of one, without what earlier versions recorded of deleted options.

    Raises:
        UserError: such an option was in use.
    """
    if not isinstance(content.get("space"), Mapping):
        return content
    space = dict(content["space"])
    if space.pop("conditioned_decoder", False):
        raise UserError(
            "space.conditioned_decoder=true: the option was removed; take"
            " autoencoder.kind=contextual, which conditions on the prediction too"
        )
    return {**content, "space": space}
