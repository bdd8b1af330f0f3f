"""How far the numbers can be trusted: what did not converge, is estimated, was checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.reading import Flags
from resprobe_analyses.stability.eigenvalues import abscissa_errors
from resprobe_analyses.stability.families import BRANCH
from resprobe_analyses.stability.records import Group, Network

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """What is known of the numbers of a group.

    Attributes:
        unconverged: by kind of number, how many did not converge and how many there are.
        estimated: how many Frobenius norms are estimates, and of how many.
        relative_stderr: their largest standard error over the value; NaN where all are exact.
        relative_error: largest difference between J·v and the derivative along v, over that.
        exponent_error: largest bound of the error of a Lyapunov exponent, NaN without any.
        unchecked: Jacobians without that check.
        without_condition: spectral abscissas of branches whose error lacks a condition number.
        missing: Jacobians without a finite norm, and how many there are.
        not_square: names of the transitions without eigenvalues and log norm.
        without_log_norm: names of the blocks that keep their shape and still have none.
    """

    unconverged: dict[str, tuple[int, int]]
    estimated: tuple[int, int]
    relative_stderr: float
    relative_error: float
    exponent_error: float
    unchecked: int
    without_condition: int
    missing: tuple[int, int]
    not_square: tuple[str, ...]
    without_log_norm: tuple[str, ...]


def not_square(net: Network) -> Flags:
    """Tell which transitions have a norm but no log norm on any image, shape (block,)."""
    return np.asarray(_without_log_norm(net) & net.layout.transition)


def quality(group: Group) -> Quality:
    """Count over the networks of a group what did not converge, is estimated or was checked."""
    nets, layout = group.networks, group.first.layout
    stderr = np.concatenate([net.norms.frobenius_norm_stderr.ravel() for net in nets])
    frobenius = np.concatenate([net.norms.frobenius_norm.ravel() for net in nets])
    errors = np.concatenate([net.norms.relative_error.ravel() for net in nets])
    known = np.isfinite(frobenius)
    estimated = known & ~(stderr == 0)
    share = np.full(stderr.shape, np.nan)
    np.divide(stderr, frobenius, out=share, where=estimated & (frobenius > 0))
    return Quality(
        unconverged=_unconverged(nets),
        estimated=(int(estimated.sum()), int(known.sum())),
        relative_stderr=_largest(share),
        relative_error=_largest(errors),
        exponent_error=max(
            (_largest(net.lyapunov.errors) for net in nets if net.lyapunov is not None),
            default=float("nan"),
        ),
        unchecked=int((known & ~np.isfinite(errors)).sum()),
        without_condition=sum(_without_condition(net) for net in nets),
        missing=(int((~known).sum()), known.size),
        not_square=_names(group.first, not_square(group.first)),
        without_log_norm=_names(group.first, _without_log_norm(group.first) & layout.within),
    )


def _without_log_norm(net: Network) -> Flags:
    known = np.isfinite(net.norms.log_norm).any(axis=(0, 2))
    return np.asarray(~known & np.isfinite(net.norms.spectral_norm).any(axis=(0, 2)))


def _names(net: Network, chosen: Flags) -> tuple[str, ...]:
    return tuple(name for name, told in zip(net.names, chosen, strict=True) if told)


def _unconverged(nets: Sequence[Network]) -> dict[str, tuple[int, int]]:
    counts: dict[str, list[tuple[int, int]]] = {}
    for net in nets:
        pairs = [
            ("spectral norms", net.norms.spectral_norm, net.norms.spectral_norm_converged),
            ("log norms", net.norms.log_norm, net.norms.log_norm_converged),
        ]
        one = net.spectrum
        if one is not None:
            pairs += [
                ("eigenvalues", one.eigenvalues.real, one.converged),
                ("spectral abscissas", one.spectral_abscissa, one.spectral_abscissa_converged),
                ("spectral radii", one.spectral_radius, one.spectral_radius_converged),
            ]
        for name, value, converged in pairs:
            known = np.isfinite(value)
            counts.setdefault(name, []).append((int((known & ~converged).sum()), int(known.sum())))
    return {
        name: (sum(bad for bad, _ in rows), sum(whole for _, whole in rows))
        for name, rows in counts.items()
    }


def _without_condition(net: Network) -> int:
    if net.spectrum is None:
        return 0
    _, told = abscissa_errors(net.spectrum)
    there = np.isfinite(net.spectrum.spectral_abscissa)
    return int((there & ~told)[..., BRANCH][:, net.identity].sum())


def _largest(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else float("nan")
