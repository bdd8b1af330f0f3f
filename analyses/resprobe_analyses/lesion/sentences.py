"""The findings in plain sentences, made from the intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses.difference import Difference, difference_lines
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.lesion import words
from resprobe_analyses.lesion.contrasts import Contrast
from resprobe_analyses.lesion.curves import Curves
from resprobe_analyses.lesion.effects import PREDICTORS, GroupEffect, NetworkEffect
from resprobe_analyses.lesion.findings import ALPHA, changed_blocks
from resprobe_analyses.lesion.greedy import Greedy
from resprobe_analyses.lesion.sentences_curves import absent_lines, curve_lines
from resprobe_analyses.lesion.sentences_greedy import greedy_lines
from resprobe_analyses.statistics import MINIMUM_SEEDS

MOST_LINES = 25
MOST_NETWORKS = 3  # of a group that are told one by one
PREDICTOR_WORDS = {"branch_shortcut_ratio": "‖G‖/‖s‖", "weight_norm": "the weight norm"}


def summary(
    groups: Sequence[GroupEffect],
    compared: Sequence[Contrast],
    differences: Sequence[Difference],
    several: Curves,
    advised: Sequence[Greedy],
) -> str:
    """Say what was found, one sentence a line, the most important first.

    Args:
        groups: effects by group.
        compared: plain groups beside residual ones.
        differences: groups of one kind beside each other.
        several: curves over several blocks.
        advised: networks with blocks dropped one after the other.

    Returns:
        At most 25 lines. Square brackets hold 95 % intervals, and each sentence says what they
        are over.
    """
    able = [group for group in groups if group.used]
    lines = [line for group in groups for line in _uninterpretable(group)]
    lines += [line for group in able for line in _average(group)]
    lines += difference_lines(differences)
    lines += [line for contrast in compared for line in _contrast(contrast)]
    lines += [line for group in able for line in _blocks(group)]
    lines += [line for group in able for line in _transitions(group)]
    lines += greedy_lines(advised)
    lines += curve_lines(several)
    if able:
        lines += absent_lines(several, advised)
    for name in PREDICTORS:
        lines += [_ranking(group, name) for group in able if not group.group.plain]
    if len(lines) > MOST_LINES:
        kept = MOST_LINES - 1
        rest = len(lines) - kept
        lines = [*lines[:kept], f"{rest} further findings are in verdict.json and dataset.nc."]
    return "\n".join(lines)


def _uninterpretable(group: GroupEffect) -> list[str]:
    return [
        f"{m.network.label} is uninterpretable: its test error "
        f"{words.interval(group, m.test_error)} over {words.images(group)} is worse than half of "
        f"chance ({m.chance_error:.3f} / 2); nothing is said about "
        f"{words.unit(group, 2)}, dropped alone or several of them."
        for m in group.members
        if not m.interpretable
    ]


def _average(group: GroupEffect) -> list[str]:
    if group.within is None or group.test_error is None:
        return []
    name, count = group.group.label, int(group.layout.within.sum())
    number = words.interval(group, group.within, signed=True)
    action = f"dropping one of {count} within-stage {words.unit(group, count)}"
    base = f"from {words.interval(group, group.test_error)}"
    where = f"on average, {words.scope(group, group.within)}"
    if not np.isfinite(group.within.low):
        return [f"{name}: {action} changes the test error by {number} {base} {where}."]
    if group.within.direction:
        verb = "raises" if group.within.direction > 0 else "lowers"
        return [f"{name}: {action} {verb} the test error by {number} {base} {where}."]
    return [
        f"{name}: no difference seen by {action}: the test error changes by {number} {base} "
        f"{where}."
    ]


def _contrast(contrast: Contrast) -> list[str]:
    plain, residual, mean = contrast.first, contrast.second, contrast.mean
    if mean is None or plain.lesion_error is None or residual.lesion_error is None:
        return []
    number = words.interval(plain, mean, signed=True)
    scope = f"{words.scope(plain, mean, paired=True)}, {_pairing(contrast)}"
    tail = f"they differ by {number}" if mean.direction else f"no difference seen: {number}"
    return [
        "Without skips one lesion within a stage leaves a mean test error of "
        f"{words.interval(plain, plain.lesion_error)} ({plain.group.label}), with skips "
        f"{words.interval(residual, residual.lesion_error)} ({residual.group.label}); {tail}, "
        f"{scope}."
    ]


def _pairing(contrast: Contrast) -> str:
    if not contrast.seeds:
        count = len(contrast.first.used) + len(contrast.second.used)
        return f"these {count} networks, which share no seed"
    count = 2 * len(contrast.seeds)
    if len(contrast.seeds) >= MINIMUM_SEEDS:
        return f"{count} networks"
    seeds = ", ".join(map(str, contrast.seeds))
    return f"these {count} networks, paired by seed ({seeds})"


def _blocks(group: GroupEffect) -> list[str]:
    if group.p_holm is not None and group.increase is not None:
        hits = words.largest_first(group.increase.value, np.flatnonzero(group.p_holm < ALPHA))
        scope = f"{words.scope(group, group.increase)}; t test with Holm"
        return [_changed(group, group.group.label, group.increase, hits, scope)]
    if len(group.used) > MOST_NETWORKS:
        return [_counted(group)]
    scope = f"over {words.images(group)}, this network; McNemar with Holm"
    return [
        _changed(group, m.network.label, m.increase, changed_blocks(m), scope) for m in group.used
    ]


def _changed(
    group: GroupEffect, label: str, increase: Estimate, hits: Sequence[int], scope: str
) -> str:
    names = group.group.networks[0].names
    units = words.unit(group, len(names))
    if hits:
        return (
            f"{label}: the lesion of {len(hits)} of {len(names)} {units} changes the test error "
            f"({scope}): {words.named_blocks(group, increase, names, hits)}."
        )
    top = [int(np.argmax(increase.value))]
    return (
        f"{label}: no difference seen for any single one of {len(names)} {units} ({scope}); the "
        f"largest increase, taken alone, is that of "
        f"{words.named_blocks(group, increase, names, top)}."
    )


def _counted(group: GroupEffect) -> str:
    found = [changed_blocks(member) for member in group.used]
    names = group.group.networks[0].names
    counts = ", ".join(str(len(hits)) for hits in found)
    everywhere = sorted(set.intersection(*map(set, found)))
    common = ", ".join(names[index] for index in everywhere) or "none"
    return (
        f"{group.group.label}: the lesion of {counts} of {len(names)} "
        f"{words.unit(group, len(names))} changes the test error of these {len(found)} networks "
        f"(over {words.images(group)}; McNemar with Holm in each); in all of them: {common}."
    )


def _transitions(group: GroupEffect) -> list[str]:
    if group.transition is None:
        return []
    count = int(group.layout.transition.sum())
    if group.group.plain:
        what = "dropping one unit that changes the shape"
    else:
        what = "dropping the branch of one transition (its shortcut stays)"
    number = words.interval(group, group.transition, signed=True)
    unseen = "" if group.transition.direction else ", no difference seen"
    line = f"{group.group.label}: {what} changes the error by {number} (mean over {count}{unseen})"
    if group.transition_excess is not None:
        more = words.interval(group, group.transition_excess, signed=True)
        unseen = "" if group.transition_excess.direction else ", no difference seen"
        line += f"; against a within-stage {words.unit(group)} {more}{unseen}"
    return [f"{line}, {words.scope(group, group.transition)}."]


def _ranking(group: GroupEffect, name: str) -> str:
    word, label = PREDICTOR_WORDS[name], group.group.label
    known = [member for member in group.used if member.correlations[name].items]
    if not known:
        return f"{label}: no two blocks of a stage differ in both {word} and the error increase."
    first = known[0].correlations[name]
    start = f"{label}: within stages {word} correlates with the error increase in rank by"
    end = f"95 % of random rankings lie in {words.span(*first.random_range())}"
    if group.correlations and name in group.correlations:
        mean = group.correlations[name]
        number = words.interval(group, mean, signed=True, decimals=2)
        unseen = ", no relation seen" if mean.direction == 0 and np.isfinite(mean.low) else ""
        return f"{start} {number} over {mean.networks} seeds{unseen}; for one network {end}."
    told, alone = known[:MOST_NETWORKS], len(group.group.networks) == 1
    listed = "; ".join(_ranked(member, name, alone=alone) for member in told)
    more = len(known) - len(told)
    rest = f"; {more} more in verdict.json" if more > 0 else ""
    counts = dict.fromkeys(str(member.correlations[name].items) for member in told)
    blocks = f"over the {' and '.join(counts)} blocks that can be ranked"
    return f"{start} {listed}{rest} ({'interval' if alone else 'intervals'} {blocks}); {end}."


def _ranked(member: NetworkEffect, name: str, *, alone: bool) -> str:
    found = member.correlations[name]
    unseen = "" if found.p_value < ALPHA else ", no relation seen"
    where = "" if alone else f" in {member.network.label}"
    return f"{words.correlation(found)}{where} ({words.p_value(found.p_value)}{unseen})"
