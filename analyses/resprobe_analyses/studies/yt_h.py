"""YT-H: the spread of freshly drawn weights, Kaiming's and Hardt and Ma's, with either fan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from scipy import stats

from resprobe import registry
from resprobe_analyses.studies.evidence import Check, Evidence, Floats
from resprobe_analyses.studies.exact import exact_scales
from resprobe_analyses.studies.exact_networks import seeded
from resprobe_analyses.studies.study import Study

if TYPE_CHECKING:
    from torch import Tensor, nn

Scheme = Literal["kwi", "hmwi"]
Fan = Literal["in", "out"]
Make = Callable[[Scheme, Fan], "nn.Module"]

DEPTH = 32
DRAWS: tuple[tuple[Scheme, Fan], ...] = (
    ("kwi", "in"),
    ("kwi", "out"),
    ("hmwi", "in"),
    ("hmwi", "out"),
)
NAMES = {"kwi": "KWI", "hmwi": "HMWI"}
# Six shapes of kernels and one test of the distribution for each of four draws.
CHECKS = 4 * (6 + 1)
# A false alarm in a thousand over all checks, shared out by Bonferroni.
ALARM = 0.001 / CHECKS


def make(scheme: Scheme, fan: Fan) -> nn.Module:
    """Build the network of depth 32, residual with HMWI and plain with KWI, each from its seed."""
    with seeded(DRAWS.index((scheme, fan))):
        network: nn.Module = registry.load("models", "simplified-resnet")(
            depth=DEPTH, initialisation=scheme, fan=fan, residual=scheme == "hmwi"
        )
    return network


def expected(scheme: Scheme, fan: Fan, shape: tuple[int, ...]) -> float:
    """Give √(2/S) or 1/S, S = 9 times the input or the output channels of a 3×3 kernel."""
    size = 9 * (shape[1] if fan == "in" else shape[0])
    return math.sqrt(2 / size) if scheme == "kwi" else 1 / size


def size_interval(weights: Floats) -> tuple[float, float, float]:
    """Give the root mean square of weights of mean 0 and its chi-square interval, 1 - `ALARM`."""
    total = float(np.square(weights).sum())
    low, high = (
        total / stats.chi2.isf(share, weights.size) for share in (ALARM / 2, 1 - ALARM / 2)
    )
    return math.sqrt(total / weights.size), math.sqrt(low), math.sqrt(high)


def measure(build: Make = make) -> Evidence:
    """Draw four networks and compare the spread of every shape of kernel with Eqs. 3 and 4.

    Args:
        build: gives a network with a scheme and a fan.
    """
    checks: list[Check] = []
    masses = {}
    for scheme, fan in DRAWS:
        network = build(scheme, fan)
        checks += _checks(network, scheme, fan)
        masses[scheme, fan] = weight_mass(network, transferred=scheme == "hmwi")
    return Evidence(checks=tuple(checks), notes=_notes(masses))


def kernels(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Give name and weight of every convolution."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4:
            yield name, parameter.detach()


def weight_mass(network: nn.Module, *, transferred: bool) -> float:
    """Give the sum of |w| over all kernels; `transferred`: with 1 added at the ID entries.

    Args:
        network: a simplified one.
        transferred: whether to take the weights of the plain network that equals it.
    """
    entries = cast("Callable[[], dict[str, Tensor]]", network.id_entries)()
    total = 0.0
    for name, weight in kernels(network):
        moved = transferred and name in entries
        total += float((weight + entries[name] if moved else weight).double().abs().sum())
    return total


def _checks(network: nn.Module, scheme: Scheme, fan: Fan) -> Iterator[Check]:
    by_shape: dict[tuple[int, ...], list[Floats]] = {}
    for _, weight in kernels(network):
        values = weight.flatten().numpy().astype(np.float64)
        by_shape.setdefault(tuple(weight.shape), []).append(values)
    standard = []
    name = f"{NAMES[scheme]}, fan-{fan}"
    for shape, parts in by_shape.items():
        weights, claim = np.concatenate(parts), expected(scheme, fan, shape)
        value, low, high = size_interval(weights)
        standard.append(weights / claim)
        yield Check(
            f"{name}: sd of {weights.size:,} weights, {shape[1]} to {shape[0]} channels",
            f"{value:.5g} [{low:.5g}, {high:.5g}]",
            f"{claim:.5g}",
            low <= claim <= high,
        )
    p_value = float(stats.kstest(np.concatenate(standard), "norm").pvalue)
    yield Check(
        f"{name}: weights over their sd against a normal distribution, Kolmogorov and Smirnov",
        f"p = {p_value:.2g}",
        f"p of {ALARM:.1g} or more",
        p_value >= ALARM,
    )


def _notes(masses: dict[tuple[Scheme, Fan], float]) -> tuple[str, ...]:
    kwi, hmwi = ([_as_printed(masses[scheme, fan]) for fan in ("in", "out")]
                 for scheme in ("kwi", "hmwi"))  # fmt: skip
    return (
        f"Each interval holds at a level of 1 - {ALARM:.1g}, so that all {CHECKS} checks together "
        "give a false alarm once in a thousand draws.",
        f"Table 3 prints 1900 as the sum of |w| of the residual network, made plain, of depth "
        f"{DEPTH} before training. With S of Eq. 4, from the input channels, it is {hmwi[0]}; "
        f"with S from the output channels it is {hmwi[1]}.",
        f"For the plain network it prints 25 000; with S of Eq. 3 the sum is {kwi[0]}, with the "
        f"output channels {kwi[1]}. All convolutions count, the stem too, the linear layer does "
        "not.",
    )


def _as_printed(mass: float) -> str:
    """Write a sum as it is and to the two digits of Table 3."""
    return f"{mass:,.0f}, to two digits {float(f'{mass:.1e}'):,.0f}"


STUDY = Study(
    id="YT-H",
    version=1,
    claim="Weights are drawn from a normal distribution of mean 0 and standard deviation √(2/S) "
    "by KWI and 1/S by HMWI.",
    source="Yu and Tomasi (2019), Identity connections in residual nets improve noise stability, "
    "appendix A, Eqs. 3 and 4",
    printed={"Eq. 3": "√(2/S), S = C·U·V", "Eq. 4": "1/S, S = C·U·V"},
    contradicted_by="A shape of kernel whose drawn weights have another spread than the formula, "
    "beyond chance, with S from the input or from the output channels.",
    measure=measure,
    primary=None,
    scales=exact_scales("all convolutions of depth 32 at full width, drawn four times", 0.1),
    errata=(
        "Eq. 4 takes S from the input channels; Table 3's sum of weights before training, 1900, "
        "needs the output channels.",
    ),
)
