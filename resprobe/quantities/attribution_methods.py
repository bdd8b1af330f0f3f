"""How much each branch contributes to the logit of the true class: three methods."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from resprobe.blocks.taps import Taps


class Attribution(NamedTuple):
    """What a method attributes to the branches.

    Attributes:
        blocks: `(sample, block)` float64, in units of the logit.
        delta: `(sample,)` float64: by how much the method misses its completeness.
    """

    blocks: Tensor
    delta: Tensor


def layer_conductance(taps: Taps, target: Tensor, *, steps: int) -> Attribution:
    """Give the conductance of every branch, from a zero input to the recorded one.

    Of a branch G it is Σ over its elements of ∫ ∂f/∂G·dG/dα dα along the inputs α·x, the
    derivative of f being through everything that follows G (Dhamdhere, Sundararajan & Yan 2018,
    How important is a neuron?, https://arxiv.org/abs/1805.12233). One sweep serves all
    branches: at each point the gradients with respect to all of them, and between two points the
    change of each branch times the mean of its gradients there. This trapezoidal rule is the mean
    of what captum's LayerConductance gives forwards and backwards along the path (with its points
    "riemann_trapezoid"; the others leave out the ends), and missed the conductances of a trained
    ResNet-20 by half as much as that did. Midpoints, or Gauss-Legendre points with derivatives of
    G, were no better and cost more: gradients jump at every ReLU.

    A branch alone is no cut of the network, because the skip carries the rest, so conductances do
    not add up to f(x) - f(0), and neither does their sum over blocks. The input is a cut: the delta
    is what the same rule gives there, the change of x times its mean gradient, minus f(x) - f(0).

    Args:
        taps: of a pass whose first input is floating-point.
        target: `(sample,)` the class whose logit f is.
        steps: along the path, at least 1.
    """
    x = taps.x
    before = first = _at(taps, torch.zeros_like(x), target)
    blocks = torch.zeros_like(taps.by_block(first.branches))
    delta = torch.zeros_like(first.logit)
    for step in range(1, steps + 1):
        now = _at(taps, x * (step / steps), target)
        flows = _flows(before, now)
        delta += next(flows).flatten(1).sum(1, dtype=torch.float64)
        blocks += taps.by_block(flows)
        before = now
    return Attribution(blocks, delta - (before.logit - first.logit))


class _Point(NamedTuple):
    """A point of the path.

    Attributes:
        x: the input.
        branches: what came out of the taps.
        gradients: of the target logits with respect to the input and each of these.
        logit: `(sample,)` float64, of the target.
    """

    x: Tensor
    branches: list[Tensor]
    gradients: tuple[Tensor, ...]
    logit: Tensor


def _flows(before: _Point, now: _Point) -> Iterator[Tensor]:
    """Give what flows through the input and each branch between two points, element by element."""
    values = zip((before.x, *before.branches), (now.x, *now.branches), strict=True)
    gradients = zip(before.gradients, now.gradients, strict=True)
    for (old, new), (first, second) in zip(values, gradients, strict=True):
        yield (new - old) * ((first + second) / 2)


def _at(taps: Taps, x: Tensor, target: Tensor) -> _Point:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits, branches = taps.run(x)
        logit = logits.gather(1, target[:, None])[:, 0]
        gradients = torch.autograd.grad(logit.sum(), [x, *branches])
    found = [branch.detach() for branch in branches]
    return _Point(x.detach(), found, gradients, logit.detach().double())


def integrated_gradients(taps: Taps, target: Tensor, *, steps: int) -> Attribution:
    """Give the integrated gradients of all branches together, from zero to what they are.

    Σ over the elements of G of G·∫ ∂f/∂G(α·G_1, …, α·G_n) dα, each branch being a free input of
    what follows (Sundararajan, Taly & Yan 2017, Axiomatic attribution for deep networks, Eq. 1,
    https://arxiv.org/abs/1703.01365): what captum's LayerIntegratedGradients gives for a list of
    layers, whose outputs it all puts in place, without running the branches at each point. The
    gradient is therefore through the skips alone: what a branch does by changing later branches is
    not in it. By completeness the sum over blocks is f(x) - f(all branches dropped).

    All branches move together, because one alone, from zero to what it is, would give just what
    the logit loses where it is dropped: the lesion itself, not a predictor of it.

    Args:
        taps: of a pass.
        target: `(sample,)` the class whose logit f is.
        steps: points of the Gauss-Legendre rule.
    """
    rest = taps.rest()
    found = (
        _captum()
        .IntegratedGradients(rest)
        .attribute(
            rest.branches,
            target=target,
            n_steps=steps,
            internal_batch_size=len(target),  # recorded views say how many samples there are
        )
    )
    blocks = taps.by_block(rest.laid_out(found))
    with torch.no_grad():
        whole = rest(*rest.branches)
        dropped = rest(*(torch.zeros_like(branch) for branch in rest.branches))
        change = (whole.double() - dropped.double()).gather(1, target[:, None])[:, 0]
    return Attribution(blocks, blocks.sum(1) - change)


def gradient_x_activation(taps: Taps, target: Tensor) -> Attribution:
    """Give Σ over the elements of G of G·∂f/∂G, through everything that follows G, by captum.

    Nothing is integrated, so the delta is NaN.

    Args:
        taps: of a pass.
        target: `(sample,)` the class whose logit f is.
    """
    with warnings.catch_warnings():
        # of the input, which needs no gradient here
        warnings.filterwarnings("ignore", message="Input Tensor", category=UserWarning)
        method = _captum().LayerGradientXActivation(taps, list(taps.taps))
        found = method.attribute(taps.x.detach(), target=target)
    blocks = taps.by_block([part.detach() for part in found])
    return Attribution(blocks, torch.full_like(blocks[:, 0], torch.nan))


def _captum() -> Any:
    """Give captum's methods, without what its progress bar says in a notebook of its widgets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress")
        from captum import attr
    return attr
