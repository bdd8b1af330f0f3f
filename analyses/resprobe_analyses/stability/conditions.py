"""Conditions of stability, decided image by image and block by block within the certified error.

`eq5` is that of Chang et al. 2018 (RA), Eq. 5: no eigenvalue of the branch's Jacobian has a
positive real part. `euler` is what the block x + G, one step of forward Euler, needs for the same
with one fixed Jacobian: |1 + λ| ≤ 1. `contraction` is that the log norm of the branch's Jacobian
is not positive, which no product of different Jacobians undoes in continuous time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses import statistics
from resprobe_analyses.estimates import LEVEL, Estimate
from resprobe_analyses.reading import Flags, Integers
from resprobe_analyses.stability.eigenvalues import abscissa_errors, eigenvalue_errors
from resprobe_analyses.stability.families import BRANCH
from resprobe_analyses.stability.proportion import exact_interval
from resprobe_analyses.stability.records import Group, Network

Floats = npt.NDArray[np.float64]
Decisions = npt.NDArray[np.int8]

HOLDS, VIOLATED, UNDECIDED, UNTESTED = 1, 0, -1, -2

EQ5, EULER, CONTRACTION = "eq5", "euler", "contraction"
CONDITIONS = {
    EQ5: "every Re λ of the branch at most 0",
    EULER: "every |1 + λ| of the branch at most 1",
    CONTRACTION: "log norm of the branch at most 0",
}


@dataclass(frozen=True)
class Tally:
    """On how many images a condition holds in each block; all of shape (block,).

    Attributes:
        holds: images.
        violated: images.
        undecided: images on which the error covers the limit, or nothing converged.
        low: lower bound of the share on which it holds, undecided ones counted as not.
        high: upper bound, undecided ones counted as holding.
    """

    holds: Integers
    violated: Integers
    undecided: Integers
    low: Floats
    high: Floats

    @property
    def tested(self) -> Integers:
        """Images with a Jacobian to test, shape (block,)."""
        return self.holds + self.violated + self.undecided

    @property
    def share(self) -> Floats:
        """Share of images on which it certainly holds, shape (block,); NaN without any."""
        share = np.full(self.holds.shape, np.nan)
        np.divide(self.holds, self.tested, out=share, where=self.tested > 0)
        return share


def decide(value: Floats, error: Floats, converged: Flags, limit: float = 0.0) -> Decisions:
    """Decide whether a value known within an error is at most a limit.

    A value may only be too small: a solver that stopped early, or missed an eigenvalue, found less
    than the maximum. So what is above the limit by more than its error violates the condition
    even where the solver did not converge, but to hold takes convergence.

    Args:
        value: any shape; NaN is untested.
        error: same shape; NaN or infinite leaves it undecided.
        converged: same shape.
        limit: the largest allowed value.

    Returns:
        `HOLDS`, `VIOLATED`, `UNDECIDED` or `UNTESTED`, same shape.
    """
    bound = np.where(np.isfinite(error), error, np.inf)
    found = np.full(np.shape(value), UNDECIDED, dtype=np.int8)
    found[converged & (value + bound <= limit)] = HOLDS
    found[value - bound > limit] = VIOLATED
    found[~np.isfinite(value)] = UNTESTED
    return found


def decisions(net: Network) -> dict[str, Decisions]:
    """Decide all conditions that can be tested, each of shape (image, block).

    Blocks whose skip is no identity are untested: neither x + G nor Eq. 5 is about them. Those of
    eigenvalues are there where eigenvalues were collected.
    """
    found = {}
    spectrum = net.spectrum
    if spectrum is not None:
        error, _ = abscissa_errors(spectrum)
        found[EQ5] = decide(
            spectrum.spectral_abscissa[..., BRANCH],
            error[..., BRANCH],
            spectrum.spectral_abscissa_converged[..., BRANCH],
        )
        found[EULER] = _euler(
            spectrum.eigenvalues[..., BRANCH, :],
            eigenvalue_errors(spectrum)[..., BRANCH, :],
            spectrum.converged[..., BRANCH, :],
        )
    norms = net.norms
    found[CONTRACTION] = decide(
        norms.log_norm[..., BRANCH],
        # of a symmetric matrix the residual alone bounds the error
        (norms.log_norm_residual * norms.spectral_norm)[..., BRANCH],
        norms.log_norm_converged[..., BRANCH],
    )
    for decided in found.values():
        decided[:, ~net.identity] = UNTESTED
    return found


def tallies(net: Network) -> dict[str, Tally]:
    """Count over images on how many each condition holds, by name of the condition."""
    return {name: _tally(decided) for name, decided in decisions(net).items()}


def whole_share(group: Group, name: str) -> Estimate | None:
    """Give the share of images by block on which a condition holds, with its interval.

    Returns:
        Of shape (block,): with the exact interval over images for one network, with Student's t
        over seeds from five on, else without bounds. None where the condition was not tested in
        every network.
    """
    found = [tallies(net).get(name) for net in group.networks]
    known = [tally for tally in found if tally is not None]
    if len(known) < len(found) or not any(tally.tested.any() for tally in known):
        return None
    if len(known) == 1:
        return Estimate(known[0].share, known[0].low, known[0].high, over="images", networks=1)
    return _over_seeds(np.array([tally.share for tally in known]))


def _over_seeds(shares: Floats) -> Estimate:
    """Average shares over networks, shape (network, …), with an interval from five seeds on."""
    by_seed = statistics.student_interval(shares, LEVEL)
    if by_seed is not None:
        value, low, high = by_seed
        cut = np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)
        return Estimate(value, *cut, over="seeds", networks=len(shares))
    value = np.asarray(shares.mean(axis=0))
    nothing = np.full(value.shape, np.nan)
    return Estimate(value, nothing, nothing, "seeds", len(shares))


def jacobian_shares(group: Group, name: str) -> list[float]:
    """Give the share of each network's Jacobians, over images and blocks, on which it holds.

    Returns:
        Empty where some network has no Jacobian to test.
    """
    found = [tallies(net).get(name) for net in group.networks]
    known = [tally for tally in found if tally is not None and tally.tested.any()]
    if len(known) < len(found):
        return []
    return [float(tally.holds.sum() / tally.tested.sum()) for tally in known]


def jacobian_share(group: Group, name: str) -> Estimate | None:
    """Average the share of Jacobians over networks, with an interval over seeds from five on.

    Images and blocks of one network are not independent draws, so there is none over them.

    Returns:
        None where some network has no Jacobian to test.
    """
    shares = jacobian_shares(group, name)
    if not shares:
        return None
    return _over_seeds(np.array(shares))


def _euler(eigenvalues: npt.NDArray[np.complex128], errors: Floats, converged: Flags) -> Decisions:
    """Decide |1 + λ| ≤ 1 from the computed eigenvalues, shape (image, block)."""
    size = np.abs(1 + eigenvalues)
    each = decide(size, np.where(converged, errors, np.inf), converged, limit=1.0)
    found = np.full(each.shape[:-1], UNDECIDED, dtype=np.int8)
    known = each != UNTESTED
    found[((each == HOLDS) | ~known).all(axis=-1)] = HOLDS
    found[(each == VIOLATED).any(axis=-1)] = VIOLATED
    found[~known.any(axis=-1)] = UNTESTED
    return found


def _tally(decided: Decisions) -> Tally:
    holds, violated, undecided = (
        np.asarray((decided == state).sum(axis=0), dtype=np.int64)
        for state in (HOLDS, VIOLATED, UNDECIDED)
    )
    low, high = exact_interval(holds, holds + undecided, holds + violated + undecided, LEVEL)
    return Tally(holds, violated, undecided, low, high)
