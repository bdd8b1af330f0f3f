"""Residual beside plain networks with names, dimensions, units and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resprobe_analyses.equivalence.labelled_parts import estimated
from resprobe_analyses.equivalence.sides import ENDS, Side
from resprobe_analyses.labelling import Variables, number, strings

_MEANINGS = {
    "train_loss": "training loss of the last epoch",
    "cost": "training loss of the last epoch with its penalty",
    "test_error": "test error of the last epoch",
    "id_share": "mass of the ID entries beside that of all |w| at least 0.25",
    "large_id_share": "share of the ID entries in the mass of |w| at least 0.25",
}
_MATCHED = "test error at equal training loss, mean over the levels"
_MINUS = "residual minus plain"


def side_variables(sides: Sequence[Side]) -> tuple[Variables, dict[str, Any]]:
    """Give all differences and their coordinates; nothing without any side."""
    if not sides:
        return {}, {}
    couples = [(side, couple) for side in sides for couple in side.couples]
    seeds = [-1 if one.seed is None else one.seed for _, one in couples]
    variables: Variables = {
        "couple_label": _text("couple", [one.label for _, one in couples], "run or runs"),
        "couple_side": _text("couple", [side.label for side, _ in couples], "group or groups"),
        "couple_seed": number(("couple",), np.array(seeds, np.int64), "seed, -1 where unknown"),
        "matched_error_difference": number(
            ("couple",),
            np.concatenate([side.matched_each for side in sides]),
            f"{_MATCHED}: {_MINUS}",
        ),
    }
    for name in ENDS:
        values = np.concatenate([side.each[name] for side in sides])
        variables[f"{name}_difference"] = number(
            ("couple",), values, f"{_MEANINGS[name]}: {_MINUS}"
        )
        means = [side.last.get(name) for side in sides]
        told = f"{_MEANINGS[name]}: {_MINUS}, mean over seeds"
        variables |= estimated("side", f"mean_{name}_difference", means, told)
    matched = [side.matched for side in sides]
    told = f"{_MATCHED}: {_MINUS}, mean over seeds"
    variables |= estimated("side", "mean_matched_error_difference", matched, told)
    variables |= _levels(sides, len(couples))
    return variables, {"side": ("side", strings([side.label for side in sides]))}


def _levels(sides: Sequence[Side], couples: int) -> Variables:
    most = max(side.levels.shape[1] for side in sides)
    if not most:
        return {}
    losses = np.full((couples, most), np.nan)
    errors = np.full((2, couples, most), np.nan)
    first = 0
    for side in sides:
        inside = slice(first, first := first + len(side.couples))
        losses[inside, : side.levels.shape[1]] = side.levels
        errors[:, inside, : side.levels.shape[1]] = side.errors
    dims = ("couple", "level")
    told = "test error when the training loss first comes down to the level"
    return {
        "level_loss": number(dims, losses, "training loss that both curves of the couple pass"),
        "residual_error_at_level": number(dims, errors[0], f"{told}, residual network"),
        "plain_error_at_level": number(dims, errors[1], f"{told}, plain network"),
    }


def _text(
    dim: str, values: Sequence[str], long_name: str
) -> tuple[tuple[str], Any, dict[str, Any]]:
    return (dim,), strings(list(values)), {"long_name": long_name}
