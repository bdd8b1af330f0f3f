"""The findings in plain sentences: pairs first, then weights, then errors, then what is absent."""

from __future__ import annotations

import numpy as np

from resprobe_analyses.difference import difference_lines
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
    for group in told:
        lines += _weights(group) + (_weights(group, partner=True) if group.partners else [])
    lines += difference_lines(found.differences)
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
        f"{words.apart(pairs.largest('output'), unit)} and the gradients by "
        f"{words.apart(pairs.largest('gradient'), unit)} ({_several(pairs)}; a unit is "
        f"{words.size(unit)} of the largest number, in {pairs.dtype})."
    )


def _lockstep(pairs: Pairs) -> str:
    last = max(member.lockstep for member in pairs.members)
    unit = pairs.members[0].pair.unit
    weight, gradient, output = (
        words.apart(pairs.largest_after(what), unit) for what in ("weight", "gradient", "output")
    )
    return (
        f"{_name(pairs)}: after {words.steps(last)} in lockstep the weights differ by {weight}, "
        f"and in the last of these steps the gradients by {gradient} and the outputs by {output} "
        f"({_several(pairs)})."
    )


def _growth(pairs: Pairs) -> str:
    name = _name(pairs)
    counts = [member.divergence for member in pairs.members]
    rows = sum(member.pair.step.size for member in pairs.members)
    zeros, odd = sum(one.zeros for one in counts), sum(one.not_finite for one in counts)
    # what is equal differs by less than the rounding of the losses
    left_out = (
        f"; the {zeros} of {words.steps(rows)} at which the losses are equal are left out, so "
        "small differences count too little"
        if zeros
        else ""
    )
    left_out += f"; {odd} of {words.steps(rows)}, not finite, are left out" if odd else ""
    if pairs.slope is None or pairs.start is None:
        return f"{name}: too few steps have a difference of the losses for a line{left_out}."
    return (
        f"{name}: log10 of the difference of the two losses, a line fitted for each seed, is "
        f"{words.value_of(pairs.start, _two)} at step 1 and changes by "
        f"{words.value_of(pairs.slope)} a step ({words.basis(pairs.slope)}"
        f"{_tenfold(float(pairs.slope.value))}), with no point farther than "
        f"{words.size(pairs.farthest)} powers of ten from its line{left_out}.{_saturated(pairs)}"
    )


def _saturated(pairs: Pairs) -> str:
    """Say where a straight line is not what the difference follows."""
    if not pairs.saturated:
        return ""
    return (
        " The difference saturates: in the last quarter of the steps it changes by "
        f"{words.signed(pairs.late)} a step, so the line tells no rate."
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


def _weights(group: Group, *, partner: bool = False) -> list[str]:
    residual = group.networks[0].own.residual
    if partner and residual is not None:
        residual = not residual
    whose = "transferred weights of " if residual else ""
    whose += "the partner of " if partner else ""
    lines = []
    for when in ("start", "end"):
        states = group.states(when, partner=partner)
        if not states:
            continue
        steps = sorted({state.step for state in states})
        place = "" if steps[0] < 0 else f" at step {' or '.join(map(str, steps))}"
        table = group_table(group, when, partner=partner)
        if "mass" not in table:
            return [f"{group.label} has no convolutions, so Table 3 has no numbers."]
        value = {name: float(one.value) for name, one in table.items()}
        told = ""
        if value.get("ID mass"):
            share, large = (
                words.percent(value.get(name, np.nan)) for name in ("ID share", "large ID share")
            )
            alone = f", and ID entries of |w| ≥ 0.25 alone are {large} of it"
            told = (
                f"; the {words.size(value['ID entries'])} ID entries have the mass "
                f"{words.size(value['ID mass'])}, which beside that of all |w| ≥ 0.25 is "
                f"{words.estimated(table['ID share'], words.percent)}"
                f"{'' if partner else _printed(group, when)}{alone if large != share else ''}"
                if "ID share" in table
                else f"; the ID entries have the mass {words.size(value['ID mass'])}"
            )
        lines.append(
            f"{whose}{group.label}{place}: mean {words.size(value['mean'])}, standard deviation "
            f"{words.size(value['standard deviation'])}, mass (Σ|w|) {words.size(value['mass'])} "
            f"and that of |w| ≥ 0.25 {words.size(value['large mass'])}; "
            f"{words.size(value['above 0.7'])} weights lie above 0.7{told}."
        )
    return lines


def _printed(group: Group, when: str) -> str:
    """Recall what the paper prints after training, of depth 32 and 200 epochs."""
    residual = group.networks[0].own.residual
    if when == "start" or residual is None:
        return ""
    share = "76 %" if residual else "10.29 %"
    return f" (Yu & Tomasi 2019 print {share} for depth 32 after 200 epochs on CIFAR-10)"
