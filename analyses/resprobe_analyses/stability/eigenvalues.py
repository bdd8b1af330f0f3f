"""How far computed eigenvalues may be from true ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from resprobe_analyses.reading import Flags
from resprobe_analyses.stability.records import Spectrum

Floats = npt.NDArray[np.float64]


def eigenvalue_errors(spectrum: Spectrum) -> Floats:
    """Give the radius of each eigenvalue's residual disc, shape (image, block, part, eigenvalue).

    A computed eigenvalue with residual r·‖J‖ lies within κ·r·‖J‖ of a true one, to first order,
    where κ is its condition number. Where κ was not computed, r·‖J‖ stands: for a non-normal J
    that is too small.

    Source:
        Saad (2011), Numerical Methods for Large Eigenvalue Problems, Sec. 3.3.
    """
    condition = np.where(np.isfinite(spectrum.condition), spectrum.condition, 1.0)
    norm = spectrum.norm[..., None]
    # a zero Jacobian has no relative residual, and its eigenvalues are 0
    return np.where(norm == 0, 0.0, spectrum.residual * norm * condition)


def known_condition(spectrum: Spectrum) -> Flags:
    """Tell which eigenvalues have a condition number, same shape."""
    return np.isfinite(spectrum.condition)


def abscissa_errors(spectrum: Spectrum) -> tuple[Floats, Flags]:
    """Give the error of the spectral abscissa and whether a condition number is in it.

    The abscissa is the real part of one of the eigenvalues. That of the nearest one has its
    error, and what lies between both is added.

    Returns:
        Both of shape (image, block, part); the error is infinite where no eigenvalue is known or
        the abscissa did not converge.
    """
    gap = np.abs(spectrum.eigenvalues.real - spectrum.spectral_abscissa[..., None])
    errors = eigenvalue_errors(spectrum)
    usable = np.isfinite(gap) & np.isfinite(errors)
    distance = np.where(usable, gap, np.inf)
    nearest = np.argmin(distance, axis=-1)[..., None]
    error = np.take_along_axis(np.where(usable, errors + gap, np.inf), nearest, axis=-1)[..., 0]
    told = np.take_along_axis(known_condition(spectrum), nearest, axis=-1)[..., 0]
    return np.where(spectrum.spectral_abscissa_converged, error, np.inf), told
