"""What is said of residual networks beside plain ones."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.equivalence import words
from resprobe_analyses.equivalence.sides import Side

_LAST = (
    ("train_loss", "the training loss", words.signed),
    ("cost", "the cost with the penalty", words.signed),
    ("test_error", "the test error, in points,", words.points),
)


def side_sentences(side: Side) -> list[str]:
    """Say how residual networks differ from plain ones, at the end and at equal training loss."""
    lines = []
    told = [
        f"{what} {words.estimated(side.last[name], write)}"
        for name, what, write in _LAST
        if name in side.last
    ]
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
