"""How two networks answer noise of one absolute size ‖ΔW‖_F in the weight of a layer.

Noise was measured at levels relative to two norms of each network, so in general at no size that
two networks share. But the direction of ΔW is the same for both norms and all levels, so all
points of one network lie on one curve, its response as a function of ‖ΔW‖_F. The curve is
interpolated linearly in ln change and ln ‖ΔW‖_F, and never beyond what was measured. Whether two
networks were given noise of the same directions is not asked: it makes their ratio less noisy, not
another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.estimates import Estimate
from resprobe_analyses.noise_stability.known import mean_of_known, pooled
from resprobe_analyses.noise_stability.networks import Network

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EqualNoise:
    """The first group beside the second under noise of equal ‖ΔW‖_F, layer by layer.

    Attributes:
        log_size: ln ‖ΔW‖_F at which the networks of a pair are compared, shape (pair, layer); NaN
            where their ranges do not overlap.
        pairs: log ratio of the changes of the logits, shape (pair, layer); NaN likewise.
        log_ratio: mean over the pairs that have a number, shape (layer,).
        over_layers: likewise, averaged first over the layers that have a number, a scalar.
    """

    log_size: Floats
    pairs: Floats
    log_ratio: Estimate
    over_layers: Estimate

    @property
    def counts(self) -> Integers:
        """How many pairs have a number, shape (layer,)."""
        return np.asarray(np.isfinite(self.pairs).sum(axis=0), np.int64)

    @property
    def compared(self) -> int:
        """How many layers have a number in some pair."""
        return int((self.counts > 0).sum())


def at_equal_noise(pairs: Sequence[tuple[Network, Network]], *, paired: bool) -> EqualNoise:
    """Compare networks pair by pair, on the same images, each layer at one size of the noise.

    Args:
        pairs: of one network of each group, with layers that correspond.
        paired: whether the two of each pair share a seed.
    """
    sizes, ratios = [], []
    for one, two in pairs:
        size = common_size(log_sizes(one), log_sizes(two))
        sizes.append(size)
        ratios.append(response_at(one, size) - response_at(two, size))
    by_image = np.stack(ratios)
    return EqualNoise(
        log_size=np.stack(sizes),
        pairs=mean_of_known(by_image, axis=1),
        log_ratio=pooled(by_image, seeds=paired),
        over_layers=pooled(mean_of_known(by_image, axis=2), seeds=paired),
    )


def log_sizes(network: Network) -> Floats:
    """Give ln ‖ΔW‖_F of every norm and level, shape (layer, point); -inf where it is 0."""
    sizes = network.weight_norm[:, :, None] * network.weight.level
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(sizes).reshape(len(sizes), -1))


def common_size(one: Floats, two: Floats) -> Floats:
    """Give the middle of the range that two networks share, layer by layer.

    Args:
        one: ln of the sizes of the noise in one network, shape (layer, point).
        two: in the other, likewise.

    Returns:
        Shape (layer,), NaN where the ranges do not overlap. It is the middle of the logarithms, so
        the geometric one of the sizes.
    """
    least = np.maximum(*(np.where(np.isfinite(x), x, np.inf).min(axis=1) for x in (one, two)))
    most = np.minimum(*(np.where(np.isfinite(x), x, -np.inf).max(axis=1) for x in (one, two)))
    overlap = least <= most
    return np.where(overlap, (np.where(overlap, least, 0) + np.where(overlap, most, 0)) / 2, np.nan)


def response_at(network: Network, size: Floats) -> Floats:
    """Give ln of the change of the logits under noise of given sizes.

    Args:
        network: whose points are interpolated.
        size: ln ‖ΔW‖_F, shape (layer,).

    Returns:
        Shape (image, layer), NaN outside the measured range.
    """
    points = log_sizes(network)
    changes = network.weight.log_change.reshape(*network.weight.log_change.shape[:2], -1)
    return np.stack(
        [interpolated(points[i], changes[:, i], float(size[i])) for i in range(len(size))], axis=1
    )


def interpolated(points: Floats, values: Floats, target: float) -> Floats:
    """Interpolate linearly between the nearest points on either side.

    Args:
        points: in any order, shape (point,); those that are not finite are left out, values at
            equal ones are averaged.
        values: at the points, shape (image, point).
        target: where.

    Returns:
        Shape (image,), NaN where the target lies outside the points or a value beside it is NaN.
    """
    known = np.isfinite(points)
    places, which = np.unique(points[known], return_inverse=True)
    if not places.size or not places[0] <= target <= places[-1]:
        return np.full(len(values), np.nan)
    left = int(np.searchsorted(places, target, side="right")) - 1
    right = min(left + 1, places.size - 1)
    low, high = (mean_of_known(values[:, known][:, which == i], axis=1) for i in (left, right))
    gap = places[right] - places[left]
    share = (target - places[left]) / gap if gap > 0 else 0.0
    return (1 - share) * low + share * high
