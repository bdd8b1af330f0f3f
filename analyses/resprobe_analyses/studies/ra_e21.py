"""RA-E21: when the linear RevNet neither grows nor shrinks, in exact arithmetic."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from resprobe_analyses.studies.evidence import Check, Evidence
from resprobe_analyses.studies.exact import ROUNDOFF, equal, exact_scales, within
from resprobe_analyses.studies.study import Study

Matrix = tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]
Pair = tuple[Fraction, Fraction]
Step = Callable[[Pair, Pair], Pair]

LOWEST, HIGHEST = Fraction(-4), Fraction(0)
# The dense grid: alpha and beta from -5 to 5.
GRID = tuple(Fraction(n, 10) for n in range(-50, 51))
DRAWS = 5000
# How close to the borders αβ is put, on either side.
NEAR = Fraction(1, 2**60)
IDENTITY: Matrix = ((Fraction(1), Fraction(0)), (Fraction(0), Fraction(1)))


def revnet_step(state: Pair, coefficients: Pair) -> Pair:
    """Give (Y, Z) after one block: Y + β·Z, then Z + α·Y with the new Y."""
    (y, z), (alpha, beta) = state, coefficients
    y += beta * z
    return y, z + alpha * y


def matrix_of(step: Step, coefficients: Pair) -> Matrix:
    """Give the matrix of a linear step, from what it makes of the two unit states."""
    first = step((Fraction(1), Fraction(0)), coefficients)
    second = step((Fraction(0), Fraction(1)), coefficients)
    return ((first[0], second[0]), (first[1], second[1]))


def characteristic(matrix: Matrix) -> Pair:
    """Give trace and determinant, the coefficients of ξ² - trace·ξ + determinant."""
    (a, b), (c, d) = matrix
    return a + d, a * d - b * c


def both_of_modulus_one(matrix: Matrix) -> bool:
    """Tell whether both eigenvalues have modulus 1, from traces and determinants alone.

    Complex ones are a pair of squared modulus det. Real ones lie on the unit circle only at 1 and
    -1, so that (ξ - 1)², (ξ + 1)² or ξ² - 1 is the characteristic polynomial.
    """
    trace, det = characteristic(matrix)
    if trace * trace < 4 * det:
        return det == 1
    return (abs(trace) == 2 and det == 1) or (trace == 0 and det == -1)


def claimed(product: Fraction, lowest: Fraction = LOWEST, highest: Fraction = HIGHEST) -> bool:
    """Tell whether αβ lies in the claimed range, borders included."""
    return lowest <= product <= highest


def measure(
    step: Step = revnet_step, lowest: Fraction = LOWEST, highest: Fraction = HIGHEST
) -> Evidence:
    """Compare the eigenvalues of a linear block with the range of αβ that is claimed.

    Args:
        step: one block on the state (Y, Z) with the coefficients (alpha, beta).
        lowest: end of the range in which both eigenvalues have modulus 1, itself included.
        highest: its other end.
    """
    from resprobe_analyses.studies.ra_e21_figure import labelled, modulus_figure

    grid = [(alpha, beta) for alpha in GRID for beta in GRID]
    places = {
        f"a grid of {len(GRID)}×{len(GRID)} in [-5, 5]²": grid,
        f"{DRAWS:,} random fractions in [-5, 5]²": list(_random_pairs()),
        "the borders, and 2^-60 inside and outside of them": list(_near_borders(lowest, highest)),
    }
    checks = [
        _range_check(f"both |ξ| = 1 exactly where {lowest} ≤ αβ ≤ {highest}: {name}",
                     step, pairs, lowest, highest)
        for name, pairs in places.items()
    ]  # fmt: skip
    polynomials = sum(
        characteristic(matrix_of(step, pair)) == (2 + pair[0] * pair[1], Fraction(1))
        for pair in grid
    )
    checks.append(
        equal("blocks on the grid whose polynomial is that of Eq. 21", polynomials, len(grid))
    )
    checks.append(_double_roots(step))
    moduli, off, bound = _in_float64(step, grid, lowest, highest)
    checks.append(
        within(
            "eigenvalues by LAPACK in the range, largest ||ξ| - 1|",
            off,
            bound,
            expected="1, to the square root of rounding",
        )
    )
    axis = np.array([float(value) for value in GRID])
    dataset = labelled(axis, moduli.reshape(len(GRID), len(GRID)))
    return Evidence(
        checks=tuple(checks),
        notes=(
            "At double roots rounding of size e moves an eigenvalue by √e: the bound of LAPACK's "
            "eigenvalues is √(16·u·(√2·‖M‖ + 2·‖M‖²)), from a backward error of 16 units of "
            "roundoff and the largest ‖M‖_F on the grid; the other checks compare fractions.",
            "The paper says that the roots have modulus 1 if a² ≤ 1, and that they have not where "
            "α and β are positive; that they have it nowhere else is added here.",
            "|ξ| = 1 alone is not stability: at αβ = 0 and -4 the roots are double, and "
            "unless α = β = 0 the features grow in proportion to the depth.",
            "The range holds for either choice of signs, α > 0 > β and α < 0 < β; "
            "the text names the first.",
        ),
        dataset=dataset,
        figures={"modulus": modulus_figure(dataset)},
    )


def _range_check(  # what is compared, where, with what
    name: str, step: Step, pairs: Sequence[Pair], lowest: Fraction, highest: Fraction
) -> Check:
    inside = [claimed(alpha * beta, lowest, highest) for alpha, beta in pairs]
    found = [both_of_modulus_one(matrix_of(step, pair)) for pair in pairs]
    wrong = sum(a != b for a, b in zip(inside, found, strict=True))
    measured = f"{wrong} exceptions in {len(pairs):,}, {sum(inside):,} of them in the range"
    return Check(name, measured, "no exception", wrong == 0 < sum(inside) < len(pairs))


def _random_pairs() -> Iterator[Pair]:
    draw = random.Random(0)
    for _ in range(DRAWS):
        yield Fraction(draw.randint(-640, 640), 128), Fraction(draw.randint(-315, 315), 63)


def _near_borders(lowest: Fraction, highest: Fraction) -> Iterator[Pair]:
    draw = random.Random(1)
    for _ in range(100):
        alpha = Fraction(draw.choice((-1, 1)) * draw.randint(1, 640), 128)
        for border in (lowest, highest):
            for product in (border - NEAR, border, border + NEAR):
                yield alpha, product / alpha
                yield product / alpha, alpha


def _double_roots(step: Step) -> Check:
    """Check that at the borders (M ∓ 1)² = 0 while M ∓ 1 is not 0 but for α = β = 0."""
    halves = [(Fraction(n, 8), product / Fraction(n, 8)) for n in range(-40, 41) if n
              for product in (LOWEST, HIGHEST)]  # fmt: skip
    pairs = [*halves, *((beta, alpha) for alpha, beta in halves)]
    growing = sum(_grows_linearly(matrix_of(step, pair)) for pair in pairs)
    still = matrix_of(step, (Fraction(0), Fraction(0)))
    identity = still == IDENTITY
    return Check(
        "double roots: features grow linearly, but for α = β = 0",
        f"{growing} of {len(pairs)} grow; α = β = 0 {'keeps' if identity else 'changes'} them",
        f"all {len(pairs)} grow, and α = β = 0 keeps them",
        growing == len(pairs) and identity,
    )


def _grows_linearly(matrix: Matrix) -> bool:
    """Tell whether M is ±(1 + N) with N² = 0 and N ≠ 0, whose powers are ±(1 + n·N)."""
    trace, _ = characteristic(matrix)
    root = trace / 2
    (a, b), (c, d) = matrix
    n = ((a - root, b), (c, d - root))
    squared = (
        n[0][0] ** 2 + b * c,
        b * (n[0][0] + n[1][1]),
        c * (n[0][0] + n[1][1]),
        n[1][1] ** 2 + b * c,
    )
    return abs(root) == 1 and not any(squared) and any((*n[0], *n[1]))


def _in_float64(
    step: Step, grid: Sequence[Pair], lowest: Fraction, highest: Fraction
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], float, float]:
    """Give the largest |ξ| at each pair, the largest distance from 1 inside, and its bound."""
    matrices = np.array([matrix_of(step, pair) for pair in grid], dtype=np.float64)
    moduli = np.abs(np.linalg.eigvals(matrices))
    inside = np.array([claimed(alpha * beta, lowest, highest) for alpha, beta in grid])
    size = float(np.linalg.norm(matrices[inside], axis=(1, 2)).max())
    bound = float(np.sqrt(16 * ROUNDOFF * (np.sqrt(2) * size + 2 * size**2)))
    return moduli.max(axis=1), float(np.abs(moduli[inside] - 1).max()), bound


STUDY = Study(
    id="RA-E21",
    version=1,
    claim="In the linear RevNet with G(Y) = α·Y and F(Z) = β·Z both roots of Eq. 21 have "
    "modulus 1 if and only if -4 ≤ αβ ≤ 0.",
    source="Chang et al. (2018), Reversible architectures for arbitrarily deep residual neural "
    "networks, Sec. Reversible architectures and stability, Eq. 21",
    printed={
        "Eq. 21": "ξ² - (2 + αβ)·ξ + 1 = 0",
        "condition": "|ξ| = 1 if a² ≤ 1, a = (2 + αβ)/2",
    },
    contradicted_by="A pair (α, β) in the range with a root off the unit circle, or one "
    "outside the range without.",
    measure=measure,
    primary=None,
    scales=exact_scales("fractions on a dense grid, at random and at the borders", 0.1),
    errata=(
        "The text concludes from |ξ| = 1 that the method is stable; at the double roots, "
        "αβ = 0 or -4, the features grow linearly with depth.",
    ),
)
