"""The noise stability of one group of networks, or of two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe.result import Input
from resprobe_analyses.cushions.effects import Effect as Cushions
from resprobe_analyses.cushions.effects import NetworkEffect as NetworkCushions
from resprobe_analyses.cushions.effects import effect as cushion_effect
from resprobe_analyses.cushions.networks import Group, read_groups
from resprobe_analyses.difference import Difference
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.noise_stability.bound_reading import Parts, read_parts
from resprobe_analyses.noise_stability.differences import differences
from resprobe_analyses.noise_stability.equal_noise import EqualNoise, at_equal_noise
from resprobe_analyses.noise_stability.known import over_trainings
from resprobe_analyses.noise_stability.networks import (
    NORMS,
    Network,
    check_inputs,
    read_networks,
)
from resprobe_analyses.noise_stability.predictions import (
    SCOPES,
    Between,
    Prediction,
    between,
    over_images,
    over_networks,
    prediction,
)
from resprobe_analyses.noise_stability.responses import (
    GroupResponse,
    ResponseContrast,
    contrast,
    group_response,
    of_input,
    of_weight,
)
from resprobe_analyses.reading import unique

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NetworkEffect:
    """What was found of one network.

    Attributes:
        network: what noise did to it.
        cushions: its cushions, as the analysis of cushions has them.
        prediction: how the two go together.
        parts: of the bound.
    """

    network: Network
    cushions: NetworkCushions
    prediction: Prediction
    parts: Parts

    def metric(self, name: str) -> float:
        """Give what the trainer measured at the checkpoint, NaN where that is not at hand."""
        return self.network.metrics.get(name, float("nan"))

    @property
    def gap(self) -> float:
        """Test error minus training error, NaN where they are not at hand."""
        return self.metric("test_error") - self.metric("train_error")

    @property
    def loss_gap(self) -> float:
        """Test loss minus training loss, likewise."""
        return self.metric("test_loss") - self.metric("train_loss")


@dataclass(frozen=True)
class GroupEffect:
    """What was found of the networks of one recipe.

    Attributes:
        label: of the group.
        members: its networks.
        weight: their response to noise of the weights.
        input: to noise of the input, None where any of them lacks it.
        over_layers: scope to norm to the mean rank correlation over layers of cushion and response.
        over_images: norm to that over images, median of the layers.
        gap: mean of test error minus training error, None where any is not known.
        log10_bound: mean of log10 of the bounds that are a number, shape (norm,), None where a
            part of any was not measured.
    """

    label: str
    members: tuple[NetworkEffect, ...]
    weight: GroupResponse
    input: GroupResponse | None
    over_layers: dict[str, dict[str, Estimate]]
    over_images: dict[str, Estimate]
    gap: Estimate | None
    log10_bound: Estimate | None

    @property
    def residual(self) -> bool:
        """Whether these are networks with skips."""
        return self.members[0].network.residual


@dataclass(frozen=True)
class Contrast:
    """The first group beside the second, pair by pair of networks.

    Attributes:
        labels: of the two networks of each pair.
        weight: responses to noise of the weights; None where the layers do not correspond.
        equal: the same at equal absolute noise; None likewise.
        input: to noise of the input; None where it was not collected for all.
        between: whether the group with the larger cushion has the smaller response; None as for
            `weight`.
        gap: difference of the gaps of each pair, shape (pair,); NaN where not known.
        log10_bound: difference of log10 of the bounds, shape (pair, norm), likewise.
        paired: whether each pair has one seed.
    """

    labels: tuple[tuple[str, str], ...]
    weight: ResponseContrast | None
    equal: EqualNoise | None
    input: ResponseContrast | None
    between: Between | None
    gap: Floats
    log10_bound: Floats
    paired: bool

    @property
    def mean_gap(self) -> Estimate:
        """Mean of `gap`, with an interval from five pairs of one seed on."""
        return over_trainings(self.gap, seeds=self.paired)

    @property
    def mean_log10_bound(self) -> Estimate:
        """Mean of `log10_bound` likewise, shape (norm,)."""
        return over_trainings(self.log10_bound, seeds=self.paired)

    @property
    def ordered_alike(self) -> npt.NDArray[np.int64]:
        """Count the pairs where the larger bound goes with the larger gap, shape (norm,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.log10_bound * self.gap[:, None] > 0).sum(axis=0), np.int64)

    @property
    def ordered(self) -> npt.NDArray[np.int64]:
        """Count the pairs where both differ, shape (norm,)."""
        product = self.log10_bound * self.gap[:, None]
        return np.asarray((np.isfinite(product) & (product != 0)).sum(axis=0), np.int64)


@dataclass(frozen=True)
class Effect:
    """What was found of one group or two; of a residual and a plain one the residual is first.

    Attributes:
        groups: one or two.
        cushions: of the same groups in the same order, from the analysis of cushions.
        contrast: of two groups, else None.
        differences: of two groups of one architecture, layer by layer.
    """

    groups: tuple[GroupEffect, ...]
    cushions: Cushions
    contrast: Contrast | None
    differences: tuple[Difference, ...]

    @property
    def members(self) -> list[NetworkEffect]:
        """All networks, group by group."""
        return [member for group in self.groups for member in group.members]

    @property
    def images(self) -> int:
        """How many images the responses to noise of the weights are of."""
        return len(self.members[0].network.cushion)


def effect(inputs: Sequence[Input]) -> Effect:
    """Read all inputs and find how they answer noise, and whether their cushions tell it.

    Raises:
        InputError: see `check_inputs`, `read_networks`, and the analysis of cushions.
    """
    check_inputs(inputs)
    labels = unique([given.label for given in inputs])
    networks = read_networks(inputs, labels)
    cushions = cushion_effect(_residual_first(read_groups(inputs), networks))
    given = dict(zip(labels, inputs, strict=True))
    groups = tuple(
        _group(group.label, [_network(given[m.network.label], networks, m) for m in members])
        for group, members in zip(cushions.groups, cushions.members, strict=True)
    )
    contrast_of = _contrast(*groups) if len(groups) == 2 else None
    return Effect(groups, cushions, contrast_of, differences(groups))


def _residual_first(groups: tuple[Group, ...], networks: dict[str, Network]) -> tuple[Group, ...]:
    return tuple(sorted(groups, key=lambda group: not networks[group.networks[0].label].residual))


def _network(
    given: Input, networks: dict[str, Network], cushions: NetworkCushions
) -> NetworkEffect:
    network = networks[cushions.network.label]
    return NetworkEffect(network, cushions, prediction(network), read_parts(given, cushions))


def _group(label: str, members: Sequence[NetworkEffect]) -> GroupEffect:
    networks = [member.network for member in members]
    found = [member.prediction for member in members]
    bounds = [member.parts.bound for member in members]
    known = [one for one in bounds if one is not None]
    numbers = [np.log10(one.value) for one in known if one.exists]
    gaps = np.array([member.gap for member in members])
    return GroupEffect(
        label=label,
        members=tuple(members),
        weight=group_response(networks, of_weight),
        input=group_response(networks, of_input)
        if all(net.input is not None for net in networks)
        else None,
        over_layers={
            scope: {
                norm: over_networks([one.layers[scope][norm] for one in found]) for norm in NORMS
            }
            for scope in SCOPES
        },
        over_images=over_images(found),
        gap=over_trainings(gaps) if np.isfinite(gaps).all() else None,
        log10_bound=over_trainings(np.stack(numbers or [np.full(len(NORMS), np.nan)]))
        if len(known) == len(bounds)
        else None,
    )


def _contrast(first: GroupEffect, second: GroupEffect) -> Contrast:
    pairs, paired = _pairs(first.members, second.members)
    networks = [(one.network, two.network) for one, two in pairs]
    with np.errstate(invalid="ignore"):  # of two infinite bounds
        bounds = np.stack([_log10_bound(one) - _log10_bound(two) for one, two in pairs])
    alike = all(one.cushions.network.kinds == two.cushions.network.kinds for one, two in pairs)
    return Contrast(
        labels=tuple((one.label, two.label) for one, two in networks),
        weight=contrast(networks, paired, of_weight) if alike else None,
        equal=at_equal_noise(networks, paired=paired) if alike else None,
        input=contrast(networks, paired, of_input) if first.input and second.input else None,
        between=between(networks, paired) if alike else None,
        gap=np.array([one.gap - two.gap for one, two in pairs]),
        log10_bound=bounds,
        paired=paired,
    )


def _log10_bound(member: NetworkEffect) -> Floats:
    found = member.parts.bound
    return np.full(len(NORMS), np.nan) if found is None else np.log10(found.value)


def _pairs(
    first: Sequence[NetworkEffect], second: Sequence[NetworkEffect]
) -> tuple[list[tuple[NetworkEffect, NetworkEffect]], bool]:
    """Pair networks of one seed; without common seeds all with all."""
    by_seed = {m.network.seed: m for m in second if m.network.seed is not None}
    pairs = [(one, by_seed[one.network.seed]) for one in first if one.network.seed in by_seed]
    if pairs:
        return pairs, True
    return [(one, two) for one in first for two in second], False
