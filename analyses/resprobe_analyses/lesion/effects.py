"""What lesions do to each network and to each group of networks: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL, Estimate, estimate_change, estimate_fraction
from resprobe_analyses.lesion.networks import Group, Network
from resprobe_analyses.reading import Layout

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SEED = 0  # of the permutations; the analysis gives the same numbers every time
PREDICTORS = ("branch_shortcut_ratio", "weight_norm")


@dataclass(frozen=True)
class NetworkEffect:
    """One network beside itself without each of its branches.

    Attributes:
        network: what was recorded.
        test_error: of the whole network, over images.
        chance_error: of always answering the most frequent class.
        gained: images wrong only after the lesion, shape (block,).
        lost: images wrong only before it, shape (block,).
        increase: test error after the lesion minus before, by block.
        p_value: McNemar's exact test, shape (block,).
        p_holm: adjusted over all blocks of the network.
        loss_increase: mean test loss after minus before, by block.
        ratio: mean ‖G‖/‖s‖ by block.
        correlations: predictor to its rank correlation with `increase` within stages.
    """

    network: Network
    test_error: Estimate
    chance_error: float
    gained: Integers
    lost: Integers
    increase: Estimate
    p_value: Floats
    p_holm: Floats
    loss_increase: Estimate
    ratio: Estimate
    correlations: Mapping[str, statistics.RankCorrelation]

    @property
    def interpretable(self) -> bool:
        """Whether the whole network errs on at most half as many images as chance does."""
        return float(self.test_error.value) <= self.chance_error / 2


@dataclass(frozen=True)
class GroupEffect:
    """The mean over the interpretable networks of a group; all None or empty without any.

    Attributes:
        group: its networks.
        members: effects of all its networks.
        used: effects of the interpretable ones.
        test_error: of the whole networks.
        increase: error increase by block.
        p_holm: of `increase`, adjusted over blocks, shape (block,); None below five seeds, where
            each network has its own test.
        within: error increase by one within-stage lesion, the mean over those blocks.
        transition: the same over transitions.
        transition_excess: `transition` minus `within`.
        lesion_error: test error after one within-stage lesion, the mean over those blocks.
        ratio: ‖G‖/‖s‖ by block.
        correlations: predictor to its mean correlation over seeds; empty below five seeds.
    """

    group: Group
    members: tuple[NetworkEffect, ...]
    used: tuple[NetworkEffect, ...]
    test_error: Estimate | None = None
    increase: Estimate | None = None
    p_holm: Floats | None = None
    within: Estimate | None = None
    transition: Estimate | None = None
    transition_excess: Estimate | None = None
    lesion_error: Estimate | None = None
    ratio: Estimate | None = None
    correlations: Mapping[str, Estimate] | None = None

    @property
    def interpretable_group(self) -> Group:
        """The group without its uninterpretable networks."""
        return Group(self.group.label, tuple(member.network for member in self.used))

    @property
    def layout(self) -> Layout:
        """Layout of the blocks."""
        return self.group.networks[0].layout


def effects(groups: Sequence[Group]) -> tuple[GroupEffect, ...]:
    """Give the effect of every group, in order."""
    return tuple(_group_effect(group) for group in groups)


def changes(network: Network) -> Floats:
    """Give wrong after the lesion minus wrong before, in {−1, 0, 1}, shape (image, block)."""
    return network.lesion_wrong.astype(np.float64) - network.whole_wrong[:, None]


def network_effect(network: Network) -> NetworkEffect:
    """Compare one network with itself after each lesion."""
    change = changes(network)
    images = change.shape[0]
    gained = np.asarray(np.sum(change > 0, axis=0), dtype=np.int64)
    lost = np.asarray(np.sum(change < 0, axis=0), dtype=np.int64)
    increase = statistics.paired_difference(gained, lost, images)
    bounds = statistics.paired_difference_interval(gained, lost, images, LEVEL)
    p_value = statistics.mcnemar_p(gained, lost)
    ratio = statistics.mean_interval(network.ratio, LEVEL)
    return NetworkEffect(
        network=network,
        test_error=_test_error(network),
        chance_error=1 - float(np.bincount(_positions(network.classes)).max()) / images,
        gained=gained,
        lost=lost,
        increase=Estimate(increase, *bounds, over="images", networks=1),
        p_value=p_value,
        p_holm=statistics.holm(p_value),
        loss_increase=_over_images(network.loss_increase),
        ratio=Estimate(*ratio, over="images", networks=1),
        correlations=_correlations(network, ratio[0], increase),
    )


def _positions(classes: Integers) -> Integers:
    return np.asarray(np.unique(classes, return_inverse=True)[1], dtype=np.int64)


def _test_error(network: Network) -> Estimate:
    wrong, images = int(network.whole_wrong.sum()), network.whole_wrong.size
    low, high = statistics.proportion_interval(wrong, images, LEVEL)
    return Estimate(np.asarray(wrong / images), low, high, over="images", networks=1)


def _over_images(values: Floats) -> Estimate:
    return Estimate(*statistics.mean_interval(values, LEVEL), over="images", networks=1)


def _correlations(
    network: Network, ratio: Floats, increase: Floats
) -> dict[str, statistics.RankCorrelation]:
    predictors = {"branch_shortcut_ratio": ratio, "weight_norm": network.weight_norm}
    found = {}
    for name in PREDICTORS:
        kept = network.layout.within & np.isfinite(predictors[name])
        found[name] = statistics.rank_correlation(
            predictors[name][kept],
            increase[kept],
            network.layout.stage[kept],
            generator=np.random.default_rng(SEED),
            level=LEVEL,
        )
    return found


def _group_effect(group: Group) -> GroupEffect:
    members = tuple(network_effect(network) for network in group.networks)
    used = tuple(member for member in members if member.interpretable)
    if not used:
        return GroupEffect(group, members, used)
    nets = [member.network for member in used]
    layout = nets[0].layout
    change = np.stack([changes(net) for net in nets])
    wrong = np.stack([net.lesion_wrong[:, layout.within].astype(np.float64) for net in nets])
    within = _mean_over(change, layout.within)
    transition = _mean_over(change, layout.transition)
    excess = None if within is None or transition is None else transition[0] - within[0]
    fewest = int(min(layout.within.sum(), layout.transition.sum()))
    return GroupEffect(
        group=group,
        members=members,
        used=used,
        test_error=used[0].test_error if len(used) == 1 else estimate_fraction(_whole(nets)),
        # a single network has binary pairs, for which Tango's interval is at hand
        increase=used[0].increase if len(used) == 1 else estimate_change(change),
        p_holm=_seed_test(change),
        within=None if within is None else estimate_change(*within),
        transition=None if transition is None else estimate_change(*transition),
        transition_excess=None if excess is None else estimate_change(excess, fewest),
        lesion_error=estimate_fraction(wrong.mean(axis=2)) if wrong.shape[2] else None,
        ratio=_group_ratio(used),
        correlations=_seed_correlations(used),
    )


def _whole(networks: Sequence[Network]) -> Floats:
    return np.stack([net.whole_wrong.astype(np.float64) for net in networks])


def _mean_over(change: Floats, blocks: npt.NDArray[np.bool_]) -> tuple[Floats, int] | None:
    count = int(blocks.sum())
    return (change[:, :, blocks].mean(axis=2), count) if count else None


def _seed_test(change: Floats) -> Floats | None:
    p_values = statistics.student_p(change.mean(axis=1))
    return None if p_values is None else statistics.holm(p_values)


def _group_ratio(used: Sequence[NetworkEffect]) -> Estimate:
    if len(used) == 1:
        return used[0].ratio
    means = np.stack([member.ratio.value for member in used])
    by_seed = statistics.student_interval(means, LEVEL)
    if by_seed is not None:
        return Estimate(*by_seed, over="seeds", networks=len(used))
    by_image = np.mean([member.network.ratio for member in used], axis=0)
    over_images = statistics.mean_interval(by_image, LEVEL)
    return Estimate(*over_images, over="images", networks=len(used))


def _seed_correlations(used: Sequence[NetworkEffect]) -> dict[str, Estimate]:
    found = {}
    for name in PREDICTORS:
        known = [
            member.correlations[name]
            for member in used
            if np.isfinite(member.correlations[name].value)
        ]
        z = [statistics.fisher_z(one.value, one.items) for one in known]
        interval = statistics.student_interval(z, LEVEL)
        if interval is not None:
            value, low, high = (np.tanh(bound) for bound in interval)
            found[name] = Estimate(value, low, high, over="seeds", networks=len(known))
    return found
