"""The findings in plain sentences, made from counts and intervals."""

from __future__ import annotations

from collections.abc import Sequence

from resprobe_analyses.difference import Difference
from resprobe_analyses.stability import words
from resprobe_analyses.stability.records import Group
from resprobe_analyses.stability.runs import measured_runs
from resprobe_analyses.stability.sentences_conditions import condition_lines
from resprobe_analyses.stability.sentences_groups import contrast_lines
from resprobe_analyses.stability.sentences_growth import lyapunov_lines, norm_lines, training_lines
from resprobe_analyses.stability.sentences_quality import absent_lines, quality_lines
from resprobe_analyses.stability.stages import Contrast


def summary(
    groups: Sequence[Group], contrasts: Sequence[Contrast], by_block: Sequence[Difference]
) -> str:
    """Say what was found, one sentence a line, the most important first.

    Args:
        groups: all that were read.
        contrasts: of every two groups.
        by_block: the same block by block, of groups of one architecture.

    Returns:
        Square brackets hold 95 % intervals, and each sentence says what they are over.
    """
    lines: list[str] = []
    for group in groups:
        lines += condition_lines(group)
        lines += lyapunov_lines(group)
        lines += norm_lines(group)
        lines += training_lines(group)
    lines += contrast_lines(contrasts, by_block)
    lines += _why(groups)
    lines += quality_lines(groups)
    return "\n".join([*lines, *absent_lines(groups)])


def _why(groups: Sequence[Group]) -> list[str]:
    """Say once what Eq. 5 leaves open."""
    lines = []
    if not all(group.first.plain for group in groups):
        lines.append(
            "Eq. 5 alone guarantees nothing: it is about one frozen Jacobian, but the Jacobian "
            "changes from block to block, and then all eigenvalues may be imaginary at every time "
            "while the state grows without bound (an example: J = D·M with M antisymmetric and D "
            "in turn diag(ε, 1) and diag(1, ε), ε below 1, by which it grows 1/ε-fold a period)."
        )
        lines.append(
            "Nor does it say anything of a single block: a Jacobian that is not normal lets "
            "perturbations grow at once where its log norm is positive."
        )
        if any(net.spectrum is not None for group in groups for net in group.networks):
            lines.append(
                "A residual proves that an eigenvalue is where it was found, not that none lies "
                "further right: a violation is certain to first order in the error, but that Eq. "
                "5 holds is proved only where the log norm is at most 0."
            )
    unit = words.unit_of(groups)
    units = words.several(unit)
    if any(measured_runs(net) for group in groups for net in group.networks):
        lines.append(
            "The leading exponent is the growth along the direction that a stage stretches most: "
            "where it is positive, some nearby states part by a factor of exp(exponent) a "
            f"{unit} on average; where it is negative, all draw together. A random perturbation "
            f"grows less. The mean of ln σ_max of the {units} is what it would be if all stretched "
            f"the same direction most. All are those of these {units}, not of infinite depth."
        )
    return lines
