"""Goes the ways to the Jacobians of a batch until one agrees with the function's derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch

from resprobe.errors import InputError
from resprobe.linalg.agreement import Agreement, relative_errors, tangent, tolerance
from resprobe.linalg.linear_map import Autodiff
from resprobe.linalg.panels import entries as stencil_entries
from resprobe.linalg.pattern import described
from resprobe.linalg.probing import Part, parts
from resprobe.linalg.steps import Diagonal
from resprobe.linalg.ways import NAMES, Way, Ways, ways
from resprobe.memory import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

    from resprobe.linalg.linear_map import LinearMap

# Takes entries: the first of the samples that they are of, and the entries.
Take = Callable[[int, Part], None]

# Entries of a stencil that exist at once where only their norm is wanted.
_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class Problem:
    """Whose Jacobians are wanted.

    Attributes:
        linear_map: at the point.
        function: that it was made of, `(sample, …)` to `(sample, …)`, for vmap.
        independent: the same by other code, for the check; the first that can be differentiated.
        x: the point, `(sample, …)`.
    """

    linear_map: LinearMap
    function: Callable[[Tensor], Tensor]
    independent: tuple[Callable[[Tensor], Tensor], ...]
    x: Tensor


@dataclass
class Attempt:
    """What one way gave.

    Attributes:
        way: that was gone.
        errors: relative error of J v of each sample, float64.
        reasons: name of another way to why it was not.
        notes: what else there is to say.
        trusted: whether no way disagreed with the function before.
        looked: what the errors were found by.
    """

    way: Way
    errors: Tensor
    reasons: dict[str, str]
    notes: list[str]
    trusted: bool
    looked: Looked


@dataclass(frozen=True)
class Looked:
    """J v by entries and by forward differentiation.

    Attributes:
        vector: v, flat, the same for all samples.
        product: by the entries, `(sample, output)`.
        expected: by forward differentiation, `(sample, …)`.
        source: which of the problem's independent functions was differentiated.
    """

    vector: Tensor
    product: Tensor
    expected: Tensor
    source: int

    def finite(self) -> bool:
        """Whether all numbers are."""
        both = (self.product, self.expected)
        return all(bool(torch.isfinite(numbers).all()) for numbers in both)


class DisagreementError(InputError):
    """No way agrees with the function's own derivative.

    Attributes:
        looked: what the last way gave.
    """

    def __init__(self, message: str, looked: Looked) -> None:
        super().__init__(message)
        self.looked = looked


def attempt(problem: Problem, method: str, take: Callable[[Way], Take], *, whole: bool) -> Attempt:
    """Go the ways until one agrees with the function's own derivative.

    Args:
        problem: whose Jacobians.
        method: name of a way, or "auto" for the one predicted fastest.
        take: is called with each way before it is gone, and gives what takes its entries.
        whole: whether the entries are kept, so that there is no point in parts of them.

    Raises:
        DisagreementError: none agrees.
        InputError: the way can't be gone, or a Jacobian is not finite.
    """
    found = ways(problem.linear_map)
    reasons, notes = dict(found.closed), list[str]()
    bound = tolerance(problem.x.dtype, found.terms)
    failed: list[str] = []
    for way in _order(found, method):
        looked = _gone(problem, way, found, take(way), notes, whole=whole, distrust=bool(failed))
        errors = relative_errors(looked.product, looked.expected)
        if bool((errors <= bound).all()):
            _say_others(found, way, reasons, asked=method != "auto")
            return Attempt(way, errors, reasons, [*failed, *notes], not failed, looked)
        if not looked.finite():
            raise InputError(_not_finite(problem.linear_map))
        worst = float(errors.max())
        why = f"its J v was off by {worst:.1e}, where rounding explains {bound:.1e}"
        if worst == float("inf"):
            why = "its J v was not zero, as that of the function itself is"
        reasons[way.name] = why
        failed.append(f"{way.name}: {why}")
    raise DisagreementError(
        f"no Jacobian of this function agrees with its own derivative ({'; '.join(failed)}): is it "
        "the same function each time it is called, differentiable here, and free of .detach()?",
        looked,
    )


def _order(found: Ways, method: str) -> list[Way]:
    """Give the ways to try: the one that was asked for, or the fastest first and dense last."""
    if method != "auto" and method not in NAMES:
        raise InputError(
            f"method={method!r} is no way to a Jacobian; give one of auto, {', '.join(NAMES)}."
        )
    if method in found.closed:
        raise InputError(
            f"method={method!r} can't be used here: {found.closed[method]}; give method='auto' or "
            "'dense'."
        )
    dense = [way for way in found.open if way.name == "dense"]
    if method == "dense" or (method == "auto" and found.open[0].name == "dense"):
        return dense * 2  # the second time without the linear steps
    if method != "auto":
        return [way for way in found.open if way.name == method]
    return [way for way in found.open if way.name != "dense"] + dense


def _not_finite(linear_map: LinearMap) -> str:
    """Say that a Jacobian is not finite, and where that began if it can be seen."""
    where = ""
    for step in getattr(linear_map, "steps", ()):
        if isinstance(step, Diagonal) and not bool(torch.isfinite(step.scale).all()):
            where = f": first the derivative of {described(step)}"
            break
    return (
        f"the Jacobian is not finite here{where}; measure at another point, or look for a division "
        "by zero or a square root of 0."
    )


def _say_others(found: Ways, chosen: Way, reasons: dict[str, str], *, asked: bool) -> None:
    """Add to the reasons why those ways were not gone that could have been."""
    for way in found.open:
        if way.name == chosen.name or way.name in reasons:
            continue
        predicted = f"{way.seconds * 1e3:.3g} ms, {chosen.name} {chosen.seconds * 1e3:.3g} ms"
        reasons[way.name] = (
            f"{chosen.name} was asked for (predicted: {predicted})"
            if asked
            else f"predicted to take {predicted}"
        )


def _gone(
    problem: Problem,
    way: Way,
    found: Ways,
    take: Take,
    notes: list[str],
    *,
    whole: bool,
    distrust: bool,
) -> Looked:
    """Go a way; give J v by it and by differentiation."""
    linear_map, x = problem.linear_map, problem.x
    if way.name == "vmap" or (way.name == "dense" and distrust):
        linear_map = Autodiff(problem.function, x)
    try:
        if way.plan is not None:
            products, vector = _by_stencil(way, linear_map.samples, x, take, whole=whole)
        else:
            agreement = Agreement(way.layout, linear_map.samples, x)
            for part in parts(linear_map, way.layout, found.largest, notes.append):
                agreement.add(part)
                take(0, part)
            products, vector = agreement.product(), agreement.vector
    except NotImplementedError as error:
        raise InputError(
            f"an operation of the function has no derivative that {way.name} needs: "
            f"{str(error).splitlines()[0]}; build it of operations that have one."
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(f"memory ran out: {too_large(way, samples=1, example=x)}") from error
    v = vector.expand(len(x), -1)
    return Looked(vector, products, *tangent(problem.independent, x, v))


def too_large(way: Way, samples: int, example: Tensor) -> str:
    """Say how large Jacobians are and what to do instead of having them."""
    size = samples * way.layout.probes * prod(way.layout.read) * example.element_size() / 2**30
    which, fewer = f"this Jacobian ({way.name}) takes", ""
    if samples > 1:
        which, fewer = f"these {samples} Jacobians ({way.name}) take", "fewer samples at once, "
    return (
        f"{which} {size:.2g} GB; measure {fewer}a smaller input, or norms by products alone: "
        "resprobe.linalg.frobenius.frobenius_norms or resprobe.linalg.lanczos.spectral_norms of "
        "what resprobe.linalg.linearise.linearise gives."
    )


def _by_stencil(
    way: Way, samples: int, example: Tensor, take: Take, *, whole: bool
) -> tuple[Tensor, Tensor]:
    """Give J v of each sample, and v."""
    assert way.plan is not None
    plan, colours = way.plan, slice(0, len(way.layout.places))
    width = way.channels if whole else max(1, min(way.channels, _AT_ONCE // plan.numbers))
    products = []
    for sample in range(samples):
        agreement = Agreement(way.layout, 1, example)
        for start in range(0, plan.channels, width):
            channels = slice(start, min(plan.channels, start + width))
            entries = stencil_entries(plan, sample, channels, example)
            part = Part(channels, colours, entries.unsqueeze(2))
            agreement.add(part)
            take(sample, part)
        products.append(agreement.product())
    return torch.cat(products), agreement.vector
