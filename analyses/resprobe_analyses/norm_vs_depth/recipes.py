"""Which inputs may be laid beside each other: trainings that differ in depth, h and seed only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resprobe.errors import InputError
from resprobe_analyses.reading import group_label

if TYPE_CHECKING:
    from resprobe.result import Input

# What may differ, and what changes no number. The target is compared by the rule, not refused.
FREE_KEYS = (
    "model.depth",
    "model.h",
    "train.seed",
    "train.stop_train_loss",
    "train.device",
    "train.threads",
    "data.dir",
)
FREE_TABLES = ("record", "checkpoint")


def recipe_of(given: Input) -> dict[str, Any]:
    """Give the resolved recipe that an input carries, empty where it carries none."""
    text = given.tree.attrs.get("recipe")
    return tomllib.loads(text) if isinstance(text, str) else {}


def check_comparable(inputs: Sequence[Input]) -> None:
    """Make sure that inputs of several depths differ in depth, step size and seed only.

    Raises:
        InputError: one was not trained by a recipe, or two differ in something else.
    """
    recipes = [recipe_of(given) for given in inputs]
    for given, recipe in zip(inputs, recipes, strict=True):
        if "train" not in recipe:
            raise InputError(
                f"{given.label} carries no training recipe, so nobody can tell whether it differs "
                "from the other inputs in more than depth, h and seed; analyze it alone."
            )
    first = _fixed(recipes[0])
    for given, recipe in zip(inputs[1:], recipes[1:], strict=True):
        other = _fixed(recipe)
        for key in sorted(first.keys() | other.keys()):
            if first.get(key) != other.get(key):
                raise InputError(
                    f"{inputs[0].label} and {given.label} differ in {key} "
                    f"({first.get(key)!r} and {other.get(key)!r}), but only model.depth, model.h, "
                    "train.seed and train.stop_train_loss may differ; analyze them apart."
                )


def are_comparable(inputs: Sequence[Input]) -> bool:
    """Tell whether inputs differ in depth, step size and seed only."""
    try:
        check_comparable(inputs)
    except InputError:
        return False
    return True


def subject(inputs: Sequence[Input]) -> str:
    """Name what all inputs are, as "cifar-resnet on digits", or by the labels of their groups."""
    if len(inputs) > 1 and are_comparable(inputs):
        recipe = recipe_of(inputs[0])
        return f"{recipe['model']['name']} on {recipe['data']['name']}"
    groups: dict[str, list[str]] = {}
    for given in inputs:
        groups.setdefault(given.group, []).append(given.label)
    return " and ".join(group_label(labels) for labels in groups.values())


def _fixed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{table}.{name}": value
        for table, values in recipe.items()
        if table not in FREE_TABLES and isinstance(values, Mapping)
        for name, value in values.items()
        if f"{table}.{name}" not in FREE_KEYS
    }
