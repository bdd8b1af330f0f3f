"""Distributions of cushions by layer, and how two groups differ: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.cushions.differences import differences
from resprobe_analyses.cushions.networks import CUSHIONS, MODES, Group, Interlayer, Network
from resprobe_analyses.difference import Difference
from resprobe_analyses.estimates import LEVEL, Estimate

Floats = npt.NDArray[np.float64]

NORMS = tuple(CUSHIONS)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95)
MEDIAN = QUANTILES.index(0.5)
# Below this a cushion in training mode is BatchNorm's blindness to scale: others are of order 1.
BLIND = 1e-3


@dataclass(frozen=True)
class NetworkEffect:
    """Cushions of one network over images.

    Attributes:
        network: what was recorded.
        kept, removed: quantiles of the layer cushions, shape (layer, quantile); the first is the
            minimum. NaN where a layer has no cushion.
        interlayer: mode to quantiles of the interlayer cushions, shape (block, length, quantile);
            empty where they were not collected.
        relative_error: largest standard error of an interlayer cushion beside it, NaN without any.
    """

    network: Network
    kept: Floats
    removed: Floats
    interlayer: dict[str, Floats]
    relative_error: float

    def medians(self, norm: str) -> Floats:
        """Give the median cushion of each layer for one of `NORMS`, shape (layer,)."""
        return np.asarray((self.kept if norm == "kept" else self.removed)[:, MEDIAN])

    def by_weight(self) -> Floats:
        """Give the medians with the norm of the weight in the place of ‖A‖_F, shape (layer,)."""
        return np.asarray(self.medians("kept") * self.network.by_weight)


@dataclass(frozen=True)
class Comparison:
    """Cliff's delta of the first group over the second, item by item.

    Attributes:
        pairs: δ of each pair of networks, shape (pair, item).
        mean: over the pairs, with an interval over seeds where five pairs share their seeds;
            bounds NaN otherwise, and where these agree exactly.
        paired: whether each pair has one seed.
    """

    pairs: Floats
    mean: Estimate
    paired: bool

    @property
    def signs(self) -> npt.NDArray[np.int64]:
        """Where the first group lies above (1) or below (-1), 0 where that is not told.

        With an interval: where it leaves out 0; else where all pairs agree.
        """
        above, below = (self.pairs > 0).all(axis=0), (self.pairs < 0).all(axis=0)
        told = np.isfinite(self.mean.low)
        above = np.where(told, self.mean.low > 0, above)
        below = np.where(told, self.mean.high < 0, below)
        return np.asarray(above.astype(np.int64) - below)


@dataclass(frozen=True)
class Effect:
    """The cushions of one group, or of two side by side.

    Attributes:
        groups: one or two.
        members: effects of the networks, group by group.
        layers: norm to the comparison by layer; empty with one group, or where the layers of the
            two do not correspond.
        spans: mode to the comparison by single block; likewise.
        differences: how far apart two groups of one architecture are, by layer and by block.
    """

    groups: tuple[Group, ...]
    members: tuple[tuple[NetworkEffect, ...], ...]
    layers: dict[str, Comparison]
    spans: dict[str, Comparison]
    differences: tuple[Difference, ...]

    @property
    def all_members(self) -> list[NetworkEffect]:
        """Effects of all networks."""
        return [member for members in self.members for member in members]

    @property
    def images(self) -> int:
        """How many images the layer cushions are of."""
        return int(self.groups[0].networks[0].classes.size)


def effect(groups: tuple[Group, ...]) -> Effect:
    """Give the cushions of one group or two."""
    members = tuple(tuple(map(network_effect, group.networks)) for group in groups)
    layers: dict[str, Comparison] = {}
    spans: dict[str, Comparison] = {}
    if len(groups) == 2:
        first, second = groups
        if first.networks[0].kinds == second.networks[0].kinds:
            layers = {norm: _compared(first, second, _of_norm(norm)) for norm in NORMS}
        if _same_blocks(first, second):
            found = {mode: _compared(first, second, _of_mode(mode)) for mode in MODES}
            spans = {m: one for m, one in found.items() if np.isfinite(one.pairs).any()}
    return Effect(groups, members, layers, spans, differences(groups))


def network_effect(network: Network) -> NetworkEffect:
    """Give the quantiles of the cushions of one network."""
    inter = network.interlayer
    return NetworkEffect(
        network=network,
        kept=quantiles(network.kept),
        removed=quantiles(network.removed),
        interlayer={} if inter is None else {m: quantiles(inter.values[m]) for m in MODES},
        relative_error=float("nan") if inter is None else _relative_error(inter),
    )


def quantiles(values: Floats) -> Floats:
    """Give `QUANTILES` over images of what is finite, shape (…, quantile) for (image, …)."""
    found = np.full((*values.shape[1:], len(QUANTILES)), np.nan)
    for place in np.ndindex(values.shape[1:]):
        own = values[(slice(None), *place)]
        own = own[np.isfinite(own)]
        if own.size:
            found[place] = np.quantile(own, QUANTILES)
    return found


def _relative_error(inter: Interlayer) -> float:
    """Give the largest relative standard error of a cushion in evaluation mode."""
    value, error = inter.values["eval"], inter.stderr["eval"]
    known = np.isfinite(value) & (value > 0)
    return float((error[known] / value[known]).max()) if known.any() else float("nan")


def _of_norm(norm: str) -> Callable[[Network], Floats]:
    return lambda net: net.kept if norm == "kept" else net.removed


def _of_mode(mode: str) -> Callable[[Network], Floats]:
    def single_blocks(net: Network) -> Floats:
        assert net.interlayer is not None
        return np.asarray(net.interlayer.values[mode][:, :, 0])

    return single_blocks


def _same_blocks(first: Group, second: Group) -> bool:
    """Whether both were measured between blocks, in stages of equal length."""
    inters = [net.interlayer for group in (first, second) for net in group.networks]
    known = [inter for inter in inters if inter is not None]
    return len(known) == len(inters) and all(
        np.array_equal(inter.stage, known[0].stage) for inter in known
    )


def _compared(first: Group, second: Group, of: Callable[[Network], Floats]) -> Comparison:
    """Compare networks of one seed with each other; without common seeds all with all."""
    by_seed = [
        {net.seed: net for net in group.networks if net.seed is not None}
        for group in (first, second)
    ]
    common = sorted(set(by_seed[0]) & set(by_seed[1]))
    pairs: Sequence[tuple[Network, Network]] = [(by_seed[0][s], by_seed[1][s]) for s in common]
    paired = bool(pairs)
    if not pairs:
        pairs = [(a, b) for a in first.networks for b in second.networks]
    deltas = np.array([_deltas(of(a), of(b)) for a, b in pairs])
    value = deltas.mean(axis=0)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    over = statistics.student_interval(deltas, LEVEL) if paired else None
    if over is not None:
        _, low, high = over
        low, high = np.maximum(low, -1), np.minimum(high, 1)
    return Comparison(deltas, Estimate(value, low, high, "seeds", len(pairs)), paired)


def _deltas(first: Floats, second: Floats) -> Floats:
    items = first.shape[1]
    return np.array([statistics.cliffs_delta(first[:, i], second[:, i]) for i in range(items)])
