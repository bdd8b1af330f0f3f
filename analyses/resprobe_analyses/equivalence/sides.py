"""Residual networks beside plain ones, seed by seed: at the end, and at one training loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.equivalence import recipes
from resprobe_analyses.equivalence.curves import Curve, error_at, shared_levels
from resprobe_analyses.equivalence.networks import Group, Member, Network
from resprobe_analyses.estimates import Estimate, over_seeds

Floats = npt.NDArray[np.float64]

# What may differ between a residual and a plain recipe that are laid side by side.
_ARMS = ("model.residual", "model.initialisation", "model.fan", recipes.PENALTY)


@dataclass(frozen=True)
class Couple:
    """A residual and a plain network of one seed; of one run, or of two.

    Attributes:
        label: of the run that holds both, or of both.
        seed: of their training, None where unknown.
        residual: the one whose blocks have skips.
        plain: the other.
    """

    label: str
    seed: int | None
    residual: Member
    plain: Member

    @property
    def curves(self) -> tuple[Curve, Curve] | None:
        """Epochs of the residual and the plain network, None where either has none."""
        one, other = self.residual.curve, self.plain.curve
        return None if one is None or other is None else (one, other)


@dataclass(frozen=True)
class Side:
    """Couples of one kind, and residual minus plain over them.

    Attributes:
        label: of the group, or of both groups.
        paired: whether both networks of a couple started equal and saw the same batches.
        control: whether their trainings differ in more than the skips, on purpose.
        differs: keys in which the recipes of two groups differ beside the skips.
        couples: one or more.
        last: name to difference, residual minus plain: "train_loss", "cost", "test_error" at the
            last epoch, "id_share" and "large_id_share" at the last weights; those that exist.
        each: name to the differences of the couples, NaN where one is unknown, shape (couple,).
        levels: training losses that all curves pass, shape (level,).
        errors: test error there of the residual and the plain networks, shape (2, couple, level).
        matched: mean over the levels of the difference of these errors, residual minus plain; None
            without common losses.
    """

    label: str
    paired: bool
    control: bool
    differs: tuple[str, ...]
    couples: tuple[Couple, ...]
    last: dict[str, Estimate]
    each: dict[str, Floats]
    levels: Floats
    errors: Floats
    matched: Estimate | None

    @property
    def matched_each(self) -> Floats:
        """Mean difference of the errors at matched loss, shape (couple,); NaN without any."""
        if not self.levels.size:
            return np.full(len(self.couples), np.nan)
        return np.asarray((self.errors[0] - self.errors[1]).mean(axis=1))


def sides_of(groups: Sequence[Group]) -> tuple[Side, ...]:
    """Lay residual networks beside plain ones: both of a run, and runs of equal seeds."""
    found = []
    for group in groups:
        couples = [couple for net in group.networks if (couple := _of_run(net)) is not None]
        if couples:
            found.append(_side(group.label, couples, paired=True, control=group.control))
    for one, other in _matching(groups):
        couples = _of_two(one, other)
        if couples:
            label = f"{one.label} and {other.label}"
            differs = _differences(one, other)
            found.append(_side(label, couples, paired=False, differs=differs))
    return tuple(found)


def _of_run(net: Network) -> Couple | None:
    own, partner = net.own, net.partner
    if partner is None or own.residual is None or partner.residual is not (not own.residual):
        return None
    residual, plain = (own, partner) if own.residual else (partner, own)
    couple = Couple(net.label, net.seed, residual, plain)
    both_weighed = bool(own.states and partner.states)
    return couple if couple.curves is not None or both_weighed else None


def _matching(groups: Sequence[Group]) -> list[tuple[Group, Group]]:
    """Give residual groups with the plain ones of their recipe, or the only two there are."""
    single = [group for group in groups if all(net.partner is None for net in group.networks)]
    residual = [group for group in single if _all(group, residual=True)]
    plain = [group for group in single if _all(group, residual=False)]
    found = [
        (one, other)
        for one in residual
        for other in plain
        if recipes.shared_key(one.networks[0].recipe, _ARMS)
        == recipes.shared_key(other.networks[0].recipe, _ARMS)
    ]
    if not found and len(residual) == len(plain) == 1:
        return [(residual[0], plain[0])]
    return found


def _all(group: Group, *, residual: bool) -> bool:
    return all(net.own.residual is residual for net in group.networks)


def _of_two(residual: Group, plain: Group) -> list[Couple]:
    by_seed = {net.seed: net for net in plain.networks if net.seed is not None}
    found = [
        Couple(f"{net.label} and {other.label}", net.seed, net.own, other.own)
        for net in residual.networks
        if net.seed is not None and (other := by_seed.get(net.seed)) is not None
    ]
    return [one for one in found if one.curves or (one.residual.states and one.plain.states)]


def _differences(residual: Group, plain: Group) -> tuple[str, ...]:
    first, second = residual.networks[0], plain.networks[0]
    return recipes.differences(first.recipe, second.recipe, residual=True)


def _side(
    label: str,
    couples: Sequence[Couple],
    *,
    paired: bool,
    control: bool = False,
    differs: tuple[str, ...] = (),
) -> Side:
    each = _last(couples)
    known = {name: values[np.isfinite(values)] for name, values in each.items()}
    levels, errors = _matched(couples)
    means = (errors[0] - errors[1]).mean(axis=1) if levels.size else np.empty(0)
    return Side(
        label=label,
        paired=paired,
        control=control,
        differs=differs,
        couples=tuple(couples),
        last={name: over_seeds(values) for name, values in known.items() if values.size},
        each=each,
        levels=levels,
        errors=errors,
        matched=over_seeds(means) if means.size else None,
    )


def _last(couples: Sequence[Couple]) -> dict[str, Floats]:
    """Give residual minus plain at the end, name to shape (couple,)."""
    return {
        name: np.array([end(one.residual, name) - end(one.plain, name) for one in couples])
        for name in ENDS
    }


ENDS = ("train_loss", "cost", "test_error", "id_share", "large_id_share")


def end(member: Member, name: str) -> float:
    """Give one of `ENDS` of a network, NaN where it was not recorded."""
    if name.endswith("id_share"):
        word = name.replace("id_share", "ID share").replace("_", " ")
        return member.states[-1].table[word] if member.states else float("nan")
    if member.curve is None:
        return float("nan")
    if name == "cost":
        return member.curve.cost
    return float(getattr(member.curve, name)[-1])


def _matched(couples: Sequence[Couple]) -> tuple[Floats, Floats]:
    """Give common training losses and the test errors there, shape (2, couple, level)."""
    curves = [couple.curves for couple in couples]
    known = [both for both in curves if both is not None]
    if len(known) < len(curves):
        return np.empty(0), np.empty((2, len(couples), 0))
    levels = shared_levels([curve for both in known for curve in both])
    errors = [
        [error_at(curve.train_loss, curve.test_error, levels) for curve in one]
        for one in zip(*known, strict=True)
    ]
    return levels, np.array(errors).reshape(2, len(couples), levels.size)
