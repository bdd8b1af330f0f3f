"""The findings in plain sentences: pairs first, then weights, then errors, then what is absent."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.equivalence import words
from resprobe_analyses.equivalence.effects import Contrast, Effect, Pairs, group_table
from resprobe_analyses.equivalence.networks import Group
from resprobe_analyses.equivalence.recipes import PENALTY
from resprobe_analyses.equivalence.sentences_absent import absent
from resprobe_analyses.equivalence.sentences_sides import side_sentences


def summary(found: Effect) -> str:
    """Say what was found, one sentence a line.

    Args:
        found: what was computed.
    """
    lines = []
    for pairs in sorted(found.pairs, key=lambda one: one.group.control):
        lines += [_start(pairs), _lockstep(pairs), _growth(pairs)]
    lines += [_separation(one) for one in found.separations]
    lines += [_rounding(one) for one in found.roundings]
    # a control has the weights of the pairs that it stands beside
    told = [group for group in found.groups if not group.control] or found.groups
    lines += [line for group in told for line in _weights(group)]
    lines += [line for side in found.sides for line in side_sentences(side)]
    return "\n".join([*lines, *absent(found)])


def _name(pairs: Pairs) -> str:
    if not pairs.group.control:
        return pairs.group.label
    keys = pairs.group.networks[0].changes
    changes = " and ".join("penalty" if key == PENALTY else key for key in keys)
    return f"{pairs.group.label} (negative control: the partner trained with another {changes})"


def _several(pairs: Pairs) -> str:
    count = len(pairs.members)
    return "this pair" if count == 1 else f"the largest of {count} pairs"


def _start(pairs: Pairs) -> str:
    name, unit = _name(pairs), pairs.members[0].pair.unit
    if np.isnan(pairs.largest("output")):
        return f"{name}: step 1 was not recorded, so the starting networks are not compared."
    return (
        f"{name}: at the starting weights the outputs differ by "
        f"{words.size(pairs.largest('output'))} and the gradients by "
        f"{words.size(pairs.largest('gradient'))} units of rounding ({_several(pairs)}; a unit is "
        f"{words.size(unit)} of the largest number, in {pairs.dtype})."
    )


def _lockstep(pairs: Pairs) -> str:
    last = max(member.lockstep for member in pairs.members)
    return (
        f"{_name(pairs)}: after {words.steps(last)} in lockstep the weights differ by "
        f"{words.size(pairs.largest_after('weight'))} units of rounding, and in the last of these "
        f"steps the gradients by {words.size(pairs.largest_after('gradient'))} and the outputs by "
        f"{words.size(pairs.largest_after('output'))} ({_several(pairs)})."
    )


def _growth(pairs: Pairs) -> str:
    name = _name(pairs)
    counts = [member.divergence for member in pairs.members]
    rows = sum(member.pair.step.size for member in pairs.members)
    zeros, odd = sum(one.zeros for one in counts), sum(one.not_finite for one in counts)
    left_out = f"; at {zeros} of {words.steps(rows)} it is exactly 0" if zeros else ""
    left_out += f"; at {odd} of {words.steps(rows)} it is not finite" if odd else ""
    left_out += ", which the line leaves out" if left_out else ""
    # what is left out is small, so what stays is large
    left_out += " and so starts too high" if zeros else ""
    if pairs.slope is None or pairs.start is None:
        return f"{name}: too few steps have a difference of the losses for a line{left_out}."
    return (
        f"{name}: log10 of the difference of the two losses, a line fitted for each seed, is "
        f"{words.value_of(pairs.start, _two)} at step 1 and changes by "
        f"{words.value_of(pairs.slope)} a step ({words.basis(pairs.slope)}"
        f"{_tenfold(float(pairs.slope.value))}){left_out}."
    )


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _tenfold(slope: float) -> str:
    """Say in how many steps a difference becomes tenfold."""
    return f"; tenfold in {words.size(1 / slope)} steps" if slope > 0 else ""


def _separation(one: Contrast) -> str:
    start = f"{one.first} (negative control) beside {one.second}: after {words.steps(one.step)} the"
    if one.ratio is None:
        return f"{start} distances of the weights have no ratio{_without_ratio(one)}."
    return (
        f"{start} weights are {words.value_of(one.ratio, words.size)} times as far apart "
        f"({words.basis(one.ratio)}){_without_ratio(one)}."
    )


def _rounding(one: Contrast) -> str:
    start = f"{one.first} (float32) beside {one.second} (float64): the first"
    if one.ratio is None:
        return f"{start} differences of the losses have no ratio{_without_ratio(one)}."
    return (
        f"{start} difference of the losses that is not 0 is {words.value_of(one.ratio, _power)} "
        f"times as large ({words.basis(one.ratio)}){_without_ratio(one)}; rounding itself is 2^29 "
        "times coarser."
    )


def _without_ratio(one: Contrast) -> str:
    if not one.left_out:
        return ""
    seeds = "1 seed" if one.left_out == 1 else f"{one.left_out} seeds"
    return f"; in {seeds} one of the two is always 0 or not finite"


def _power(value: float) -> str:
    return f"2^{np.log2(value):.1f}"


def _weights(group: Group) -> list[str]:
    whose = {True: "transferred weights of ", False: "", None: ""}[group.networks[0].own.residual]
    lines = []
    for when in ("start", "end"):
        states = group.states(when)
        if not states:
            continue
        steps = sorted({state.step for state in states})
        place = "" if steps[0] < 0 else f" at step {' or '.join(map(str, steps))}"
        table = group_table(group, when)
        if "mass" not in table:
            return [f"{group.label} has no convolutions, so Table 3 has no numbers."]
        value = {name: float(one.value) for name, one in table.items()}
        told = ""
        if value.get("ID mass"):
            told = (
                f"; the {words.size(value['ID entries'])} ID entries have the mass "
                f"{words.size(value['ID mass'])}, which beside that of all |w| ≥ 0.25 is "
                f"{words.estimated(table['ID share'], words.percent)}"
                f"{_printed(group, when)}, and ID entries of |w| ≥ 0.25 alone are "
                f"{words.percent(value['large ID share'])} of it"
                if "ID share" in table
                else f"; the ID entries have the mass {words.size(value['ID mass'])}"
            )
        lines.append(
            f"{whose}{group.label}{place}: mean {words.size(value['mean'])}, standard deviation "
            f"{words.size(value['standard deviation'])}, mass {words.size(value['mass'])}, of "
            f"|w| ≥ 0.25 {words.size(value['large mass'])}, "
            f"{words.size(value['above 0.7'])} above 0.7{told}."
        )
    return lines


def _printed(group: Group, when: str) -> str:
    """Recall what the paper prints after training, of depth 32 and 200 epochs."""
    residual = group.networks[0].own.residual
    if when == "start" or residual is None:
        return ""
    share = "76 %" if residual else "10.29 %"
    return f" (Yu & Tomasi 2019 print {share} for depth 32 after 200 epochs on CIFAR-10)"
