"""What is said of residual networks beside plain ones."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.equivalence import words
from resprobe_analyses.equivalence.sides import Side


def side_sentences(side: Side) -> list[str]:
    """Say how residual networks differ from plain ones, at the end and at equal training loss."""
    lines = []
    told = _last(side)
    if told:
        lines.append(
            f"{side.label}: residual minus plain at the last epoch, seed by seed{_kind(side)}: "
            f"{'; '.join(told)}."
        )
        lines.append(_matched(side))
    if "id_share" in side.last and not side.paired:
        lines.append(
            f"{side.label}: the mass of the ID entries beside that of |w| ≥ 0.25, residual minus "
            f"plain at the last weights, in points: "
            f"{words.estimated(side.last['id_share'], words.points)}."
        )
    return lines


def _last(side: Side) -> list[str]:
    last, told = side.last, []
    if "train_loss" in last:
        told.append(f"the training loss {words.estimated(last['train_loss'])}")
    if "cost" in last:
        told.append(_cost(side))
    if "test_error" in last:
        told.append(
            f"the test error, in points, {words.estimated(last['test_error'], words.points)}"
        )
    return told


def _cost(side: Side) -> str:
    if not side.one_cost:
        return "costs are not compared, since each network has another penalty"
    if side.costs_equal and side.cost_error:
        return (
            "the cost with the penalty equal as far as the recorded norms tell (float32, to "
            f"{words.size(side.cost_error)})"
        )
    return f"the cost with the penalty {words.estimated(side.last['cost'])}"


def _kind(side: Side) -> str:
    if side.control:
        return ", of the negative control"
    if side.paired:
        return (
            ", which started equal and saw the same batches, so that rounding alone can tell them "
            "apart"
        )
    told = [f"the recipes also differ in {', '.join(side.differs)}"] if side.differs else []
    if not side.one_penalty:
        told.append("weight decay pulls the ID entries of T(r) and p elsewhere")
    return f" ({'; '.join(told)})" if told else ""


def _matched(side: Side) -> str:
    if side.matched is None:
        return (
            f"{side.label}: no training loss is passed by both networks of a couple, so none is "
            "matched."
        )
    left_out = (
        f"; {side.unmatched} of {len(side.couples)} couples share no training loss and are left out"
        if side.unmatched
        else ""
    )
    return (
        f"{side.label}: at equal training loss ({np.nanmin(side.levels):.3g} to "
        f"{np.nanmax(side.levels):.3g}, {side.levels.shape[1]} levels for each couple, between "
        f"epochs interpolated) the test error, residual minus plain, is "
        f"{words.value_of(side.matched, words.points)} points ({words.basis(side.matched)})"
        f"{left_out}."
    )
