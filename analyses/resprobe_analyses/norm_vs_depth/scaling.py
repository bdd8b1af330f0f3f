"""Exponents of γ against depth: one slope for each seed, trained and untrained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.estimates import Estimate, over_seeds, ratio_over_seeds
from resprobe_analyses.norm_vs_depth.networks import Network, Norms
from resprobe_analyses.norm_vs_depth.rule import MINIMUM_DEPTHS, outcome
from resprobe_analyses.norm_vs_depth.tables import Cell, complete_table
from resprobe_analyses.reading import Flags
from resprobe_analyses.statistics import MINIMUM_SEEDS, power_laws

Floats = npt.NDArray[np.float64]

ALL = "all blocks"
LATER = "without stage-first blocks"
VERSIONS: dict[str, Callable[[Network], Flags]] = {
    ALL: lambda net: np.ones(net.blocks, dtype=np.bool_),
    LATER: lambda net: net.later,
}


@dataclass(frozen=True)
class PowerLaw:
    """γ = c·d^p for each seed, over the same depths.

    Attributes:
        depths: numbers of blocks, ascending.
        seeds: ascending.
        gammas: γ, shape (seed, depth).
        slopes: p, shape (seed,).
        constants: c, shape (seed,).
        exponent: mean of p over seeds.
        growth: γ·d at the deepest by that at the shallowest, geometric mean over seeds.
    """

    depths: tuple[int, ...]
    seeds: tuple[int, ...]
    gammas: Floats
    slopes: Floats
    constants: Floats
    exponent: Estimate
    growth: Estimate

    def mean(self) -> Estimate:
        """Give γ by depth, its mean over seeds."""
        return over_seeds(self.gammas)

    def totals(self) -> Estimate:
        """Give γ·d by depth, the sum of ‖G‖ over blocks, its mean over seeds."""
        return over_seeds(self.gammas * np.array(self.depths))


@dataclass(frozen=True)
class Scaling:
    """One version of the exponent at one step size.

    Attributes:
        version: which blocks count, a key of `VERSIONS`.
        trained: None where no seed has two depths.
        untrained: the same networks before training, of all measured ones where none is trained.
        difference: exponent of the trained minus that of the untrained, paired by seed over the
            depths and seeds of `untrained`.
        failures: conditions of the rule that do not hold, as parts of a sentence.
        outcome: what the rule says.
    """

    version: str
    trained: PowerLaw | None
    untrained: PowerLaw | None
    difference: Estimate | None
    failures: tuple[str, ...]
    outcome: str


@dataclass(frozen=True)
class LossTrend:
    """How the training losses actually reached differ between depths.

    Attributes:
        depths: numbers of blocks, ascending.
        seeds: ascending.
        losses: shape (seed, depth).
        exponent: slope of the logarithm of the loss on that of the depth, mean over seeds.
    """

    depths: tuple[int, ...]
    seeds: tuple[int, ...]
    losses: Floats
    exponent: Estimate | None


@dataclass(frozen=True)
class Group:
    """Networks of one step size and one moment.

    Attributes:
        h: it; None where it differs between the blocks of a network.
        moment: what tells it from networks of its depth and step size, "" where nothing does.
        networks: all of them.
        scalings: by version.
        losses: of the networks that the first version counts; None where some are unknown.
    """

    h: float | None
    moment: str
    networks: tuple[Network, ...]
    scalings: Mapping[str, Scaling]
    losses: LossTrend | None

    @property
    def used(self) -> tuple[Network, ...]:
        """Networks that can be compared."""
        return tuple(net for net in self.networks if net.excluded is None)


def groups_of(networks: Sequence[Network]) -> tuple[Group, ...]:
    """Give the exponents for every step size and moment, that of the most networks first."""
    by_size: dict[tuple[float | None, str], list[Network]] = {}
    for net in networks:
        by_size.setdefault((net.h, net.moment), []).append(net)
    found = [_group(*kind, members) for kind, members in by_size.items()]
    return tuple(sorted(found, key=_counted, reverse=True))  # stable: of equals the first given


def _group(h: float | None, moment: str, networks: Sequence[Network]) -> Group:
    used = [net for net in networks if net.excluded is None]
    scalings = {version: _scaling(version, used, networks) for version in VERSIONS}
    law = scalings[ALL].trained
    return Group(h, moment, tuple(networks), scalings, None if law is None else _losses(law, used))


def _counted(group: Group) -> int:
    law = group.scalings[ALL].trained
    return 0 if law is None else law.gammas.size


def _scaling(version: str, used: Sequence[Network], networks: Sequence[Network]) -> Scaling:
    blocks = VERSIONS[version]
    trained = _law(_cells(used, lambda net: net.trained, blocks))
    kept = used if trained is None else _within(used, trained)
    beginnings = kept if kept else networks
    untrained = _law(_cells(beginnings, lambda net: net.untrained, blocks))
    failures = _failures(trained, kept)
    return Scaling(
        version=version,
        trained=trained,
        untrained=untrained,
        difference=_difference(trained, untrained),
        failures=failures,
        outcome=outcome(None if trained is None else trained.exponent, failures),
    )


def _cells(
    networks: Sequence[Network],
    norms: Callable[[Network], Norms | None],
    blocks: Callable[[Network], Flags],
) -> dict[Cell, float]:
    found = {}
    for net in networks:
        measured = norms(net)
        if net.seed is not None and measured is not None and measured.usable(blocks(net)):
            found[net.blocks, net.seed] = measured.gamma(blocks(net))
    return found


def _law(cells: Mapping[Cell, float]) -> PowerLaw | None:
    depths, seeds = complete_table(cells)
    if len(depths) < 2:
        return None
    gammas = np.array([[cells[depth, seed] for depth in depths] for seed in seeds])
    slopes, constants = power_laws(depths, gammas)
    totals = np.log(gammas * np.array(depths))
    return PowerLaw(
        depths=depths,
        seeds=seeds,
        gammas=gammas,
        slopes=slopes,
        constants=constants,
        exponent=over_seeds(slopes),
        growth=ratio_over_seeds(totals[:, -1] - totals[:, 0]),
    )


def _within(networks: Sequence[Network], law: PowerLaw) -> list[Network]:
    return [net for net in networks if net.blocks in law.depths and net.seed in law.seeds]


def _difference(trained: PowerLaw | None, untrained: PowerLaw | None) -> Estimate | None:
    """Pair the slopes by seed, both over the depths that the untrained networks have."""
    if trained is None or untrained is None:
        return None
    rows = [trained.seeds.index(seed) for seed in untrained.seeds]
    columns = [trained.depths.index(depth) for depth in untrained.depths]
    slopes, _ = power_laws(untrained.depths, trained.gammas[np.ix_(rows, columns)])
    return over_seeds(slopes - untrained.slopes)


def _failures(trained: PowerLaw | None, kept: Sequence[Network]) -> tuple[str, ...]:
    depths = 0 if trained is None else len(trained.depths)
    seeds = 0 if trained is None else len(trained.seeds)
    found = []
    if trained is None:
        found.append("no seed has two depths that can be compared")
    elif depths < MINIMUM_DEPTHS:
        found.append(f"{depths} depths instead of {MINIMUM_DEPTHS} or more")
    if trained is not None and seeds < MINIMUM_SEEDS:
        found.append(f"{seeds} seed{'s' * (seeds != 1)} instead of {MINIMUM_SEEDS} or more")
    elif trained is not None and not np.isfinite(trained.exponent.low):
        found.append("all seeds have exactly one slope, so they are not independent trainings")
    return (*found, *_target_failures(kept))


def _target_failures(kept: Sequence[Network]) -> list[str]:
    targets = sorted({-1.0 if n.training.target is None else n.training.target for n in kept})
    if targets and targets[-1] < 0:
        return ["no train.stop_train_loss, so depths were not trained to the same training loss"]
    if len(targets) > 1:
        told = ", ".join("none" if target < 0 else f"{target:g}" for target in targets)
        return [f"different train.stop_train_loss ({told})"]
    unknown = [net.label for net in kept if net.training.reached is None]
    if unknown:
        return [f"the training loss of {', '.join(unknown)} is not known"]
    return []


def _losses(law: PowerLaw, used: Sequence[Network]) -> LossTrend | None:
    known = {(net.blocks, net.seed): net.training.loss for net in _within(used, law)}
    table = [[known[depth, seed] for depth in law.depths] for seed in law.seeds]
    if any(loss is None for row in table for loss in row):
        return None
    losses = np.array(table, dtype=np.float64)
    trend = None
    if (losses > 0).all() and np.isfinite(losses).all():
        trend = over_seeds(power_laws(law.depths, losses)[0])
    return LossTrend(law.depths, law.seeds, losses, trend)
