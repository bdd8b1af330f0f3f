"""One line for each seed: slopes on plain or on logarithmic axes.

Points of one seed share its initialisation and are not independent of each other; slopes of
different seeds are. So each seed gives one number, and Student's t is taken over these. What
differs between seeds alone (a seed whose values are all twice as large) leaves the exponents as
they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def lines(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Fit y = a + b·x by least squares, for each seed by itself.

    Args:
        x: shape (point,), finite, at least two different values.
        y: shape (seed, point), finite.

    Returns:
        Slopes b and intercepts a, each of shape (seed,).

    Raises:
        ValueError: fewer than two different x, or a number that is not finite.
    """
    places, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    for name, numbers in (("x", places), ("y", values)):
        if not np.isfinite(numbers).all():
            raise ValueError(f"{name} must be finite")
    if not np.ptp(places) > 0:
        raise ValueError("a line needs two different x")
    centred = places - places.mean()
    slopes = np.asarray(values @ centred / (centred @ centred))
    return slopes, np.asarray(values.mean(axis=1) - slopes * places.mean())


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
    if not np.ptp(places) > 0:
        raise ValueError("a power law needs two different x")
    exponents, logarithms = lines(np.log(places), np.log(values))
    return exponents, np.exp(logarithms)
