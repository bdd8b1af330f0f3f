"""The bound of Arora et al. 2018, Theorem 4.1, put together from what was measured.

With c the activation contraction, d layers, γ the margin, m training images, μ_i the smallest
layer cushion and μ_{i→} the smallest interlayer cushion from layer i on, its error bound is, but
for logarithms and constants, the loss at margin γ and

    sqrt(c² d² max‖f(x)‖² Σ_i 1/(μ_i² μ_{i→}²) / (γ² m)),

provided that the interlayer smoothness is at least 3 d. Here μ_{i→} = min(1, μ)/√n_i, with μ the
smallest interlayer cushion as Yu & Tomasi scale it and n_i the elements of the layer's output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MARGIN_QUANTILE = 0.1
FACTORS = (
    "activation contraction",
    "layers",
    "outputs over margin",
    "layer cushions",
    "interlayer cushions",
    "training images",
)
DEPARTURES = (
    "logarithms and constants, which the theorem hides, are left out",
    "the theorem is on fully connected layers without biases; convolutions are written out as "
    "matrices, and there are biases",
    "a skip around a single convolution counts as a part of the layer; blocks of several layers "
    "and BatchNorm have no place in the theorem",
    "minima, maxima and the margin are over a sample of test images, not over all training images",
    "interlayer cushions go from the input of a block, after its activation, to the output of a "
    "later block; the theorem's go from every layer before its activation, up to the logits",
    "the condition is asked of spans of blocks at noise of one size relative to x, the theorem's "
    "at the noise that compressing earlier layers leaves there; and as the Jacobian is applied to "
    "the noisy input, biases alone keep the smoothness finite",
    "what is bounded is the error of a compressed network, not of this one",
)


@dataclass(frozen=True)
class Bound:
    """The bound of one network and what it is made of; axis `norm` is kept, removed.

    Attributes:
        contraction: c, the largest over layers and images.
        layers: d.
        output_norm: the largest ‖f(x)‖.
        margin: γ, the 10 % quantile of the margins of the images that are right.
        margin_loss: share of all images whose margin is at most γ.
        training_images: m.
        layer_cushion: μ_i, shape (layer, norm).
        interlayer_cushion: μ_{i→}, shape (layer,).
        terms: 1/(μ_i² μ_{i→}²), shape (layer, norm).
        value: shape (norm,).
        log10_factors: of each of `FACTORS`, shape (factor, norm); they add up to log10 of `value`.
    """

    contraction: float
    layers: int
    output_norm: float
    margin: float
    margin_loss: float
    training_images: float
    layer_cushion: Floats
    interlayer_cushion: Floats
    terms: Floats
    value: Floats
    log10_factors: Floats

    @property
    def exists(self) -> bool:
        """Whether there is a number, finite or not."""
        return not bool(np.isnan(self.value).any())

    @property
    def void(self) -> bool:
        """Whether it is no number below 1 in either norm, so that it bounds no error."""
        return not bool(self.value.max() < 1)


@dataclass(frozen=True)
class Smoothness:
    """Whether the condition on the interlayer smoothness holds.

    Attributes:
        least: the smallest over images, spans and draws of noise.
        median: over the same.
        needed: three times the number of layers.
        share: of images, spans and draws that reach what is needed.
        noise_level: ‖η‖/‖x‖ at which it was measured, NaN where that is not known.
    """

    least: float
    median: float
    needed: float
    share: float
    noise_level: float

    @property
    def holds(self) -> bool:
        """Whether every image, span and draw reaches what is needed."""
        return self.least >= self.needed


def bound(
    *,
    contraction: Floats,
    output_norm: Floats,
    margins: Floats,
    training_images: float,
    layer_cushion: Floats,
    interlayer_cushion: Floats,
) -> Bound:
    """Put the bound together.

    Args:
        contraction: of images and layers, any shape; NaN where no activation follows.
        output_norm: of images, shape (image,).
        margins: of images, shape (image,).
        training_images: how many.
        layer_cushion: the smallest of each layer, shape (layer, norm).
        interlayer_cushion: μ_{i→} of each layer, shape (layer,).
    """
    margin = _margin(margins)
    with np.errstate(divide="ignore", invalid="ignore"):
        layer = layer_cushion**-2.0
        terms = layer * interlayer_cushion[:, None] ** -2.0
        largest = _largest(contraction)
        output = _largest(output_norm)
        depth = len(layer_cushion)
        cushions = np.log10(layer.sum(axis=0)) / 2
        factors = np.stack(
            np.broadcast_arrays(
                np.log10(largest),
                np.log10(depth),
                np.log10(output / margin),
                cushions,
                np.log10(terms.sum(axis=0)) / 2 - cushions,
                -np.log10(training_images) / 2,
            )
        )
        value = (
            largest
            * depth
            * (output / margin)
            * np.sqrt(terms.sum(axis=0) / np.float64(training_images))
        )
    return Bound(
        contraction=largest,
        layers=depth,
        output_norm=output,
        margin=margin,
        margin_loss=float((margins <= margin).mean()) if np.isfinite(margin) else float("nan"),
        training_images=training_images,
        layer_cushion=layer_cushion,
        interlayer_cushion=interlayer_cushion,
        terms=terms,
        value=value,
        log10_factors=factors,
    )


def minimal_interlayer(cushions: Floats, first: Sequence[int | None], elements: Integers) -> Floats:
    """Give μ_{i→} of each layer: the smallest interlayer cushion as Arora et al. scale it.

    Args:
        cushions: of spans as Yu & Tomasi scale them, shape (image, block, length); NaN where there
            is no span.
        first: of each layer the block before which it ran last, None where there is none.
        elements: of the output of each layer, shape (layer,).

    Returns:
        min(1, smallest cushion of a span that begins with that block)/√n_i, shape (layer,); 1/√n_i
        where no block follows.
    """
    least = np.ones(len(elements))
    for layer, block in enumerate(first):
        own = np.empty(0) if block is None else cushions[:, block]
        own = own[np.isfinite(own)]
        least[layer] = min(1.0, float(own.min())) if own.size else 1.0
    return np.asarray(least / np.sqrt(elements))


def following_blocks(blocks_of_layers: Sequence[str], blocks: Sequence[str]) -> list[int | None]:
    """Give the block that begins after each layer, None after the last block.

    Args:
        blocks_of_layers: the block that each layer runs in, "" for none, in order of execution.
        blocks: all blocks, in order.
    """
    place = {name: i for i, name in enumerate(blocks)}
    found: list[int | None] = []
    for layer, name in enumerate(blocks_of_layers):
        if name in place:
            after = place[name] + 1
            found.append(after if after < len(blocks) else None)
        else:
            later = [place[one] for one in blocks_of_layers[layer + 1 :] if one in place]
            found.append(later[0] if later else None)
    return found


def output_elements(
    blocks_of_layers: Sequence[str], elements: Mapping[str, int], classes: int
) -> Integers:
    """Give the elements of the output of each layer, that of its block where it runs in one.

    Args:
        blocks_of_layers: the block that each layer runs in, "" for none, in order of execution.
        elements: of the output of each block.
        classes: logits, which a layer behind all blocks gives.

    Returns:
        Shape (layer,). A layer before a block is taken to have as many as the block gives.
    """
    found = []
    for layer in range(len(blocks_of_layers)):
        later = [one for one in blocks_of_layers[layer:] if one in elements]
        found.append(elements[later[0]] if later else classes)
    return np.array(found, np.int64)


def smoothness(values: Floats, layers: int, noise_level: float) -> Smoothness | None:
    """Tell whether the interlayer smoothness is at least three times the number of layers.

    Args:
        values: ρ of images, spans and draws, any shape; NaN where there is no span.
        layers: d.
        noise_level: ‖η‖/‖x‖.

    Returns:
        None where no value is known.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    return Smoothness(
        least=float(known.min()),
        median=float(np.median(known)),
        needed=3.0 * layers,
        share=float((known >= 3 * layers).mean()),
        noise_level=noise_level,
    )


def _margin(margins: Floats) -> float:
    right = margins[np.isfinite(margins) & (margins > 0)]
    return float(np.quantile(right, MARGIN_QUANTILE)) if right.size else float("nan")


def _largest(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if known.size else float("nan")
