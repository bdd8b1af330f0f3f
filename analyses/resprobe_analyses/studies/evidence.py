"""What a study measured: one number a seed for every contrast, or the checks of an exact claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """The values of one contrast, one for each seed; arms are already paired by seed.

    Attributes:
        seeds: ascending.
        values: shape (seed,), float64; NaN where it is missing (a norm of a diverged run).
        diverged: shape (seed,), whether a run behind the value diverged; its accuracy then
            counts as chance.
        baseline: shape (seed,), the values of the arm that is compared with, where the claim is
            on the spread of two arms and a difference by seed would lose it; None else.
    """

    seeds: tuple[int, ...]
    values: Floats
    diverged: Flags
    baseline: Floats | None = None

    def __post_init__(self) -> None:
        shape = (len(self.seeds),)
        arms = (self.values,) if self.baseline is None else (self.values, self.baseline)
        if any(np.shape(numbers) != shape for numbers in (*arms, self.diverged)):
            raise ValueError(f"a sample needs one value and one flag for each of {shape[0]} seeds")

    @property
    def present(self) -> Floats:
        """The values that are finite, shape (n,)."""
        return self.values[np.isfinite(self.values)]

    def without_diverged(self) -> Sample:
        """Give the sample of the seeds whose runs all ended well."""
        kept = ~self.diverged
        seeds = tuple(seed for seed, keep in zip(self.seeds, kept, strict=True) if keep)
        baseline = None if self.baseline is None else self.baseline[kept]
        return Sample(seeds, self.values[kept], self.diverged[kept], baseline)


@dataclass(frozen=True)
class Check:
    """One statement of an exact claim.

    Attributes:
        name: short and unique in the study.
        measured: what came out, in words or figures.
        expected: what the claim says.
        holds: whether they agree.
        error: the numerical distance, None where equality is meant.
        bound: the largest distance that counts as agreement; its reason belongs into `name` or
            the study's notes.
    """

    name: str
    measured: str
    expected: str
    holds: bool
    error: float | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything that a study's verdict and ledger row are made of.

    Attributes:
        samples: by name of a contrast; empty for an exact study.
        checks: of an exact study.
        notes: sentences for the reader of the ledger, such as what the numbers depend on.
        dataset: what the figures show, beyond what the analysis wrote; None for none.
        figures: by name, beyond those of the analysis.
    """

    samples: Mapping[str, Sample] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    dataset: xr.Dataset | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
