"""How much of each layer's size its input meets: the layer cushion, per sample and layer.

Every convolution and linear layer that runs in the forward pass is measured, also outside of
blocks; attention's products of features with features have no weights and are none. A is the
linear map from the layer's whole input of one sample to its whole output, without the bias: of a
convolution the map on images, of a linear layer on tokens W at every token.

ID entries are those of a kernel at (c, c, centre). Of a residual block whose branch is a single
convolution, convolution and skip together are A, as Yu & Tomasi have it: its ID entries hold the
1s of the skip, and "removed" is ‖·‖_F of the kernel without these 1s. Of every other layer it is
‖·‖_F with zeros in their place. The numerator ‖A x‖ is the same for both.

Padding other than by zeros is an operation of its own before an unpadded convolution, so x and A
are then those of the padded input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resprobe.errors import InputError
from resprobe.quantities.family import sample_group
from resprobe.quantities.quantity import Quantity
from resprobe.store.schema import Coordinate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.layers import Layer
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

_SOURCE = (
    "Arora et al. 2018 (Stronger generalization bounds for deep nets via a compression approach); "
    "Yu & Tomasi 2019 (Identity connections in residual nets improve noise stability), Sec. 5"
)


def _of_layers(name: str, formula: str, meaning: str, *, of_samples: bool = False) -> Quantity:
    return Quantity(
        name=name,
        family="layer-cushion",
        dims=("sample", "layer") if of_samples else ("layer",),
        units="1",
        dtype="float32" if of_samples else "float64",
        formula=formula,
        source=_SOURCE,
        meaning=meaning,
        cost="hook",
        measured_by="resprobe.quantities.layer_cushion:LayerCushion",
    )


LAYER_CUSHION = _of_layers(
    "layer_cushion",
    "‖A x‖/(‖A‖_F·‖x‖)",
    "Layer cushion of each sample, ID entries kept in the norm of the layer.",
    of_samples=True,
)
LAYER_CUSHION_ID_REMOVED = _of_layers(
    "layer_cushion_id_removed",
    "‖A x‖/(‖A without ID entries‖_F·‖x‖); of a skip that counts as a part of A: without its 1s",
    "Layer cushion of each sample, ID entries removed from the norm of the layer.",
    of_samples=True,
)
FROBENIUS_NORM = _of_layers(
    "layer_frobenius_norm",
    "‖A‖_F",
    "Frobenius norm of the layer as a linear map on one sample.",
)
FROBENIUS_NORM_ID_REMOVED = _of_layers(
    "layer_frobenius_norm_id_removed",
    "‖A without ID entries‖_F; of a skip that counts as a part of A: without its 1s",
    "Frobenius norm of the layer as a linear map on one sample, ID entries removed.",
)
WEIGHT_NORM = _of_layers(
    "layer_weight_norm",
    "‖W‖_F, W the kernel or matrix; with the 1s of a skip that counts as a part of A",
    "Frobenius norm of the layer's weight, which ‖A‖_F counts at every position.",
)
WEIGHT_NORM_ID_REMOVED = _of_layers(
    "layer_weight_norm_id_removed",
    "‖W without ID entries‖_F; of a skip that counts as a part of A: without its 1s",
    "Frobenius norm of the layer's weight, ID entries removed.",
)


class LayerCushion:
    """Measures the family `layer-cushion`; see `OfLayers`."""

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
        self._images: list[Tensor] = []
        self._inputs: list[Tensor] = []
        self._norms_of_inputs: dict[int, Tensor] = {}

    def take_layers(self, layers: Sequence[Layer]) -> None:
        """Take the layers of the network, before anything else.

        Raises:
            InputError: there is none.
        """
        if not layers:
            raise InputError(
                "the network runs no convolution or linear layer on its samples, so there is no "
                "layer cushion to measure; leave it out with --quantity."
            )
        self.layers = layers
        self._norms = [frobenius_norms(layer) for layer in layers]

    def group(self) -> Group:
        """Give the layout of `/layer-cushion`."""
        group = sample_group("/layer-cushion", self._blocks, self._classes)
        return replace(group, coordinates=(*group.coordinates, *layer_coordinates(self.layers)))

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: layers are shown on their own."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def see_layer(self, layer: Layer, x: Tensor, image: Tensor) -> None:
        """Take the norms of a layer's input and output."""
        from resprobe.linalg.norms import squared_norm

        # several layers may read the same x, such as a projection and the first convolution
        if layer.input not in self._norms_of_inputs:
            self._norms_of_inputs[layer.input] = squared_norm(x)
        self._inputs.append(self._norms_of_inputs[layer.input])
        self._images.append(squared_norm(image))

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give the cushions of a batch, `(sample, layer)`."""
        import torch

        from resprobe.linalg.cushions import layer_cushion

        images, inputs = (torch.stack(seen, dim=1) for seen in (self._images, self._inputs))
        self._images, self._inputs, self._norms_of_inputs = [], [], {}
        found = {}
        for name, norm in (
            (LAYER_CUSHION.name, FROBENIUS_NORM.name),
            (LAYER_CUSHION_ID_REMOVED.name, FROBENIUS_NORM_ID_REMOVED.name),
        ):
            sizes = torch.tensor([norms[norm] for norms in self._norms], dtype=torch.float64)
            found[name] = layer_cushion(images, inputs, sizes.to(images.device)).float()
        return found

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take nothing: nothing is added up over the samples."""

    def totals(self) -> dict[str, Any]:
        """Give the norms of the layers."""
        import numpy as np

        return {name: np.array([norms[name] for norms in self._norms]) for name in self._norms[0]}


def layer_coordinates(layers: Sequence[Layer]) -> tuple[Coordinate, ...]:
    """Give the coordinates of the dimension `layer`."""
    dims = ("layer",)
    return (
        Coordinate("layer", dims, [one.name for one in layers], {"long_name": "module that ran"}),
        Coordinate(
            "layer_block",
            dims,
            [one.block for one in layers],
            {"long_name": "block inside of which the layer runs, empty for none"},
        ),
        Coordinate(
            "layer_kind", dims, [one.kind for one in layers], {"long_name": "kind of the layer"}
        ),
        Coordinate(
            "layer_weight",
            dims,
            [" ".join(one.parameters) for one in layers],
            {"long_name": "parameters that the weight is, or was computed from"},
        ),
        Coordinate(
            "layer_skip",
            dims,
            ["none" if one.identity is None else "identity" for one in layers],
            {"long_name": "whether the skip around the layer counts as a part of it"},
        ),
    )


def frobenius_norms(layer: Layer) -> dict[str, float]:
    """Give the norms of a layer on one sample, ID entries kept and removed, by quantity."""
    from resprobe.linalg.cushions import with_identity, without_id_entries

    geometry = layer.geometry
    groups = 1 if geometry is None else geometry.groups
    transposed = geometry is not None and geometry.transposed
    if layer.identity is None:
        kept = layer.weight
        removed = without_id_entries(kept, transposed=transposed, groups=groups)
    else:
        removed = layer.factor * layer.weight
        kept = with_identity(removed, groups=groups, shift=layer.identity)
    return {
        FROBENIUS_NORM.name: _of_map(layer, kept),
        FROBENIUS_NORM_ID_REMOVED.name: _of_map(layer, removed),
        WEIGHT_NORM.name: float(kept.double().norm()),
        WEIGHT_NORM_ID_REMOVED.name: float(removed.double().norm()),
    }


def _of_map(layer: Layer, weight: Tensor) -> float:
    """Give ‖·‖_F of a layer with another weight as a linear map on one sample."""
    from resprobe.linalg.convolution import convolution_frobenius_norm, linear_frobenius_norm

    geometry, copies = layer.geometry, layer.fold.copies
    if geometry is None:
        return linear_frobenius_norm(weight, copies)
    norm = convolution_frobenius_norm(
        weight,
        geometry.input_size,
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        transposed=geometry.transposed,
        output_padding=geometry.output_padding,
    )
    return norm * math.sqrt(copies)
