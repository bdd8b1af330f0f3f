"""Norms block by block, averaged over the seeds of one depth and one step size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.estimates import LEVEL, Estimate, ratio_over_seeds
from resprobe_analyses.norm_vs_depth.networks import Network, Norms
from resprobe_analyses.reading import Layout
from resprobe_analyses.statistics import mean_interval, student_interval

Floats = npt.NDArray[np.float64]

TRAINED = "trained"
EXCLUDED = "trained, not compared"
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Curve:
    """Norms by block of the networks of one depth and one step size.

    Attributes:
        h: the step size; None where it differs between blocks.
        moment: what tells it from curves of its depth and step size, "" where nothing does.
        layout: of the blocks.
        state: "trained"; where no such network can be compared with others, "trained, not
            compared"; where none was measured, "untrained".
        labels: of the networks.
        branch: ‖G‖ by block.
        input: ‖x‖ by block.
        first_excess: mean ‖G‖ of the stage-first blocks by that of the later ones, geometric mean
            over networks; None without later blocks.
    """

    h: float | None
    moment: str
    layout: Layout
    state: str
    labels: tuple[str, ...]
    branch: Estimate
    input: Estimate
    first_excess: Estimate | None

    @property
    def blocks(self) -> int:
        """Their number d."""
        return int(self.layout.stage.size)

    @property
    def time(self) -> Floats | None:
        """Give t = j·h at the input of block j = 0, 1, …, shape (block,)."""
        return None if self.h is None else np.asarray(self.h * np.arange(self.blocks))

    @property
    def force(self) -> Estimate | None:
        """Give ‖F‖ = ‖G‖/h by block."""
        if self.h is None:
            return None
        value, low, high = (
            bound / self.h for bound in (self.branch.value, self.branch.low, self.branch.high)
        )
        return Estimate(value, low, high, self.branch.over, self.branch.networks)


def curves_of(networks: Sequence[Network]) -> tuple[Curve, ...]:
    """Give one curve for each step size, depth and moment: large steps first, then shallow ones."""
    kinds = sorted(kinds_of(networks), key=lambda kind: _size_and_depth(kind[1][0]))
    return tuple(_curve(state, members) for state, members in kinds)


def kinds_of(networks: Sequence[Network]) -> list[tuple[str, list[Network]]]:
    """Give the networks of each step size, depth and moment that are averaged, and their state.

    They come in order of appearance.
    """
    by_kind: dict[tuple[tuple[float, int], str], list[Network]] = {}
    for net in networks:
        by_kind.setdefault((_size_and_depth(net), net.moment), []).append(net)
    return [_members(members) for members in by_kind.values()]


def _size_and_depth(net: Network) -> tuple[float, int]:
    return (0.0 if net.h is None else -net.h, net.blocks)


def _curve(state: str, members: Sequence[Network]) -> Curve:
    norms = [found for net in members if (found := norms_of(net, state)) is not None]
    first = members[0]
    return Curve(
        h=first.h,
        moment=first.moment,
        layout=first.layout,
        state=state,
        labels=tuple(net.label for net in members),
        branch=_by_block([one.branch for one in norms]),
        input=_by_block([one.input for one in norms]),
        first_excess=_first_excess(first, norms),
    )


def _members(networks: Sequence[Network]) -> tuple[str, list[Network]]:
    compared = [net for net in networks if net.excluded is None]
    if compared:
        return TRAINED, compared
    trained = [net for net in networks if net.trained is not None]
    return (EXCLUDED, trained) if trained else (UNTRAINED, list(networks))


def norms_of(net: Network, state: str) -> Norms | None:
    """Give the norms that a network has in a state."""
    return net.untrained if state == UNTRAINED else net.trained


def _by_block(measured: Sequence[Floats]) -> Estimate:
    """Average over networks, with an interval over seeds or over images.

    Args:
        measured: of each network, shape (image, block).
    """
    norms = np.stack(measured)
    by_seed = student_interval(norms.mean(axis=1), LEVEL)
    if by_seed is not None:
        return Estimate(*by_seed, over="seeds", networks=norms.shape[0])
    over_images = mean_interval(norms.mean(axis=0), LEVEL)
    return Estimate(*over_images, over="images", networks=norms.shape[0])


def _first_excess(first: Network, norms: Sequence[Norms]) -> Estimate | None:
    later = first.later
    if not later.any() or not all(one.usable(later) and one.usable(~later) for one in norms):
        return None
    return ratio_over_seeds(np.log([one.gamma(~later) / one.gamma(later) for one in norms]))
