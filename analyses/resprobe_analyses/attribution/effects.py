"""Networks and groups: how predictors rank, and what it costs to trust one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.attribution.choices import Choice, choices
from resprobe_analyses.attribution.networks import Group, Network
from resprobe_analyses.attribution.predictors import Predictor
from resprobe_analyses.attribution.rankings import rankings
from resprobe_analyses.attribution.standing import Standing
from resprobe_analyses.estimates import LEVEL, Estimate, estimate_change
from resprobe_analyses.lesion.effects import NetworkEffect as LesionEffect
from resprobe_analyses.lesion.effects import network_effect as lesion_effect
from resprobe_analyses.reading import Layout

Floats = npt.NDArray[np.float64]

Standings = Mapping[tuple[str, str], Standing]  # by effect and by what is ranked within


@dataclass(frozen=True)
class NetworkEffect:
    """One network.

    Attributes:
        network: what was recorded.
        lesion: what the lesions do, block by block.
        standings: of its predictors.
        choices: a quarter and a half of its blocks.
    """

    network: Network
    lesion: LesionEffect
    standings: Standings
    choices: tuple[Choice, ...]

    @property
    def interpretable(self) -> bool:
        """Whether the whole network errs on at most half as many images as chance does."""
        return self.lesion.interpretable


@dataclass(frozen=True)
class Cost:
    """What it costs to trust a predictor with a share of the blocks, the mean over networks.

    Attributes:
        share: of the ranked blocks.
        count: how many blocks that are.
        among: of how many.
        hits: predictor to the mean number of hits.
        random_hits: of a random choice.
        increase: predictor to the error increase by the lesion of one of its blocks.
        best: that of the blocks that the lesion chooses on other images.
        random: that of all ranked blocks.
        below_random: predictor to its increase minus that of all ranked blocks.
    """

    share: float
    count: int
    among: int
    hits: Mapping[str, float]
    random_hits: float
    increase: Mapping[str, Estimate]
    best: Estimate
    random: Estimate
    below_random: Mapping[str, Estimate]


@dataclass(frozen=True)
class GroupEffect:
    """The mean over the interpretable networks of a group; empty without any.

    Attributes:
        group: its networks.
        members: effects of all its networks.
        used: effects of the interpretable ones.
        standings: of the predictors that all used networks have.
        costs: of trusting them.
    """

    group: Group
    members: tuple[NetworkEffect, ...]
    used: tuple[NetworkEffect, ...]
    standings: Standings
    costs: tuple[Cost, ...]

    @property
    def layout(self) -> Layout:
        """Layout of the blocks."""
        return self.group.layout


def effects(groups: Sequence[Group]) -> tuple[GroupEffect, ...]:
    """Give the effect of every group, in order."""
    return tuple(_group_effect(group) for group in groups)


def predictors_of(groups: Sequence[GroupEffect]) -> dict[str, Predictor]:
    """Give every predictor that a network has, by name, in order."""
    found: dict[str, Predictor] = {}
    for group in groups:
        for network in group.group.networks:
            found |= {one.predictor.name: one.predictor for one in network.predictors}
    return found


def _group_effect(group: Group) -> GroupEffect:
    members = tuple(
        NetworkEffect(net, lesion_effect(net.lesion), rankings(net), choices(net))
        for net in group.networks
    )
    used = tuple(member for member in members if member.interpretable)
    if not used:
        return GroupEffect(group, members, used, {}, ())
    common = [key for key in used[0].standings if all(key in one.standings for one in used)]
    standings = {key: _mean_standing([one.standings[key] for one in used]) for key in common}
    return GroupEffect(group, members, used, standings, _costs(used))


def _mean_standing(found: Sequence[Standing]) -> Standing:
    """Average standings on Fisher's z scale, with Student's intervals from five seeds on.

    Differences of several networks stay on that scale.
    """
    if len(found) == 1:
        return found[0]
    names = tuple(name for name in found[0].names if all(name in one.names for one in found))
    places = [[one.names.index(name) for name in names] for one in found]
    blocks = min(one.blocks for one in found)
    z = np.stack(
        [
            statistics.fisher_z(one.value[place], max(blocks, 1))
            for one, place in zip(found, places, strict=True)
        ]
    )
    difference = z[:, :, None] - z[:, None, :]
    value, low, high = (np.tanh(bound) for bound in _over_seeds(z))
    spread = [bound.reshape(len(names), -1) for bound in _over_seeds(_flat(difference))]
    return Standing(
        names=names,
        value=value,
        low=low,
        high=high,
        over="seeds",
        networks=len(found),
        random_p=_p_over_seeds(z),
        difference=spread[0],
        difference_low=spread[1],
        difference_high=spread[2],
        difference_p=_p_over_seeds(_flat(difference)).reshape(len(names), -1),
        reliability=float(np.mean([one.reliability for one in found])),
        predictor_reliability=np.mean(
            [one.predictor_reliability[place] for one, place in zip(found, places, strict=True)],
            axis=0,
        ),
        blocks=blocks,
        strata=min(one.strata for one in found),
        random=found[0].random,
        smallest_p=float("nan"),
    )


def _flat(difference: Floats) -> Floats:
    return difference.reshape(len(difference), -1)


def _over_seeds(values: Floats) -> tuple[Floats, Floats, Floats]:
    interval = statistics.student_interval(values, LEVEL)
    if interval is not None:
        return interval
    mean = np.asarray(values.mean(axis=0))
    return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)


def _p_over_seeds(values: Floats) -> Floats:
    found = statistics.student_p(values)
    if found is None:
        return np.full(values.shape[1], np.nan)
    return np.where(np.isfinite(values).all(axis=0), found, np.nan)


def _costs(used: Sequence[NetworkEffect]) -> tuple[Cost, ...]:
    """Average what each network's own choices cost."""
    found = []
    by_share = zip(*(member.choices for member in used), strict=False)
    for same in by_share:
        if len({(one.count, one.among) for one in same}) > 1:
            continue  # networks that rank other numbers of blocks choose other numbers
        names = [name for name in same[0].hits if all(name in one.hits for one in same)]
        parts = same[0].count
        random = np.stack([one.random for one in same])
        chosen = {name: np.stack([one.changes[name] for one in same]) for name in names}
        found.append(
            Cost(
                share=same[0].share,
                count=same[0].count,
                among=same[0].among,
                hits={name: float(np.mean([one.hits[name] for one in same])) for name in names},
                random_hits=same[0].random_hits,
                increase={name: estimate_change(rows, parts) for name, rows in chosen.items()},
                best=estimate_change(np.stack([one.best for one in same]), parts),
                random=estimate_change(random, same[0].among),
                below_random={
                    name: estimate_change(rows - random, parts) for name, rows in chosen.items()
                },
            )
        )
    return tuple(found)
