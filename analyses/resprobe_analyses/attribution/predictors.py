"""What is cheaper than a lesion and might rank blocks as lesions do; the larger, the more harm.

An attribution is read in two ways. Its mean over images, as it is, says how much the branch helps
the logit of the true class: what a lesion takes away, to first order. The mean of its absolute
value says how much the branch moves that logit either way: most images are classified rightly, so
a lesion that moves logits both ways mostly does harm. Neither reading is the better one on paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from resprobe.errors import InputError
from resprobe_analyses.reading import Integers, collected_beside, values

if TYPE_CHECKING:
    import xarray as xr

    from resprobe.result import Input

Floats = npt.NDArray[np.float64]

BACKWARD = 2.0  # forward passes that a backward pass costs, by its number of products
NORMS, INFLUENCE, ANGLES, ATTRIBUTION = "norms", "influence", "angular-distance", "attribution"
CONDUCTANCE, INTEGRATED, GRADIENT = (
    "layer_conductance",
    "integrated_gradients",
    "gradient_x_activation",
)
METHOD_LABELS = {
    CONDUCTANCE: "layer conductance",
    INTEGRATED: "integrated gradients",
    GRADIENT: "gradient × activation",
}
ABSOLUTE = "absolute_"


@dataclass(frozen=True)
class Predictor:
    """What ranks blocks.

    Attributes:
        name: in the dataset.
        label: in sentences.
        symbol: in figures, with mathematical text in place of signs.
        family: that holds it.
    """

    name: str
    label: str
    symbol: str
    family: str


@dataclass(frozen=True)
class Measured:
    """One predictor of one network.

    Attributes:
        predictor: which.
        values: shape (image, block), NaN where an image has none; or (block,) for what no image
            is behind.
        images: the sample of each row, ascending, shape (image,); None for (block,).
        passes: forward passes of the network that it costs for each image, a backward pass
            counted as two; NaN where that is not recorded.
    """

    predictor: Predictor
    values: Floats
    images: Integers | None
    passes: float

    @property
    def mean(self) -> Floats:
        """Give the mean over the images that have a value, NaN where none has, shape (block,)."""
        if self.images is None:
            return self.values
        known = np.isfinite(self.values)
        found = np.full(self.values.shape[1], np.nan)
        total = np.where(known, self.values, 0.0).sum(axis=0)
        np.divide(total, known.sum(axis=0), out=found, where=known.any(axis=0))
        return found


RATIO = Predictor("branch_shortcut_ratio", "‖G‖/‖s‖", r"$\Vert G\Vert\,/\,\Vert s\Vert$", NORMS)
WEIGHT_NORM = Predictor("weight_norm", "the weight norm", "weight norm", NORMS)
BLOCK_INFLUENCE = Predictor("block_influence", "block influence", "block influence", INFLUENCE)
ANGULAR_DISTANCE = Predictor("angular_distance", "angular distance", "angular distance", ANGLES)


def read_predictors(given: Input, names: Sequence[str]) -> tuple[Measured, ...]:
    """Read every predictor that was collected at the checkpoint of an input.

    Args:
        given: with the family `norms`.
        names: of the blocks, in the order wanted.

    Returns:
        In the order of costs: norms, angles, attributions. What has no finite value for any block,
        as a method that the network does not allow, is left out.

    Raises:
        InputError: a family has other blocks or lacks its variable.
    """
    found = [_of_images(given, NORMS, RATIO, names), _weight_norm(given, names)]
    if collected_beside(given, INFLUENCE) is not None:
        found.append(_of_images(given, INFLUENCE, BLOCK_INFLUENCE, names))
    if collected_beside(given, ANGLES) is not None:
        found.append(_of_images(given, ANGLES, ANGULAR_DISTANCE, names))
    found += _attributions(given, names)
    return tuple(one for one in found if np.isfinite(one.values).any())


def _of_images(given: Input, family: str, predictor: Predictor, names: Sequence[str]) -> Measured:
    data = _family(given, family, predictor.name, names)
    chosen = data[[predictor.name]]
    if "length" in chosen.dims:
        chosen = chosen.sel(length=1, drop=True)
    table = values(chosen, predictor.name, "sample", "block").astype(np.float64)
    return Measured(predictor, table, _samples(data), 1.0)


def _weight_norm(given: Input, names: Sequence[str]) -> Measured:
    data = _family(given, NORMS, WEIGHT_NORM.name, names)
    norms = values(data, WEIGHT_NORM.name, "block").astype(np.float64)
    return Measured(WEIGHT_NORM, norms, None, 0.0)


def _attributions(given: Input, names: Sequence[str]) -> list[Measured]:
    if collected_beside(given, ATTRIBUTION) is None:
        return []
    data = _family(given, ATTRIBUTION, "block_attribution", names)
    table = values(data, "block_attribution", "sample", "block", "method").astype(np.float64)
    images, about = _samples(data), data["block_attribution"].attrs
    found = []
    for place, name in enumerate(str(method) for method in data["method"].values):
        label = METHOD_LABELS.get(name, name.replace("_", " "))
        passes = _passes(name, about)
        plain = Predictor(name, label, label.replace("×", r"$\times$"), ATTRIBUTION)
        size = Predictor(f"{ABSOLUTE}{name}", f"|{label}|", f"|{plain.symbol}|", ATTRIBUTION)
        found.append(Measured(plain, table[:, :, place], images, passes))
        found.append(Measured(size, np.abs(table[:, :, place]), images, passes))
    return found


def _passes(method: str, about: dict[Any, Any]) -> float:
    """Give the passes for one image; every method serves all blocks at once."""
    steps = {
        CONDUCTANCE: float(about.get("conductance_steps", np.nan)) + 1,  # both ends of the path
        INTEGRATED: float(about.get("integrated_gradients_steps", np.nan)),
        GRADIENT: 1.0,
    }
    return steps.get(method, np.nan) * (1 + BACKWARD)


def _samples(data: xr.Dataset) -> Integers:
    return np.asarray(data["sample"].values, dtype=np.int64)


def _family(given: Input, family: str, variable: str, names: Sequence[str]) -> xr.Dataset:
    """Give a family with its samples ascending and its blocks in order."""
    data = collected_beside(given, family)
    if (
        data is None
        or variable not in data
        or set(names) != {str(name) for name in data["block"].values}
    ):
        raise InputError(
            f"{given.label}: the families lesion and {family} have different blocks or lack "
            f"{variable}; collect both from the same checkpoint."
        )
    data = data.sel(block=list(names))
    return data.sortby("sample") if "sample" in data.dims else data
