"""What is known of one network's Jacobians, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resprobe_analyses.reading import Flags, Integers, Layout
from resprobe_analyses.stability.training import Training

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class Norms:
    """Norms of the Jacobians, each of shape (image, block, part); NaN where one does not exist.

    A residual is relative to ‖J‖; a standard error of 0 says that the number is exact.
    """

    frobenius_norm: Floats
    frobenius_norm_stderr: Floats
    spectral_norm: Floats
    spectral_norm_residual: Floats
    spectral_norm_converged: Flags
    log_norm: Floats
    log_norm_residual: Floats
    log_norm_converged: Flags
    relative_error: Floats


@dataclass(frozen=True)
class Spectrum:
    """Some eigenvalues of the Jacobians.

    Attributes:
        which: of each eigenvalue, "largest_magnitude" or "rightmost".
        eigenvalues: shape (image, block, part, eigenvalue); NaN where there is none.
        residual: ‖Jv − λv‖/‖J‖, same shape.
        condition: of the eigenvalue, same shape; NaN where it was not computed.
        converged: same shape.
        norm: ‖J‖, shape (image, block, part).
        spectral_abscissa: same shape.
        spectral_abscissa_converged: same shape.
        spectral_radius: same shape.
        spectral_radius_converged: same shape.
    """

    which: tuple[str, ...]
    eigenvalues: Complexes
    residual: Floats
    condition: Floats
    converged: Flags
    norm: Floats
    spectral_abscissa: Floats
    spectral_abscissa_converged: Flags
    spectral_radius: Floats
    spectral_radius_converged: Flags


@dataclass(frozen=True)
class Exponents:
    """Finite-time growth per block.

    Attributes:
        exponents: shape (image, block, exponent), at the last block of a run in descending order;
            NaN outside runs.
        errors: bounds of their error at the last block of a run, of the same shape.
        growth: of a finite random perturbation, shape (image, block).
    """

    exponents: Floats
    errors: Floats
    growth: Floats


@dataclass(frozen=True)
class Network:
    """One network's recorded Jacobians.

    Attributes:
        label: short and unique.
        seed: of its training, None where unknown.
        step: of its checkpoint, None where unknown.
        names: of its blocks.
        skips: kind of each block's skip.
        layout: of its blocks.
        classes: labels of the images of `norms`, shape (image,).
        norms: of branches and blocks.
        spectrum: None where it was not collected.
        lyapunov: None where it was not collected.
        training: the same over training, None where it was not recorded.
        images_left_out: images of the family `jacobian` that other inputs do not have.
    """

    label: str
    seed: int | None
    step: int | None
    names: tuple[str, ...]
    skips: tuple[str, ...]
    layout: Layout
    classes: Integers
    norms: Norms
    spectrum: Spectrum | None
    lyapunov: Exponents | None
    training: Training | None
    images_left_out: int

    @property
    def plain(self) -> bool:
        """Whether no block has a skip."""
        return all(skip == "none" for skip in self.skips)

    @property
    def identity(self) -> Flags:
        """Blocks that add their branch to their unchanged input, shape (block,)."""
        return np.array([skip == "identity" for skip in self.skips], dtype=np.bool_)


@dataclass(frozen=True)
class Group:
    """Networks of one resolved recipe, trained with different seeds."""

    label: str
    networks: tuple[Network, ...]

    @property
    def first(self) -> Network:
        """The first network; the others have the same blocks."""
        return self.networks[0]
