"""What a recipe says, read through the registry."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from resprobe import registry
from resprobe.errors import InputError
from resprobe.files import read_text


def recipe_tables(recipe: str) -> Mapping[str, Any]:
    """Give the tables of a recipe as its file has them.

    Args:
        recipe: a registered name, or the path of a .toml file.

    Raises:
        UnknownNameError: it is neither.
        InputError: it can't be read.
    """
    try:
        if recipe.endswith(".toml"):
            return tomllib.loads(read_text(Path(recipe)))
        package, file = registry.target("recipes", recipe)
        return tomllib.loads(resources.files(package).joinpath(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the recipe {recipe} can't be read ({error}); repair it.") from error
