"""What is said of the numbers themselves: convergence, estimates, checks, what is absent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses.stability import words
from resprobe_analyses.stability.families import ADDS, LYAPUNOV, SPECTRUM
from resprobe_analyses.stability.quality import quality
from resprobe_analyses.stability.records import Group, Network


def quality_lines(groups: Sequence[Group]) -> list[str]:
    """Say what did not converge, is estimated and was checked; what groups share is said once."""
    said: dict[str, list[str]] = {}
    for group in groups:
        for sentence in _sentences(group):
            said.setdefault(sentence, []).append(group.label)
    return [f"{', '.join(labels)}: {sentence}" for sentence, labels in said.items()]


def _sentences(group: Group) -> list[str]:
    found = quality(group)
    lines = []
    bad = [
        f"{count:,} of {total:,} {name}"
        for name, (count, total) in found.unconverged.items()
        if count
    ]
    total = sum(total for _, total in found.unconverged.values())
    if bad:
        lines.append(
            f"not converged are {', '.join(bad)}; they stay in medians and means, "
            "are hollow in the spectra, and no condition is taken to hold on them."
        )
    elif total:
        kinds = ", ".join(name for name, (_, count) in found.unconverged.items() if count)
        lines.append(f"all {total:,} {kinds} converged.")
    if found.estimated[0]:
        exact = "; the others are exact" if found.estimated[0] < found.estimated[1] else ""
        size = (
            ""
            if not np.isfinite(found.relative_stderr)
            else (f", with standard errors up to {100 * found.relative_stderr:.2g} % of the value")
        )
        lines.append(
            f"{found.estimated[0]:,} of {found.estimated[1]:,} Frobenius norms are "
            f"estimates{size}{exact}."
        )
    lines += _checked(found.relative_error, found.unchecked)
    if np.isfinite(found.exponent_error):
        lines.append(
            "the Lyapunov exponents of whole stages are known to within "
            f"{words.small(found.exponent_error)}."
        )
    if found.without_condition:
        lines.append(
            f"for {found.without_condition:,} spectral abscissas the condition "
            "number was not computed; their error is residual times norm alone, which is too small "
            "where the Jacobian is not normal."
        )
    if found.missing[0]:
        lines.append(
            f"{found.missing[0]:,} of {found.missing[1]:,} Jacobians have no finite "
            "norm and are left out."
        )
    if found.without_log_norm:
        lines.append(
            f"no log norm is finite in {words.listed(found.without_log_norm)}; "
            "collect again, or see the log for why."
        )
    if found.not_square:
        names = found.not_square
        lines.append(
            f"{words.listed(names)} {'has' if len(names) == 1 else 'have'} no "
            "eigenvalues and no log norm, since the Jacobian is not square."
        )
    return lines


def _checked(error: float, unchecked: int) -> list[str]:
    if not np.isfinite(error):
        return ["no Jacobian was checked against a derivative along a direction."]
    rest = f"; {unchecked:,} were not checked" if unchecked else ""
    return [
        f"checked against a derivative along a random direction, the Jacobians "
        f"are off by at most {words.small(error)} of it{rest}."
    ]


def absent_lines(groups: Sequence[Group]) -> list[str]:
    """Name what was not measured and the options that measure it."""
    nets = [net for group in groups for net in group.networks]
    lines = []
    for family, (quantity, what) in ADDS.items():
        without = [net.label for net in nets if _family(net, family) is None]
        if without:
            lines.append(
                f"{words.listed(without, words.MOST_NETWORKS)}: {quantity} was not measured at "
                f"this checkpoint; `resprobe collect` with --quantity +{quantity} adds {what}."
            )
    return lines


def _family(net: Network, family: str) -> object:
    return {SPECTRUM: net.spectrum, LYAPUNOV: net.lyapunov}[family]
