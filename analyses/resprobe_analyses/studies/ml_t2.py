"""ML-T2: the training time that the multi-level method saves in theory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from resprobe_analyses.studies.evidence import Check, Evidence
from resprobe_analyses.studies.exact import equal, exact_scales
from resprobe_analyses.studies.study import Study

# Number of interpolations to the printed percentage.
TABLE = {0: 0, 1: 25, 2: 42, 3: 53, 4: 61, 5: 67}
EPOCHS, INTERPOLATED_AT = 160, (60, 110)

Formula = Callable[[int], Fraction]


def saved_in_equal_cycles(interpolations: int) -> Fraction:
    """Give the share of time saved, 1 - (2^(k+1) - 1)/(2^k·(k + 1)), for k interpolations."""
    k = interpolations
    return 1 - Fraction(2 ** (k + 1) - 1, 2**k * (k + 1))


def saved_by_epochs(epochs: int, interpolated_at: Sequence[int]) -> Fraction:
    """Walk through a training and give the share of block passes that it saves.

    Args:
        epochs: of the training.
        interpolated_at: the epochs after which every block becomes two.

    Returns:
        1 minus the blocks run over all epochs, divided by those of the deepest network trained as
        long.
    """
    blocks, run = 1, 0
    for epoch in range(epochs):
        if epoch in interpolated_at:
            blocks *= 2
        run += blocks
    return 1 - Fraction(run, blocks * epochs)


def measure(formula: Formula = saved_in_equal_cycles) -> Evidence:
    """Compare the table with the formula and the formula with trainings walked through.

    Args:
        formula: gives the share of time saved by a number of interpolations at equal distances.
    """
    checks: list[Check] = []
    for k, printed in TABLE.items():
        saved = formula(k)
        name = f"{k} interpolations"
        checks.append(equal(f"{name}, in whole per cent", round(100 * saved), printed))
        length = 60 * (k + 1)
        walked = saved_by_epochs(length, range(60, length, 60))
        checks.append(equal(f"{name}, epoch by epoch", _percent(saved), _percent(walked)))
    real = saved_by_epochs(EPOCHS, INTERPOLATED_AT)
    checks.append(
        Check(
            "60, 50 and 50 epochs, as in Sec. 5",
            _percent(real),
            "more than 40 %",
            real > Fraction(40, 100),
        )
    )
    return Evidence(
        checks=tuple(checks),
        notes=(
            f"The schedule that the paper trains by, 60, 50 and 50 epochs, saves {_percent(real)} "
            f"by the same argument; {_percent(formula(2))} holds for three cycles of equal length.",
            "The argument counts blocks alone: stem, linear layer and the loading of data do not "
            "double.",
        ),
    )


def _percent(share: Fraction) -> str:
    return f"{100 * share.numerator / share.denominator:.6g} %"


STUDY = Study(
    id="ML-T2",
    version=1,
    claim="With k interpolations that divide the training equally, the multi-level method saves "
    "1 - (2^(k+1) - 1)/(2^k·(k + 1)) of the time.",
    source="Chang et al. (2018), Multi-level residual networks from dynamical systems view, "
    "Sec. 4.2, Table 2",
    printed={f"{k} interpolations": f"{percent} %" for k, percent in TABLE.items()},
    contradicted_by="A number of interpolations for which the time, counted epoch by epoch, is "
    "another one than printed.",
    measure=measure,
    primary=None,
    scales=exact_scales("fractions of whole numbers", 0.01),
    errata=(
        "The measured time saved is called more than 40 %; Table 3 has 162 of 266 minutes for "
        "ResNet-122 on STL-10, which is 39.1 %.",
    ),
)
