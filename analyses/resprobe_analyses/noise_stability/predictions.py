"""Whether cushions tell how a network answers noise: over layers, over images, between groups.

Noise of relative size ε in the weight of a linear layer alone changes its output by about
ε/(√n μ) of it, with μ the cushion in the norm in which ε is measured and n the number of elements
of its input: over layers of one input shape a larger cushion must go with a smaller change of that
layer's output. What is asked here is whether the logits follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL, Estimate
from resprobe_analyses.noise_stability.known import mean_of_known
from resprobe_analyses.noise_stability.networks import NORMS, Network
from resprobe_analyses.statistics import RankCorrelation

Floats = npt.NDArray[np.float64]

SEED = 0  # of random rankings
LOWEST = 0  # the level at which cushions are asked: where the response is nearest to linear
SCOPES = ("within stages", "all layers")
FEWEST_LAYERS = 5  # that a rank correlation over layers is told of
FEWEST_IMAGES = 4  # that a rank correlation over images takes


@dataclass(frozen=True)
class Prediction:
    """How the cushions of one network go with its response, in each norm; −1 is as expected.

    Attributes:
        layers: scope to norm to the rank correlation over layers between the median cushion and
            the response. "within stages" leaves out layers in no block and in those that change
            the shape.
        samples: rank correlation over images within each layer, shape (layer, norm).
        images: how many there are.
    """

    layers: dict[str, dict[str, RankCorrelation]]
    samples: Floats
    images: int

    @property
    def over_images(self) -> Floats:
        """Median of `samples` over layers, shape (norm,)."""
        return np.array([_median(self.samples[:, place]) for place in range(len(NORMS))])


@dataclass(frozen=True)
class Between:
    """How the ratio of cushions of two groups goes with the ratio of their responses, by layer.

    Attributes:
        cushion: ln of the first group's median cushion over the second's, mean over pairs,
            shape (layer, norm).
        response: the same of the response at the lowest level.
        agree: layers where the larger cushion goes with the smaller response, shape (norm,).
        known: layers where both are known and neither is 0, shape (norm,).
        pairs: rank correlation over all layers between the two ratios, norm by pair,
            shape (pair, norm).
        correlation: norm to their mean, over seeds from five on, else of the mean ratios.
    """

    cushion: Floats
    response: Floats
    agree: npt.NDArray[np.int64]
    known: npt.NDArray[np.int64]
    pairs: Floats
    correlation: dict[str, Estimate]


def log_cushion(network: Network) -> Floats:
    """Give ln of the median cushion over images, shape (layer, norm)."""
    medians = np.apply_along_axis(_median, 0, network.cushion)
    return np.log(np.where(medians > 0, medians, np.nan))


def log_response(network: Network) -> Floats:
    """Give the mean of ln change over images at every level, shape (layer, norm, level)."""
    return mean_of_known(network.weight.log_change, axis=0)


def prediction(network: Network) -> Prediction:
    """Correlate the cushions of one network with its response at the lowest level."""
    cushion, response = log_cushion(network), log_response(network)[..., LOWEST]
    layers: dict[str, dict[str, RankCorrelation]] = {scope: {} for scope in SCOPES}
    for place, norm in enumerate(NORMS):
        known = np.isfinite(cushion[:, place]) & np.isfinite(response[:, place])
        for scope in SCOPES:
            kept = known & network.within if scope == SCOPES[0] else known
            strata = network.stage[kept] if scope == SCOPES[0] else np.zeros(kept.sum())
            layers[scope][norm] = statistics.rank_correlation(
                cushion[kept, place],
                response[kept, place],
                strata,
                generator=np.random.default_rng(SEED),
                level=LEVEL,
            )
    return Prediction(layers, _over_samples(network), len(network.cushion))


def _over_samples(network: Network) -> Floats:
    found = np.full((len(network.layers), len(NORMS)), np.nan)
    for layer, norm in np.ndindex(*found.shape):
        found[layer, norm] = _spearman(
            network.cushion[:, layer, norm], network.weight.log_change[:, layer, norm, LOWEST]
        )
    return found


def _spearman(x: Floats, y: Floats) -> float:
    """Correlate ranks of what is known of both; NaN where that is little or all the same."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < FEWEST_IMAGES:
        return float("nan")
    one = np.zeros(known.sum())
    a, b = (statistics.within_strata_ranks(values[known], one) for values in (x, y))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b / size) if size > 0 else float("nan")


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def over_networks(found: Sequence[RankCorrelation]) -> Estimate:
    """Average correlations over networks on Fisher's scale.

    Returns:
        Over seeds (Student t of Fisher's z) from five on; of a single network its interval over
        layers; else without an interval.
    """
    known = [one for one in found if np.isfinite(one.value)]
    if len(known) == 1 and len(found) == 1:
        only = known[0]
        return _estimate(only.value, only.low, only.high, "layers", 1)
    return _fisher([one.value for one in known], [one.items for one in known])


def _fisher(correlations: Sequence[float], items: Sequence[int]) -> Estimate:
    if not correlations:
        return _estimate(np.nan, np.nan, np.nan, "seeds", 0)
    z = np.array(
        [float(statistics.fisher_z(r, n)) for r, n in zip(correlations, items, strict=True)]
    )
    over = statistics.student_interval(z, LEVEL)
    low, high = (np.nan, np.nan) if over is None else np.tanh([float(over[1]), float(over[2])])
    # z of ±1 is cut; where all agree no mean is needed
    value = correlations[0] if np.ptp(correlations) == 0 else np.tanh(z.mean())
    return _estimate(value, low, high, "seeds", len(z))


def _estimate(value: float, low: float, high: float, over: str, networks: int) -> Estimate:
    return Estimate(np.asarray(value), np.asarray(low), np.asarray(high), over, networks)


def over_images(found: Sequence[Prediction]) -> dict[str, Estimate]:
    """Average the median correlations over images of several networks, norm by norm.

    Returns:
        Over seeds (Student t of Fisher's z) from five on, else without an interval.
    """
    medians = np.stack([one.over_images for one in found])
    known = np.isfinite(medians).all(axis=1)
    return {
        norm: _fisher(medians[known, place].tolist(), [found[0].images] * int(known.sum()))
        for place, norm in enumerate(NORMS)
    }


def between(pairs: Sequence[tuple[Network, Network]], paired: bool) -> Between:
    """Ask whether the group with the larger cushion has the smaller response, layer by layer.

    Args:
        pairs: of one network of each group, with corresponding layers.
        paired: whether the two of each pair share a seed.
    """
    cushions = np.stack([log_cushion(one) - log_cushion(two) for one, two in pairs])
    responses = np.stack(
        [(log_response(one) - log_response(two))[..., LOWEST] for one, two in pairs]
    )
    cushion, response = (mean_of_known(values, axis=0) for values in (cushions, responses))
    product = cushion * response
    known = np.isfinite(product) & (product != 0)
    correlations = np.array(
        [
            [_spearman(c[:, place], r[:, place]) for place in range(len(NORMS))]
            for c, r in zip(cushions, responses, strict=True)
        ]
    )
    return Between(
        cushion=cushion,
        response=response,
        agree=(known & (product < 0)).sum(axis=0),
        known=known.sum(axis=0),
        pairs=correlations,
        correlation={
            norm: _between_estimate(
                correlations[:, place], cushion[:, place], response[:, place], paired
            )
            for place, norm in enumerate(NORMS)
        },
    )


def _between_estimate(
    correlations: Floats, cushion: Floats, response: Floats, paired: bool
) -> Estimate:
    known = correlations[np.isfinite(correlations)]
    items = int((np.isfinite(cushion) & np.isfinite(response)).sum())
    if paired and len(known) >= statistics.MINIMUM_SEEDS:
        return _fisher(known.tolist(), [items] * len(known))
    value = _spearman(cushion, response)
    low, high = statistics.correlation_interval(value, items, 1, LEVEL)
    return _estimate(value, low, high, "layers", len(correlations))
