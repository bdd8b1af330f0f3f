"""Images of vectors under the successive products of the Jacobians of a chain of functions.

One set of vectors is carried through all functions, so that every beginning of the chain, from the
first function to the second, the third and so on, costs no more than the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from resprobe.errors import InputError
from resprobe.linalg.forward_mode import jvp
from resprobe.linalg.frobenius import from_images, squared_norm_of_images
from resprobe.linalg.precision import full_precision

if TYPE_CHECKING:
    from torch import Tensor


class Link(Protocol):
    """One function of a chain: takes a point and tangents there, gives those behind it."""

    def __call__(self, x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Give the function's value and J of every tangent.

        Args:
            x: `(sample, …)`.
            tangents: `(probe, sample, …)`.
        """
        ...


def differentiated(function: Callable[[Tensor], Tensor]) -> Link:
    """Give the link of any function of `(sample, …)` that torch.func can differentiate."""

    def push(x: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        def one(tangent: Tensor) -> Tensor:
            return jvp(function, (x,), (tangent,))

        with full_precision(x.device):
            images: Tensor = torch.func.vmap(one)(tangents)
            with torch.no_grad():
                return function(x), images.detach()

    return push


def squared_images(links: Sequence[Link], x: Tensor, tangents: Tensor) -> Iterator[Tensor]:
    """Give the squared norms of the images behind each link, in order.

    Args:
        links: in order.
        x: where the first starts, `(sample, …)`.
        tangents: `(probe, sample, …)`.

    Yields:
        `(probe, sample)` float64.
    """
    for link in links:
        x, tangents = link(x, tangents)
        yield squared_norm_of_images(tangents)


class ChainNorms(NamedTuple):
    """Estimates of ‖J‖_F for every beginning of a chain, each `(link, sample)`.

    Attributes:
        values: float64.
        stderr: their standard errors, float64.
        settled: whether the standard error met its target, bool.
    """

    values: Tensor
    stderr: Tensor
    settled: Tensor


def frobenius_norms(
    links: Sequence[Link],
    x: Tensor,
    draw: Callable[[int], Iterable[Tensor]],
    *,
    relative_error: float,
    at_most: int,
) -> ChainNorms:
    """Estimate ‖J‖_F of every beginning of a chain from random signs (Hutchinson).

    An estimate that has met the target takes no further probes, so that it does not depend on the
    other samples, nor on how long the chain is.

    Args:
        links: in order.
        x: where the first starts, `(sample, …)`.
        draw: gives the next signs, `(probe, sample, …)` in one or more parts; called with how many
            probes there were before.
        relative_error: the target for standard error / norm.
        at_most: probes, after which it is given up.

    Raises:
        InputError: a Jacobian is not finite.
    """
    shape = (len(links), len(x))
    seen = torch.empty((0, *shape), dtype=torch.float64, device=x.device)
    value, error = seen.sum(dim=0), seen.sum(dim=0)
    settled = torch.zeros(shape, dtype=torch.bool, device=x.device)
    while len(seen) < at_most and not bool(settled.all()):
        more = [torch.stack(list(squared_images(links, x, z)), dim=1) for z in draw(len(seen))]
        seen = torch.cat([seen, *more])
        if not bool(torch.isfinite(seen).all()):
            raise InputError(
                "the Jacobian of a span of blocks holds values that are not finite, so it has no "
                "norm; look whether the network's weights and the block's input are finite."
            )
        new_value, new_error = (part.unflatten(0, shape) for part in from_images(seen.flatten(1)))
        value = torch.where(settled, value, new_value)
        error = torch.where(settled, error, new_error)
        settled |= error <= relative_error * value
    return ChainNorms(value, error, settled)
