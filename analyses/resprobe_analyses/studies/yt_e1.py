"""YT-E1: a residual network of single convolutions is a plain one with 1 at its ID entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from resprobe_analyses.studies.equivalent_networks import (
    HMWI,
    KWI,
    LARGE,
    TAPS,
    EquivalentPair,
    Make,
    Start,
    Weights,
    doubles,
    equivalent_pair,
    rounding_bound,
    simplified,
)
from resprobe_analyses.studies.evidence import Check, Evidence
from resprobe_analyses.studies.exact import ROUNDOFF, exact_scales, within
from resprobe_analyses.studies.exact_networks import seeded
from resprobe_analyses.studies.other_shortcuts import OTHER_SHORTCUTS, with_shortcut
from resprobe_analyses.studies.study import Study

if TYPE_CHECKING:
    from torch import Tensor, nn

DEPTHS = (20, 32, 44)
# Yu and Tomasi's two networks, and each map with weights of other sizes.
CASES: tuple[tuple[Weights, Start], ...] = (
    (HMWI, "residual"),
    (KWI, "residual"),
    (LARGE, "residual"),
    (KWI, "plain"),
    (LARGE, "plain"),
)
MAPS = {"residual": "T", "plain": "T⁻¹"}
IMAGES, SIDE, WIDEST = 2, 32, 64
BIASES = 0.1  # 0 in the paper before training; here they are to count
# The gradient of a kernel sums over all positions of all images, and what reaches the first layer
# went forwards and backwards through all of them.
GRADIENT_TERMS = IMAGES * SIDE**2
# One layer alone: each of the two sums of 9·C products, the bias and the skip rounds by at most
# (9·C + 3)·u of the sum of their magnitudes, the rounding of 1 + r included (Higham 2002, Accuracy
# and stability of numerical algorithms, Sec. 3.1). This one is strict.
LAYER_BOUND = 2 * (TAPS * WIDEST + 3) * ROUNDOFF
# Another shortcut is no rounding: it is to differ by so many times the bound.
CONTROL = 1e6


class Distance(NamedTuple):
    """How far the two networks of a pair are apart.

    Attributes:
        outputs: largest difference of logits over the largest logit.
        gradients: the same of the gradient of a parameter, the largest over all parameters.
        kept: of each block that keeps the channels, alone: largest difference of an output, or of
            a gradient to its input, over the sum of the magnitudes that make it.
        doubled: the same of the blocks of stride 2 that double them.
    """

    outputs: float
    gradients: float
    kept: tuple[float, ...]
    doubled: tuple[float, ...]


def distance(pair: EquivalentPair, seed: int = 1) -> Distance:
    """Compare the outputs and gradients of two networks, and those of each block alone.

    Gradients are those of a random linear function of the logits.

    Args:
        pair: of images of 3 channels.
        seed: of the images, normal ones, and of the linear function.
    """
    import torch

    with seeded(seed):
        batch = torch.randn(IMAGES, 3, SIDE, SIDE, dtype=torch.float64)
        direction = torch.randn(IMAGES, 10, dtype=torch.float64)
        outputs, gradients = [], []
        for network in (pair.residual, pair.plain):
            logits = network(batch)
            parameters = list(network.parameters())
            gradients.append(torch.autograd.grad((logits * direction).sum(), parameters))
            outputs.append(logits.detach())
        layers = {name: _layer(pair, name) for name in pair.id_entries}
    doubling = {name for name, entries in pair.id_entries.items() if doubles(entries)}
    return Distance(
        _relative(*outputs),
        max(_relative(mine, theirs) for mine, theirs in zip(*gradients, strict=True)),
        tuple(value for name, value in layers.items() if name not in doubling),
        tuple(value for name, value in layers.items() if name in doubling),
    )


def _relative(one: Tensor, other: Tensor) -> float:
    """Give the largest difference over the largest entry; NaN if all are zero."""
    return float((one - other).abs().max() / one.abs().max())


def _layer(pair: EquivalentPair, weight: str) -> float:
    """Give the distance of one block, on normal features and a normal gradient from behind.

    Args:
        pair: of networks.
        weight: name of the block's kernel.
    """
    import torch

    branch = cast("nn.Conv2d", pair.plain.get_submodule(weight.rpartition(".")[0]))
    block = weight.rsplit(".", 2)[0]
    x = torch.randn(IMAGES, branch.in_channels, SIDE // 2, SIDE // 2, dtype=torch.float64)
    x.requires_grad_()
    bias = cast("Tensor", branch.bias).detach().abs()
    # |r| + ρ: what both forms of the layer multiply inputs with, taken without signs
    kernel = pair.residual.get_parameter(weight).detach().abs() + pair.id_entries[weight]
    sizes = x.detach().abs().requires_grad_()
    total = torch.nn.functional.conv2d(sizes, kernel, bias, branch.stride, branch.padding)
    back = torch.randn_like(total)
    found = []
    for network in (pair.residual, pair.plain):
        out = network.get_submodule(block)(x)
        found.append((out.detach(), *torch.autograd.grad(out, x, back)))
    scales = (total.detach(), *torch.autograd.grad(total, sizes, back.abs()))
    return max(
        float(((one - other).abs() / scale).max())
        for one, other, scale in zip(*found, scales, strict=True)
    )


def measure(
    make: Make = simplified,
    depths: Sequence[int] = DEPTHS,
    cases: Sequence[tuple[Weights, Start]] = CASES,
) -> Evidence:
    """Compare pairs of networks, whole and layer by layer, and pairs with other shortcuts.

    Args:
        make: gives a network by the arguments of `simplified-resnet`.
        depths: of the networks.
        cases: how the weights are drawn, and in which network.
    """
    checks: list[Check] = []
    outputs = []
    for depth in depths:
        for seed, (weights, start) in enumerate(cases):
            pair = equivalent_pair(make, weights, start, seed, biases=BIASES, depth=depth)
            found = distance(pair)
            outputs.append(found.outputs)
            name = f"depth {depth}, {weights.name}, {MAPS[start]}"
            checks += _checks(name, found, depth)
        checks += _controls(make, depth)
    return Evidence(checks=tuple(checks), notes=_notes(outputs))


def _checks(name: str, found: Distance, depth: int) -> Iterator[Check]:
    terms = TAPS * WIDEST
    yield within(
        f"{name}: logits",
        found.outputs,
        rounding_bound(depth, terms),
        expected="equal, relative to the largest",
    )
    yield within(
        f"{name}: gradients of all parameters",
        found.gradients,
        rounding_bound(2 * depth, max(terms, GRADIENT_TERMS)),
        expected="equal, relative to the largest of each",
    )
    kinds = {"that double the channels": found.doubled, "that keep them": found.kept}
    for words, values in kinds.items():
        yield within(
            f"{name}: each of {len(values)} layers {words}, alone",
            max(values, default=float("nan")),
            LAYER_BOUND,
            expected="equal, relative to the sum of all magnitudes",
        )


def _controls(make: Make, depth: int) -> Iterator[Check]:
    """Check that T misses, with the two other usual shortcuts, by more than any rounding."""
    for words, shortcut in OTHER_SHORTCUTS.items():
        pair = equivalent_pair(make, HMWI, "residual", 0, biases=BIASES, depth=depth)
        with_shortcut(pair.residual, shortcut)
        found = distance(pair)
        bounds = {
            "logits": (found.outputs, rounding_bound(depth, TAPS * WIDEST)),
            f"each of {len(found.doubled)} layers that double the channels, alone": (
                min(found.doubled, default=float("nan")),
                LAYER_BOUND,
            ),
        }
        for what, (value, bound) in bounds.items():
            yield Check(
                f"depth {depth}, control, {words} as shortcut: {what}",
                f"{value:.2g}",
                f"apart by more than {CONTROL * bound:.2g}",
                value > CONTROL * bound,
            )


def _notes(outputs: Sequence[float]) -> tuple[str, ...]:
    return (
        "Logits and gradients of whole networks: 4·√n·L·u, n the products in the longest sum, L "
        "the layers passed (twice the depth for gradients), u = 2⁻⁵³. Sums of random signs "
        f"round by √n·u, layers add up, 4 is left for cancellation. Logits differ by "
        f"{min(outputs):.2g} to {max(outputs):.2g}.",
        "One layer alone: 2·(9·64 + 3)·u of the sum of the magnitudes of everything that is "
        "added, a strict bound on two ways to add up the same products.",
        "The skip of a layer that halves the resolution is every second pixel with zero channels "
        "behind. Averages of 2×2 pixels, or zero channels on both sides, are convolutions too, "
        "but not those with 1 at the ID entries: Eq. 1 leaves this one reading of the shortcut.",
    )


STUDY = Study(
    id="YT-E1",
    version=1,
    claim="A simplified residual network with the parameters r and a plain one with T(r), 1 added "
    "to each ID entry, have the same outputs and gradients, and so have a plain one with p and a "
    "residual one with T⁻¹(p).",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "Sec. 3, Eq. 1, and Sec. 4.1",
    printed={"Eq. 1": "p = T(r) = r + ρ, ρ = 1 for all ID entries and 0 elsewhere"},
    contradicted_by="A layer, also one of stride 2, an output or a gradient that differs between "
    "the two networks by more than rounding in float64.",
    measure=measure,
    primary=None,
    scales=exact_scales(
        "15 pairs of random networks of depths 20, 32 and 44 at full width in float64, images of "
        "32x32",
        0.3,
    ),
)
