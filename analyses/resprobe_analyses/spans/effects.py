"""What lesions of spans do to one network or to the mean of its seeds: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL, Estimate
from resprobe_analyses.reading import Layout
from resprobe_analyses.spans.networks import (
    Group,
    Network,
    with_transition,
    within_network,
)
from resprobe_analyses.spans.rankings import block_rankings, span_rankings

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

TOLERANCE = 0.01  # of test error: what a span may cost and still be called affordable
ALL, WITHIN, ANGLE = "least harmful", "least harmful within stages", "least angular distance"


@dataclass(frozen=True)
class NetworkEffect:
    """One network beside itself without each span.

    Attributes:
        network: what was recorded.
        test_error: of the whole network, over images.
        chance_error: of always answering the most frequent class.
        increase: test error without the span minus with it, shape (block, length); NaN past the
            end.
        correlations: predictor to its rank correlation with the rise by single blocks.
        span_correlations: of the angular distance by length, shape (length,).
    """

    network: Network
    test_error: Estimate
    chance_error: float
    increase: Estimate
    correlations: Mapping[str, statistics.RankCorrelation]
    span_correlations: Floats

    @property
    def interpretable(self) -> bool:
        """Whether the whole network errs on at most half as many images as chance does."""
        return float(self.test_error.value) <= self.chance_error / 2


@dataclass(frozen=True)
class Choice:
    """One span of each length, and what its lesion costs.

    Attributes:
        name: how it was chosen.
        first: first block of the span of each length, −1 where there is none, shape (length,).
        chosen_on: rise of the test error on the images that chose, NaN where none, shape (length,).
        measured_on: the same on the other images, with its interval, shape (length,).
    """

    name: str
    first: Integers
    chosen_on: Floats
    measured_on: Estimate

    @property
    def lengths(self) -> list[int]:
        """The lengths at which there is a span, ascending."""
        return [int(place) + 1 for place in np.flatnonzero(self.first >= 0)]

    def at(self, length: int) -> Estimate:
        """Give the cost of the span of one length, on the images that did not choose it."""
        value, low, high = (
            np.asarray(bound[length - 1])
            for bound in (self.measured_on.value, self.measured_on.low, self.measured_on.high)
        )
        return Estimate(value, low, high, self.measured_on.over, self.measured_on.networks)

    def affordable(self) -> int:
        """Give the longest length whose span costs at most the tolerance, 0 for none.

        It is read from the images that chose the spans: on the others, the longest of many would
        be one that chance was kind to.
        """
        able = [length for length in self.lengths if self.chosen_on[length - 1] <= TOLERANCE]
        return max(able, default=0)


@dataclass(frozen=True)
class Effect:
    """The mean over the interpretable networks of a group; no choices without any.

    Attributes:
        group: its networks.
        members: effects of all its networks.
        used: effects of the interpretable ones.
        increase: rise of the test error, the mean over `used` (over `members` where none is
            interpretable), shape (block, length).
        transition: which spans hold a transition, shape (block, length).
        choices: by how they were chosen; the first is the least harmful one, within stages where
            there are transitions.
        test_error: of the whole networks, on the images that measure.
        angle_excess: cost of the spans of least angular distance minus that of the least harmful
            ones, the mean over the lengths that both have; None without angles.
    """

    group: Group
    members: tuple[NetworkEffect, ...]
    used: tuple[NetworkEffect, ...]
    increase: Floats
    transition: Flags
    choices: tuple[Choice, ...] = ()
    test_error: Estimate | None = None
    angle_excess: Estimate | None = None

    @property
    def layout(self) -> Layout:
        """Layout of the blocks."""
        return self.group.networks[0].layout

    @property
    def choosing_images(self) -> int:
        """How many images choose spans."""
        return int(self.group.networks[0].choosing.sum())

    @property
    def measuring_images(self) -> int:
        """How many images measure the chosen spans."""
        return int((~self.group.networks[0].choosing).sum())

    def choice(self, name: str) -> Choice | None:
        """Give a choice by its name."""
        return next((choice for choice in self.choices if choice.name == name), None)


def effect(group: Group) -> Effect:
    """Give what the lesions of spans do to the networks of a group."""
    members = tuple(network_effect(network) for network in group.networks)
    used = tuple(member for member in members if member.interpretable)
    increase = np.mean([member.increase.value for member in used or members], axis=0)
    transition = with_transition(group.networks[0].layout)
    if not used:
        return Effect(group, members, used, increase, transition)
    nets = [member.network for member in used]
    measuring = ~nets[0].choosing
    choices = tuple(_choices(nets, transition))
    whole = np.stack([net.whole_wrong[measuring].astype(np.float64) for net in nets])
    return Effect(
        group=group,
        members=members,
        used=used,
        increase=increase,
        transition=transition,
        choices=choices,
        test_error=_whole_error(whole),
        angle_excess=_angle_excess(nets, choices),
    )


def network_effect(network: Network) -> NetworkEffect:
    """Compare one network with itself after each lesion of a span."""
    images = network.whole_wrong.size
    whole = network.whole_wrong[:, None, None]
    gained = (network.span_wrong & ~whole).sum(axis=0)
    lost = (~network.span_wrong & whole).sum(axis=0)
    inside = within_network(len(network.names))
    bounds = (
        statistics.paired_difference(gained, lost, images),
        *statistics.paired_difference_interval(gained, lost, images, LEVEL),
    )
    value, low, high = (np.where(inside, bound, np.nan) for bound in bounds)
    counts = np.unique(network.classes, return_counts=True)[1]
    wrong = int(network.whole_wrong.sum())
    error = statistics.proportion_interval(wrong, images, LEVEL)
    return NetworkEffect(
        network=network,
        test_error=Estimate(np.asarray(wrong / images), *error, over="images", networks=1),
        chance_error=1 - float(counts.max()) / images,
        increase=Estimate(value, low, high, over="images", networks=1),
        correlations=block_rankings(network, value),
        span_correlations=span_rankings(network, value),
    )


def changes(network: Network, first: Integers, lengths: Sequence[int]) -> Floats:
    """Give wrong without the span minus wrong with it on the measuring images.

    Args:
        network: what was recorded.
        first: first block of the span of each length, shape (length,).
        lengths: which of them.

    Returns:
        In {−1, 0, 1}, shape (image, len(lengths)).
    """
    places = np.asarray(lengths, dtype=np.int64) - 1
    measuring = ~network.choosing
    wrong = network.span_wrong[:, first[places], places][measuring]
    return np.asarray(wrong.astype(np.float64) - network.whole_wrong[measuring, None])


def _choices(nets: Sequence[Network], transition: Flags) -> list[Choice]:
    inside = within_network(len(nets[0].names))
    choosing = nets[0].choosing
    errors = np.mean(
        [net.span_wrong[choosing].mean(axis=0) - net.whole_wrong[choosing].mean() for net in nets],
        axis=0,
    )
    losses = np.mean([net.choosing_loss_increase for net in nets], axis=0)
    within = inside & ~transition
    found = []
    if transition.any() and within.any():
        found.append(_choice(WITHIN, nets, errors, (errors, losses), within))
    found.append(_choice(ALL, nets, errors, (errors, losses), inside))
    distances = [net.distance for net in nets if net.distance is not None]
    if len(distances) == len(nets):
        distance = np.mean(distances, axis=0)
        known = within & np.isfinite(distance)
        if known.any():
            found.append(_choice(ANGLE, nets, errors, (distance,), known))
    return found


def _choice(
    name: str, nets: Sequence[Network], errors: Floats, keys: tuple[Floats, ...], allowed: Flags
) -> Choice:
    """Take the allowed span with the smallest keys at each length, the first one of equals."""
    blocks = allowed.shape[0]
    first = np.full(blocks, -1, dtype=np.int64)
    for place in range(blocks):
        able = np.flatnonzero(allowed[:, place])
        if able.size:
            # many spans change no prediction at all: of these the loss decides
            order = np.lexsort([key[able, place] for key in reversed(keys)])
            first[place] = able[order[0]]
    known = first >= 0
    chosen_on = np.where(known, errors[first, np.arange(blocks)], np.nan)
    return Choice(name, first, chosen_on, _measured(nets, first))


def _measured(nets: Sequence[Network], first: Integers) -> Estimate:
    lengths = [int(place) + 1 for place in np.flatnonzero(first >= 0)]
    estimate = _paired([changes(net, first, lengths) for net in nets])
    bounds = np.full((3, first.size), np.nan)
    bounds[:, np.asarray(lengths) - 1] = [estimate.value, estimate.low, estimate.high]
    value, low, high = bounds
    return Estimate(value, low, high, over=estimate.over, networks=estimate.networks)


def _paired(change: Sequence[Floats]) -> Estimate:
    """Average paired differences over networks, with an interval over images.

    Never over seeds: the spans were chosen on these very networks, and other seeds of the training
    would not have been so kind to them.
    """
    if len(change) > 1:
        over_images = statistics.mean_change_interval(np.mean(change, axis=0), len(change), LEVEL)
        return Estimate(*over_images, over="images", networks=len(change))
    # a single network has binary pairs, for which Tango's interval is at hand
    images = change[0].shape[0]
    gained, lost = (change[0] > 0).sum(axis=0), (change[0] < 0).sum(axis=0)
    bounds = statistics.paired_difference_interval(gained, lost, images, LEVEL)
    value = statistics.paired_difference(gained, lost, images)
    return Estimate(value, *bounds, over="images", networks=1)


def _whole_error(whole: Floats) -> Estimate:
    if len(whole) > 1:
        mean, low, high = statistics.mean_fraction_interval(whole.mean(axis=0), LEVEL)
        found = (np.asarray(mean), np.asarray(low), np.asarray(high))
        return Estimate(*found, over="images", networks=len(whole))
    wrong, images = int(whole.sum()), whole.shape[1]
    bounds = statistics.proportion_interval(wrong, images, LEVEL)
    return Estimate(np.asarray(wrong / images), *bounds, over="images", networks=1)


def _angle_excess(nets: Sequence[Network], choices: Sequence[Choice]) -> Estimate | None:
    by_angle = next((choice for choice in choices if choice.name == ANGLE), None)
    if by_angle is None:
        return None
    by_lesion = choices[0]
    lengths = [length for length in by_angle.lengths if by_lesion.first[length - 1] >= 0]
    difference = np.mean(
        [
            changes(net, by_angle.first, lengths) - changes(net, by_lesion.first, lengths)
            for net in nets
        ],
        axis=(0, 2),
    )
    over_images = statistics.mean_change_interval(difference, len(lengths) * len(nets), LEVEL)
    return Estimate(*over_images, over="images", networks=len(nets))
