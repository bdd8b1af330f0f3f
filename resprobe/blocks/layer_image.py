"""What a layer makes of an input with any weight in the place of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.blocks.layers import Layer


def layer_image(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """Give the layer's linear map with another weight at x.

    Args:
        layer: whose stride, padding and other geometry is taken.
        x: its input as it lies in the model, samples not moved to the front.
        weight: like `layer.weight`, of the dtype and on the device of x.

    Returns:
        Like the layer's output, without the bias, a factor and a skip.
    """
    geometry = layer.geometry
    if geometry is None:
        return x @ weight.t() if layer.fold.axis == 0 else weight @ x
    return torch.convolution(
        x,
        weight,
        None,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
        geometry.transposed,
        geometry.output_padding,
        geometry.groups,
    )
