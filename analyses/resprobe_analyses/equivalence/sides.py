"""Residual networks beside plain ones, seed by seed: at the end, and at one training loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.equivalence import recipes
from resprobe_analyses.equivalence.curves import LEVELS, Curve, error_at, shared_levels
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
        one_penalty: whether weight decay pulls equivalent weights of both alike.
        one_cost: whether both penalties are one function of equivalent weights, so that costs can
            be compared.
        couples: one or more.
        last: name to difference, residual minus plain: "train_loss", "cost", "test_error" at the
            last epoch, "id_share" and "large_id_share" at the last weights; those that exist.
        each: name to the differences of the couples, NaN where one is unknown, shape (couple,).
        levels: training losses that both curves of a couple pass, shape (couple, level); NaN for
            a couple whose curves share none, no level where no couple has any.
        errors: test error there of the residual and the plain networks, shape (2, couple, level).
        matched: mean over levels and couples of the difference of these errors, residual minus
            plain; None without common losses.
    """

    label: str
    paired: bool
    control: bool
    differs: tuple[str, ...]
    one_penalty: bool
    one_cost: bool
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

    @property
    def cost_error(self) -> float:
        """How large a difference of the costs may come from norms that are stored in float32."""
        both = [one.curves for one in self.couples if one.curves]
        return max((own.cost_error + other.cost_error for own, other in both), default=0.0)

    @property
    def costs_equal(self) -> bool:
        """Whether no difference of the costs is larger than that, where any is known."""
        known = self.each["cost"][np.isfinite(self.each["cost"])]
        return bool(known.size and (np.abs(known) <= self.cost_error).all())

    @property
    def unmatched(self) -> int:
        """How many couples have curves without a training loss in common."""
        return int(np.isnan(self.matched_each).sum())


def sides_of(groups: Sequence[Group]) -> tuple[Side, ...]:
    """Lay residual networks beside plain ones: both of a run, and runs of equal seeds."""
    found = []
    for group in groups:
        couples = [couple for net in group.networks if (couple := _of_run(net)) is not None]
        if couples:
            changed = recipes.PENALTIES.intersection(group.networks[0].changes)
            found.append(
                _side(
                    group.label,
                    couples,
                    paired=True,
                    control=group.control,
                    one_cost=not changed,
                )
            )
    for one, other in _matching(groups):
        couples = _of_two(one, other)
        if couples:
            label = f"{one.label} and {other.label}"
            first, second = one.networks[0].recipe, other.networks[0].recipe
            differs = recipes.different_keys(first, second)
            alike = recipes.one_penalty(first, second)
            found.append(
                _side(
                    label,
                    couples,
                    paired=False,
                    differs=differs,
                    one_penalty=alike,
                    one_cost=alike and not recipes.PENALTIES.intersection(differs),
                )
            )
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


def _side(
    label: str,
    couples: Sequence[Couple],
    *,
    paired: bool,
    control: bool = False,
    differs: tuple[str, ...] = (),
    one_penalty: bool = True,
    one_cost: bool = True,
) -> Side:
    each = _last(couples)
    known = {name: values[np.isfinite(values)] for name, values in each.items()}
    levels, errors = _matched(couples)
    means = (errors[0] - errors[1]).mean(axis=1) if levels.size else np.empty(0)
    means = means[np.isfinite(means)]
    return Side(
        label=label,
        paired=paired,
        control=control,
        differs=differs,
        one_penalty=one_penalty,
        one_cost=one_cost,
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
    """Give shared losses, shape (couple, level), and test errors there, (2, couple, level)."""
    levels = np.full((len(couples), LEVELS), np.nan)
    errors = np.full((2, *levels.shape), np.nan)
    for row, couple in enumerate(couples):
        own = shared_levels(couple.curves or ())
        if own.size:
            levels[row] = own
            for place, curve in enumerate(couple.curves or ()):
                errors[place, row] = error_at(curve.train_loss, curve.test_error, own)
    if np.isnan(levels).all():
        return np.empty((len(couples), 0)), np.empty((2, len(couples), 0))
    return levels, errors
