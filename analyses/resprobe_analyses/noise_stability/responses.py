"""How strongly networks answer noise, how that grows with its level, and how two groups differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.estimates import Estimate
from resprobe_analyses.noise_stability.known import (
    known_networks,
    mean_of_known,
    pooled,
    pooled_changes,
)
from resprobe_analyses.noise_stability.networks import Network, Response
from resprobe_analyses.statistics import lines

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Of = Callable[[Network], Response]


@dataclass(frozen=True)
class GroupResponse:
    """The response of the networks of one group; items are layers and norms, or nothing.

    Attributes:
        log_change: mean of ln of the relative change of the logits, shape (…, level).
        counts: networks that have that number, likewise.
        error_added: mean error that the noise adds, likewise.
        slope: of ln change on ln level, mean over layers, over all levels, shape (norm,) or ();
            1 is a response that is linear in the noise. None with a single level.
        first_slope: the same between the two lowest levels.
    """

    log_change: Estimate
    counts: Integers
    error_added: Estimate
    slope: Estimate | None
    first_slope: Estimate | None


@dataclass(frozen=True)
class ResponseContrast:
    """The first group beside the second; a log ratio above 0 is a stronger response of the first.

    Attributes:
        pairs: log ratio of each pair of networks, shape (pair, …, level).
        log_ratio: mean over pairs, shape (…, level).
        over_layers: likewise, averaged over layers first, shape (norm, level); of the input's
            noise the same as `log_ratio`.
        error_added: of the first group minus of the second, likewise averaged over layers.
        paired: whether each pair has one seed.
    """

    pairs: Floats
    log_ratio: Estimate
    over_layers: Estimate
    error_added: Estimate
    paired: bool

    @property
    def counts(self) -> Integers:
        """How many pairs have each number of `log_ratio`, of its shape."""
        return np.asarray(np.isfinite(self.pairs).sum(axis=0), np.int64)


def of_weight(network: Network) -> Response:
    """Give the response to noise of the weights."""
    return network.weight


def of_input(network: Network) -> Response:
    """Give the response to noise of the input, of a network that has one."""
    assert network.input is not None
    return network.input


def group_response(networks: Sequence[Network], of: Of) -> GroupResponse:
    """Pool the response of the networks of one group."""
    changes = np.stack([of(net).log_change for net in networks])
    level = of(networks[0]).level
    averaged = _over_layers(changes)
    return GroupResponse(
        log_change=pooled(changes),
        counts=known_networks(changes),
        error_added=pooled_changes(
            np.stack([of(net).error_added for net in networks]), of(networks[0]).trials
        ),
        slope=_slope(averaged, level),
        first_slope=_slope(averaged[..., :2], level[:2]),
    )


def contrast(pairs: Sequence[tuple[Network, Network]], paired: bool, of: Of) -> ResponseContrast:
    """Compare networks pair by pair, on the same images.

    Args:
        pairs: of one network of each group.
        paired: whether the two of each pair share a seed.
        of: which response.
    """
    ratios = _differences(pairs, of, "log_change")
    added = _differences(pairs, of, "error_added")
    return ResponseContrast(
        pairs=mean_of_known(ratios, axis=1),
        log_ratio=pooled(ratios, seeds=paired),
        over_layers=pooled(_over_layers(ratios), seeds=paired),
        error_added=pooled_changes(
            _over_layers(added),
            of(pairs[0][0]).trials * (added.shape[2] if added.ndim == 5 else 1),
            seeds=paired,
        ),
        paired=paired,
    )


def _differences(pairs: Sequence[tuple[Network, Network]], of: Of, name: str) -> Floats:
    return np.stack([getattr(of(one), name) - getattr(of(two), name) for one, two in pairs])


def _over_layers(values: Floats) -> Floats:
    """Average (network, image, layer, norm, level) over the layers; others stay as they are."""
    return mean_of_known(values, axis=2) if values.ndim == 5 else values


def slopes(values: Floats, level: Floats) -> Floats | None:
    """Give the slopes of ln change on ln level.

    Args:
        values: ln change, shape (…, level).
        level: shape (level,).

    Returns:
        Shape (…), NaN where the change is not known at every level; None with a single level or
        one of 0.
    """
    if len(level) < 2 or not (level > 0).all():
        return None
    rows = values.reshape(-1, len(level))
    known = np.isfinite(rows).all(axis=1)
    found = np.full(len(rows), np.nan)
    found[known] = lines(np.log(level), rows[known])[0]
    return found.reshape(values.shape[:-1])


def _slope(values: Floats, level: Floats) -> Estimate | None:
    found = slopes(values, level)
    return None if found is None else pooled(found)
