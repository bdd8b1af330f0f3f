"""Power laws y = c·x^p, one for each seed, and ratios averaged over seeds.

Each seed is one line on logarithmic axes, so what differs between seeds alone (a seed whose
values are all twice as large) leaves the exponents as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def power_laws(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Fit log y = log c + p·log x by least squares, for each seed by itself.

    Args:
        x: shape (point,), positive, at least two different values.
        y: shape (seed, point), positive.

    Returns:
        Exponents p and constants c, each of shape (seed,).

    Raises:
        ValueError: fewer than two different x, or a number that is not positive and finite.
    """
    places, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    for name, numbers in (("x", places), ("y", values)):
        if not (np.isfinite(numbers).all() and (numbers > 0).all()):
            raise ValueError(f"{name} must be positive and finite")
    log_x, log_y = np.log(places), np.log(values)
    centred = log_x - log_x.mean()
    if not np.ptp(places) > 0:
        raise ValueError("a power law needs two different x")
    exponents = log_y @ centred / (centred @ centred)
    constants = np.exp(log_y.mean(axis=1) - exponents * log_x.mean())
    return np.asarray(exponents), np.asarray(constants)
