"""ZH-F1: Euler's method on ẋ = -2.3x, x(0) = 1, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import numpy as np

from resprobe_analyses.studies.evidence import Check, Evidence
from resprobe_analyses.studies.exact import equal, exact_scales
from resprobe_analyses.studies.study import Study

RATE = Fraction(23, 10)
LIMIT = 2 / RATE
# The time at which errors are compared, in units of t.
END = 1
# Coarsest to finest; each divides END.
STEPS = tuple(Fraction(1, 2**k) for k in range(13))
# How close to the limit divergence is looked at: h = LIMIT·(1 ± 10^-k).
DISTANCES = tuple(Fraction(1, 10**k) for k in range(1, 13))
# Digits of the decimal arithmetic; the smallest error compared is 6e-5.
DIGITS = 60
SHOWN = (Fraction(1), Fraction(4, 5), Fraction(1, 2), Fraction(1, 4), Fraction(1, 10))

Step = Callable[[Fraction, Fraction], Fraction]


def euler_step(x: Fraction, h: Fraction) -> Fraction:
    """Give x + h·f(x) with f(x) = -2.3·x."""
    return x + h * (-RATE * x)


def solution(step: Step, h: Fraction, steps: int) -> Iterator[Fraction]:
    """Give x_0 = 1, x_1, … x_steps."""
    x = Fraction(1)
    yield x
    for _ in range(steps):
        x = step(x, h)
        yield x


def grows(step: Step, h: Fraction, steps: int = 20) -> bool:
    """Tell whether every step makes |x| larger; a linear step does so always or never."""
    sizes = [abs(x) for x in solution(step, h, steps)]
    return all(after > before for before, after in pairwise(sizes))


def error(step: Step, h: Fraction) -> Decimal:
    """Give |x_n - exp(-2.3·t)| at t = n·h = END, to `DIGITS` digits."""
    steps = int(END / h)
    with localcontext() as context:
        context.prec = DIGITS
        # one step of a linear method multiplies by a number that is exact as a fraction
        factor = step(Fraction(1), h)
        x = (Decimal(factor.numerator) / Decimal(factor.denominator)) ** steps
        rate = Decimal(RATE.numerator) / Decimal(RATE.denominator)
        return abs(x - (-rate * END).exp())


def orders(errors: list[Decimal]) -> list[float]:
    """Give the slope of log error against log h between neighbouring halves of h."""
    return [float((a / b).ln() / Decimal(2).ln()) for a, b in pairwise(errors)]


def measure(step: Step = euler_step, limit: Fraction = LIMIT) -> Evidence:
    """Compare a method with the solution exp(-2.3·t) and with its limit of stability.

    Args:
        step: one step of the method, `step(x, h)`, linear in x.
        limit: the step size above which solutions are said to diverge.
    """
    from resprobe_analyses.studies.zh_f1_figure import euler_figure, labelled

    errors = [error(step, h) for h in STEPS]
    checks = (
        *_divergence(step, limit),
        Check(
            f"error at t = {END} for h = 1, 1/2, … 1/{2 ** (len(STEPS) - 1):,}",
            f"{float(errors[0]):.3g} to {float(errors[-1]):.3g}",
            "smaller with every halving of h",
            all(b < a for a, b in pairwise(errors)),
        ),
        _order(errors),
    )
    dataset = labelled(
        np.array([float(h) for h in STEPS]),
        np.array([float(e) for e in errors]),
        {float(h): np.array([float(x) for x in solution(step, h, int(4 / h))]) for h in SHOWN},
    )
    return Evidence(
        checks=checks,
        notes=(
            "The interval of the order is over pairs of neighbouring step sizes, from the "
            "smallest slope to the largest: nothing is drawn at random, so it is no confidence "
            "interval.",
            f"Solutions for h between {float(1 / RATE):.4g} and {float(LIMIT):.4g} change their "
            "sign at every step and still go to 0; at the upper end they neither grow nor "
            "shrink.",
        ),
        dataset=dataset,
        figures={"euler": euler_figure(dataset, float(RATE), float(LIMIT))},
    )


def _divergence(step: Step, limit: Fraction) -> tuple[Check, ...]:
    below = [limit * (1 - distance) for distance in DISTANCES]
    above = [limit * (1 + distance) for distance in DISTANCES]
    at = [abs(x) for x in solution(step, limit, 20)]
    nearest = f"1e-{len(DISTANCES)}"
    return (
        Check(
            f"h = {limit}·(1 - 10^-k), k up to {len(DISTANCES)}",
            f"{sum(grows(step, h) for h in below)} of {len(below)} grow",
            f"none grows, down to {nearest} below the limit",
            not any(grows(step, h) for h in below),
        ),
        Check(
            f"h = {limit}·(1 + 10^-k), k up to {len(DISTANCES)}",
            f"{sum(grows(step, h) for h in above)} of {len(above)} grow",
            f"all grow, down to {nearest} above the limit",
            all(grows(step, h) for h in above),
        ),
        equal(f"sizes |x| of 20 steps with h = {limit}", sorted(set(map(str, at))), ["1"]),
        equal(
            f"step sizes whose factor is 1 - 2·h/({limit}), in size above 1 only for h > {limit}",
            sum(step(Fraction(1), h) == 1 - 2 * h / limit for h in (*STEPS, *below, *above)),
            len(STEPS) + len(below) + len(above),
        ),
    )


def _order(errors: list[Decimal]) -> Check:
    """Check the order on h ≤ 1/64, each slope within its own h of 1.

    The error is e^(-2.3·t)·a·h·(1 + c·h + …) with c = 0.21 at t = 1, so a slope between h and h/2
    is 1 + c·h/(2 ln 2): within h of 1 with a factor of 6 to spare, and nearer with each halving.
    """
    fine = [place for place, h in enumerate(STEPS[:-1]) if h <= Fraction(1, 64)]
    slopes = orders(errors)
    furthest = max(abs(slopes[place] - 1) / float(STEPS[place]) for place in fine)
    low, high = min(slopes[place] for place in fine), max(slopes[place] for place in fine)
    return Check(
        "order: slope of log error against log h, h from 1/64 on, each within h of 1",
        f"{low:.5f} to {high:.5f}",
        "1",
        furthest <= 1,
        error=furthest,
        bound=1.0,
    )


STUDY = Study(
    id="ZH-F1",
    version=1,
    claim="Euler's method approximates the solution of ẋ = -2.3x, x(0) = 1, better with a smaller "
    "step size h.",
    source="Zhang et al. (2019), Towards robust ResNet, Sec. 3.1, Def. 2, Eq. 2 and Fig. 1",
    printed={"Fig. 1": "curves only"},
    contradicted_by="An error that does not fall with h at the first order, or a solution that "
    "diverges for a step size up to 2/2.3 or does not above.",
    measure=measure,
    primary=None,
    scales=exact_scales("fractions and 60 decimal digits", 0.05),
)
