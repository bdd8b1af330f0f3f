"""How much of a layer's output its activation leaves: the activation contraction.

The activation contraction c of a network is the smallest number such that ‖φ(x)‖ ≥ ‖x‖/c for every
layer and sample, x what the activation φ of the layer reads. Here ‖x‖/‖φ(x)‖ is measured for every
sample and layer, of which c is the largest.

x is the output of the layer with its bias, and with the skip where that counts as a part of the
layer. Where a normalisation stands between layer and activation, x is the normalised output, which
is what φ reads. Where no elementwise activation follows, as behind the last layer or before an
addition, there is no contraction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from resprobe.errors import InputError
from resprobe.quantities.family import sample_group
from resprobe.quantities.layer_cushion import layer_coordinates
from resprobe.quantities.quantity import Quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from resprobe.blocks.block import Block, Blocks
    from resprobe.blocks.layers import Layer
    from resprobe.blocks.passes import Pass
    from resprobe.store.schema import Group

ACTIVATION_CONTRACTION = Quantity(
    name="activation_contraction",
    family="activation-contraction",
    dims=("sample", "layer"),
    units="1",
    dtype="float32",
    formula="‖x‖/‖φ(x)‖, x what the layer's activation φ reads: A x_in + b, normalised where φ "
    "reads that; infinite where φ(x) alone is 0, NaN where x is 0 too or no φ follows",
    source="Arora et al. 2018 (Stronger generalization bounds for deep nets via a compression "
    "approach), Definition 6",
    meaning="How many times larger the input of a layer's activation is than its output.",
    cost="hook",
    measured_by="resprobe.quantities.activation_contraction:ActivationContraction",
    standard=False,
)


class ActivationContraction:
    """Measures the family `activation-contraction`; see `OfActivations`."""

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
        self._seen: dict[int, Tensor] = {}

    def take_layers(self, layers: Sequence[Layer]) -> None:
        """Take the layers of the network, before anything else.

        Raises:
            InputError: there is none.
        """
        if not layers:
            raise InputError(
                "the network runs no convolution or linear layer on its samples, so there is no "
                "activation contraction to measure; leave it out with --quantity."
            )
        self.layers = layers

    def group(self) -> Group:
        """Give the layout of `/activation-contraction`."""
        group = sample_group("/activation-contraction", self._blocks, self._classes)
        return replace(group, coordinates=(*group.coordinates, *layer_coordinates(self.layers)))

    def see(self, block: Block, x: Tensor, s: Tensor, branch: Tensor) -> None:
        """Take nothing: activations are shown on their own."""

    def see_output(self, block: Block, x: Tensor, x_out: Tensor) -> None:
        """Take nothing."""

    def see_activation(self, layer: Layer, x: Tensor, y: Tensor) -> None:
        """Take the contraction of a layer's activation."""
        self._seen[layer.index] = contraction(x, y)

    def rows(self, whole: Pass, labels: Tensor) -> dict[str, Tensor]:
        """Give the contractions of a batch, `(sample, layer)`."""
        import torch

        none = torch.full((len(labels),), float("nan"), dtype=torch.float64, device=labels.device)
        each = [self._seen.get(layer.index, none) for layer in self.layers]
        self._seen = {}
        return {ACTIVATION_CONTRACTION.name: torch.stack(each, dim=1).float()}

    def add(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Take nothing: nothing is added up over the samples."""

    def totals(self) -> dict[str, Any]:
        """Give nothing."""
        return {}


def contraction(x: Tensor, y: Tensor) -> Tensor:
    """Give ‖x‖/‖y‖ of each sample.

    Args:
        x: what the activation reads, `(sample, …)`.
        y: what it makes, likewise.

    Returns:
        `(sample,)` float64, infinite where y alone is 0 and NaN where both are.
    """
    from resprobe.linalg.norms import squared_norm

    return (squared_norm(x) / squared_norm(y)).sqrt()
