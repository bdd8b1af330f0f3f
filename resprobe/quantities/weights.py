"""Distribution of each layer's weights, biases excluded: sums, large entries, histograms.

The weights are those of the network made plain: of a residual block whose branch is a single
convolution, convolution and skip together are the layer, so 1 is added to the ID entries of its
kernel, T(r) = r + ρ. The weights of every other layer are taken as they are.

ID entries are those of a kernel at (c, c, centre), c ≤ min(C, D). Every layer inside of a block or
a unit has them, also one of several and a projection, where no skip adds anything to them; layers
outside of blocks have none. Weights that several layers share count for each of them.

The family takes no samples: only the first ones run, to find the layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resprobe.errors import InputError
from resprobe.quantities.family import sample_group
from resprobe.quantities.layer_cushion import layer_coordinates
from resprobe.quantities.quantity import Quantity
from resprobe.store.schema import Coordinate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.layers import Layer
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

# From which magnitude a weight's mass is large (Table 3), and above which value it is (Fig. 7).
LARGE_MASS, LARGE = 0.25, 0.7
# Bins lie on whole multiples of 1/50, which are rounded once.
_PER_ONE, _REACH = 50, 2
EDGES = np.arange(-_REACH * _PER_ONE, _REACH * _PER_ONE + 1) / _PER_ONE

_PLAIN = (
    "of the layer's weights w, without biases, with the 1s of a skip that counts as a part of it"
)
_ENTRIES = f"{_PLAIN}; of its ID entries (c, c, centre) alone, and only inside of blocks"


def _of_weights(name: str, formula: str, meaning: str, *, dtype: str = "float64") -> Quantity:
    return Quantity(
        name=name,
        family="weights",
        dims=("layer", "bin") if name.endswith("histogram") else ("layer",),
        units="1",
        dtype=dtype,
        formula=formula,
        source="Yu & Tomasi 2019 (Identity connections in residual nets improve noise stability), "
        "Table 3 and Fig. 7",
        meaning=meaning,
        cost="weights",
        measured_by="resprobe.quantities.weights:Weights",
        standard=False,
    )


_BINS = (
    f"bins of width {1 / _PER_ONE:g} with their lower edge, from {-_REACH} to {_REACH}; "
    "the outermost ones take the rest"
)
WEIGHT_COUNT = _of_weights(
    "weight_count", f"number {_PLAIN}", "Number of weights of the layer.", dtype="int64"
)
WEIGHT_MEAN = _of_weights("weight_mean", f"mean {_PLAIN}", "Mean of the layer's weights.")
WEIGHT_STD = _of_weights(
    "weight_std",
    f"√mean((w - mean)²) {_PLAIN}",
    "Standard deviation of the layer's weights.",
)
WEIGHT_MASS = _of_weights("weight_mass", f"Σ|w| {_PLAIN}", "Sum of the weights' magnitudes.")
LARGE_WEIGHT_MASS = _of_weights(
    "large_weight_mass",
    f"Σ|w| over |w| ≥ {LARGE_MASS:g} {_PLAIN}",
    "Sum of the magnitudes of large weights.",
)
LARGE_WEIGHT_COUNT = _of_weights(
    "large_weight_count",
    f"number of w > {LARGE:g} {_PLAIN}",
    f"Number of weights above {LARGE:g}.",
    dtype="int64",
)
WEIGHT_HISTOGRAM = _of_weights(
    "weight_histogram",
    f"counts {_PLAIN}; {_BINS}",
    "Histogram of the layer's weights.",
    dtype="int64",
)
ID_ENTRY_COUNT = _of_weights(
    "id_entry_count",
    f"number {_ENTRIES}",
    "Number of the layer's ID entries; 0 outside of blocks.",
    dtype="int64",
)
ID_ENTRY_MEAN = _of_weights(
    "id_entry_mean", f"mean {_ENTRIES}", "Mean of the layer's ID entries; NaN if it has none."
)
ID_ENTRY_STD = _of_weights(
    "id_entry_std",
    f"√mean((w - mean)²) {_ENTRIES}",
    "Standard deviation of the layer's ID entries; NaN if it has none.",
)
ID_ENTRY_MASS = _of_weights(
    "id_entry_mass", f"Σ|w| {_ENTRIES}", "Sum of the magnitudes of the layer's ID entries."
)
LARGE_ID_ENTRY_MASS = _of_weights(
    "large_id_entry_mass",
    f"Σ|w| over |w| ≥ {LARGE_MASS:g} {_ENTRIES}",
    "Sum of the magnitudes of large ID entries.",
)
ID_ENTRY_HISTOGRAM = _of_weights(
    "id_entry_histogram",
    f"counts {_ENTRIES}; {_BINS}",
    "Histogram of the layer's ID entries.",
    dtype="int64",
)


class Weights:
    """Measures the family `weights`; see `OfLayers`."""

    sees_blocks = False
    sees_outputs = False
    needs_replays = False
    needs_states = False
    needs_functions = False
    reestimates = False
    counted = ()
    layers: Sequence[Layer]

    def __init__(self, model: nn.Module, blocks: Blocks, classes: Sequence[str]) -> None:
        del model
        self._blocks, self._classes = blocks, classes

    def take_layers(self, layers: Sequence[Layer]) -> None:
        """Take the layers of the network, before anything else.

        Raises:
            InputError: there is none, or one holds a weight that is not finite.
        """
        if not layers:
            raise InputError(
                "the network runs no convolution or linear layer on its samples, so there are no "
                "weights to measure; leave them out with --quantity."
            )
        broken = [layer.name for layer in layers if not bool(layer.weight.isfinite().all())]
        if broken:
            raise InputError(
                f"{broken[0]} has weights that are not finite, so they have no distribution; take "
                "an earlier checkpoint, or leave weights out with --quantity."
            )
        self.layers = layers

    def group(self) -> Group:
        """Give the layout of `/weights`; nothing but `sample` and `label` lies along `sample`."""
        group = sample_group("/weights", self._blocks, self._classes)
        return replace(
            group, coordinates=(*group.coordinates, *layer_coordinates(self.layers), _bins())
        )

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: the weights are known beforehand."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def see_layer(self, layer: Layer, x: Tensor, image: Tensor) -> None:
        """Take nothing."""

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give nothing: no sample has anything of its own."""
        return {}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take nothing."""

    def totals(self) -> dict[str, Any]:
        """Give everything, `(layer,)` and `(layer, bin)`."""
        each = [statistics(*made_plain(layer)) for layer in self.layers]
        return {name: np.array([one[name] for one in each]) for name in each[0]}


def made_plain(layer: Layer) -> tuple[Tensor, Tensor]:
    """Give a layer's weight as that of the plain network, and which are its ID entries.

    Returns:
        The weight in its own dtype, as a plain network would hold it, and a bool mask like it.
    """
    import torch

    from resprobe.linalg.cushions import id_entries

    geometry = layer.geometry
    if not layer.block:
        return layer.weight, torch.zeros_like(layer.weight, dtype=torch.bool)
    entries = id_entries(
        layer.weight,
        transposed=geometry is not None and geometry.transposed,
        groups=1 if geometry is None else geometry.groups,
        shift=layer.identity or 0,
    )
    if layer.identity is None:
        return layer.weight, entries
    return layer.factor * layer.weight + entries.to(layer.weight), entries


def statistics(weight: Tensor, entries: Tensor) -> dict[str, Any]:
    """Give every quantity of the family for one kernel.

    Args:
        weight: of any shape and dtype.
        entries: bool, true at its ID entries.

    Returns:
        Python numbers, summed in float64, and int64 arrays `(bin,)`, by the quantities' names.
    """
    every = weight.detach().double()
    return {
        **_of_values("weight", every.flatten()),
        LARGE_WEIGHT_COUNT.name: int((every > LARGE).sum()),
        **_of_values("id_entry", every[entries]),
    }


def histogram(values: Tensor) -> NDArray[np.int64]:
    """Count values in the bins between `EDGES`.

    Args:
        values: finite, of any shape, float64.

    Returns:
        `(bin,)` int64. A value on an edge counts above it, one beyond all in the outermost bin.
    """
    import torch

    inner = torch.from_numpy(EDGES[1:-1]).to(values.device)
    places = torch.bucketize(values.flatten(), inner, right=True)
    return np.asarray(torch.bincount(places, minlength=len(EDGES) - 1).cpu().numpy(), np.int64)


def _of_values(prefix: str, values: Tensor) -> dict[str, Any]:
    """Give what is told of all weights and of the ID entries alike; `values` `(entry,)`."""
    sizes = values.abs()
    return {
        f"{prefix}_count": values.numel(),
        f"{prefix}_mean": float(values.mean()),
        f"{prefix}_std": float((values - values.mean()).square().mean().sqrt()),
        f"{prefix}_mass": float(sizes.sum()),
        f"large_{prefix}_mass": float(sizes[sizes >= LARGE_MASS].sum()),
        f"{prefix}_histogram": histogram(values),
    }


def _bins() -> Coordinate:
    """Give the coordinate of the dimension `bin`."""
    return Coordinate(
        "bin",
        ("bin",),
        (EDGES[:-1] + EDGES[1:]) / 2,
        {"long_name": "centre of the bin", "units": "1", "width": 1 / _PER_ONE},
    )
