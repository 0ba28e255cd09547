"""One experiment a file: each defines RECIPE."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import yaml

from shared.errors import UserError
from train.recipe import Recipe, option_defaults, recipe_from_dict


def recipe_names() -> list[str]:
    """Names of the recipes there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_recipe(name: str, overrides: list[str]) -> Recipe:
    """A recipe by name, with `path.to.field=value` overrides.

    Raises:
        UserError: no such recipe or field, or a value of the wrong type.
    """
    if name not in recipe_names():
        raise UserError(f"unknown recipe {name!r}; known: {', '.join(recipe_names())}")
    return recipe_with(importlib.import_module(f"train.recipes.{name}").RECIPE.to_dict(), overrides)


def recipe_with(content: dict[str, Any], overrides: list[str]) -> Recipe:
    """A recipe from its content, changed in place, with `path.to.field=value` overrides.

    Raises:
        UserError: no such field, or a value of the wrong type.
    """
    for override in overrides:
        _set(content, override)
    return recipe_from_dict(content)


def _set(content: dict[str, Any], override: str) -> None:
    path, separator, value = override.partition("=")
    *parents, last = path.split(".")
    target: Any = content
    for parent in parents:
        target = target.get(parent) if isinstance(target, dict) else None
    if not separator or not isinstance(target, dict) or last not in target:
        fields = target if isinstance(target, dict) else content
        raise UserError(f"--set {override}: expected FIELD=VALUE; fields here: {', '.join(fields)}")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: {value!r} is not a YAML value") from None
    _refuse_other_truth(override, target[last], read)
    if last == "kind" and parents:
        target.clear()  # another kind has other fields
        target.update(option_defaults(parents[0], read))
    else:
        target[last] = read


def _refuse_other_truth(override: str, now: Any, given: Any) -> None:
    """Notice what would quietly become a number: YAML reads `yes`, `no`, `on` and `off` as truths,
    and the recipe's types take truths for 1 and 0, and 1 and 0 for truths.
    """
    if isinstance(now, bool):
        if not isinstance(given, bool):
            raise UserError(f"--set {override}: must be true or false")
        return
    values = given if isinstance(given, list) else [given]
    if any(isinstance(value, bool) for value in values):
        raise UserError(f"--set {override}: is no field of true or false; it is {now!r} now")
