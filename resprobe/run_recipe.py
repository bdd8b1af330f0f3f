"""The recipe of a run, or the source of a foreign network's: read, and its form checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resprobe.errors import InputError, shown
from resprobe.files import read_text

_TEXT, _WHOLE, _LIST = (str, "a text"), (int, "a whole number"), (list, "a list")
# Tables that a reader goes by, with what their keys must be where they are there.
_TABLES: dict[str, dict[str, tuple[type, str]]] = {
    "model": {"name": _TEXT, "sha256": _TEXT, "config": _TEXT},
    "data": {
        "name": _TEXT,
        "dir": _TEXT,
        "sha256": _TEXT,
        "subset": _WHOLE,
        "subset_seed": _WHOLE,
        "resolution": _WHOLE,
        "normalize": _LIST,
        "resize": _LIST,
    },
    "train": {"dtype": _TEXT, "seed": _WHOLE},
    "record": {"every": _WHOLE},
}


def recipe_path(run: Path) -> Path:
    """Give recipe.toml of a run, or source.toml where there is none."""
    recipe = run / "recipe.toml"
    return recipe if recipe.exists() else run / "source.toml"


def read_run_recipe(run: Path) -> tuple[str, dict[str, Any]]:
    """Give the text of a run's recipe or source, and what it says.

    Raises:
        InputError: it can't be read, is not TOML, or a key has a value of another type.
    """
    path = recipe_path(run)
    try:
        text = read_text(path)
        tables = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be read ({error}); take it from a copy.") from error
    for name, keys in _TABLES.items():
        table = tables.get(name, {})
        if not isinstance(table, Mapping):
            raise _odd(path, name, table, "a table")
        for key, (kind, expected) in keys.items():
            if key in table and type(table[key]) is not kind:
                raise _odd(path, f"{name}.{key}", table[key], expected)
    if not isinstance(tables.get("output", ""), str):
        raise _odd(path, "output", tables["output"], "a text")
    return text, tables


def _odd(path: Path, key: str, value: Any, expected: str) -> InputError:
    return InputError(
        f"{path}: {key} = {shown(value)}, expected {expected}; take it from a copy of the run."
    )
