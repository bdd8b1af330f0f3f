"""The findings in plain sentences, made from the intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.difference import Difference, difference_lines
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.spans.differences import told as differences_told
from resprobe_analyses.spans.effects import ALL, ANGLE, TOLERANCE, WITHIN, Choice, Effect
from resprobe_analyses.spans.rankings import DISTANCE, INFLUENCE, told

MOST_NETWORKS = 3  # of a group that are told one by one
ALPHA = 0.05
PREDICTOR_WORDS = {INFLUENCE: "block influence", DISTANCE: "the angular distance of a block"}


def summary(found: Sequence[Effect], compared: Sequence[Difference]) -> str:
    """Say what was found, one sentence a line, the most important first.

    Args:
        found: the effects of one group or two.
        compared: the differences of two.

    Returns:
        Square brackets hold 95 % intervals, and each sentence says what they are over.
    """
    lines = [line for one in found for line in _uninterpretable(one)]
    lines += difference_lines(differences_told(found, compared))
    lines += [line for one in found if one.choices for line in _of_group(one)]
    return "\n".join(lines)


def _of_group(found: Effect) -> list[str]:
    lines = [*_least_harmful(found), _optimism(found), *_by_angle(found), *_rankings(found)]
    return [*lines, *_span_ranking(found), *_absent(found)]


def _least_harmful(found: Effect) -> list[str]:
    first, everywhere = found.choices[0], found.choice(ALL)
    lines = [_affordable(found, first), _by_length(found, first, first.lengths)]
    if everywhere is None or everywhere is first:
        return lines
    if everywhere.affordable() != first.affordable():
        lines.append(_affordable(found, everywhere))
    # what holds a transition comes second, and only where it is another span
    other = [n for n in everywhere.lengths if everywhere.first[n - 1] != first.first[n - 1]]
    return [*lines, _by_length(found, everywhere, other)] if other else lines


def _uninterpretable(found: Effect) -> list[str]:
    images = found.choosing_images + found.measuring_images
    return [
        f"{m.network.label} is uninterpretable: its test error "
        f"{wording.interval(m.test_error, images)} over {wording.counted_images(images)} is worse "
        f"than half of chance ({m.chance_error:.3f} / 2); nothing is said about spans of its "
        f"{_unit(found, 2)}."
        for m in found.members
        if not m.interpretable
    ]


def _unit(found: Effect, count: int) -> str:
    word = "unit" if found.group.networks[0].plain else "block"
    return word if count == 1 else f"{word}s"


def _where(found: Effect) -> str:
    """Say what every interval over images is over."""
    return (
        f"over {wording.counted_images(found.measuring_images)} that did not choose, "
        f"{wording.these(len(found.used))}"
    )


def _cost(found: Effect, estimate: Estimate) -> str:
    return wording.interval(estimate, found.measuring_images, signed=True)


def _span(found: Effect, choice: Choice, length: int) -> str:
    names, first = found.group.networks[0].names, int(choice.first[length - 1])
    return names[first] if length == 1 else f"{names[first]} to {names[first + length - 1]}"


def _kind(found: Effect, choice: Choice) -> str:
    if choice.name == WITHIN:
        return " without a transition"
    return " that may hold a transition" if found.transition.any() else ""


def _affordable(found: Effect, choice: Choice) -> str:
    label, total = found.group.label, len(found.group.networks[0].names)
    cheap = (
        f"at most {TOLERANCE:g} of test error on the {found.choosing_images:,} images that choose"
    )
    length = choice.affordable()
    if length:
        what = (
            f"the longest span{_kind(found, choice)} that costs {cheap} has {length} of {total} "
            f"{_unit(found, total)} ({_span(found, choice, length)})"
        )
    else:
        length = choice.lengths[0]
        what = (
            f"no span{_kind(found, choice)}, not even of one {_unit(found, 1)}, costs {cheap}; "
            f"the least harmful one is {_span(found, choice, length)}"
        )
    return f"{label}: {what}; on the others, {_change(found, choice.at(length), length)}."


def _change(found: Effect, estimate: Estimate, length: int) -> str:
    """Say what dropping a span does to the test error on the images that did not choose it."""
    action = f"dropping {'it' if length == 1 else 'them'}"
    base = ""
    if found.test_error is not None:
        base = f" from {wording.interval(found.test_error, found.measuring_images)}"
    if not estimate.direction:
        return (
            f"no difference is seen by {action}: the test error changes by "
            f"{_cost(found, estimate)}{base}, {_where(found)}"
        )
    verb = "raises" if estimate.direction > 0 else "lowers"
    return f"{action} {verb} the test error by {_cost(found, estimate)}{base}, {_where(found)}"


def _by_length(found: Effect, choice: Choice, lengths: Sequence[int]) -> str:
    listed = "; ".join(
        f"{length}: {_span(found, choice, length)} {_cost(found, choice.at(length))}"
        for length in _some(lengths)
    )
    return (
        f"{found.group.label}: the least harmful span{_kind(found, choice)} by its number of "
        f"{_unit(found, 2)}, chosen on {found.choosing_images:,} test images and measured on the "
        f"other {found.measuring_images:,} ({wording.these(len(found.used))}; each interval taken "
        f"alone): {listed}."
    )


def _some(lengths: Sequence[int]) -> list[int]:
    """Give 1, 2, 4, … and the last length."""
    powers = [length for length in lengths if length & (length - 1) == 0]
    return list(dict.fromkeys([*powers, lengths[-1]]))


def _optimism(found: Effect) -> str:
    choice = found.choices[0]
    chosen = float(np.nanmean(choice.chosen_on))
    measured = float(np.nanmean(choice.measured_on.value))
    lesson = "choosing did not flatter them"
    if measured > chosen:
        lesson = (
            "trust the second number, since the least harmful of many looks better than it is "
            "where it was chosen"
        )
    return (
        f"{found.group.label}: the chosen spans cost {wording.signed_number(chosen, 4)} on the "
        f"images that chose them and {wording.signed_number(measured, 4)} on the others (means "
        f"over {len(choice.lengths)} lengths); {lesson}."
    )


def _by_angle(found: Effect) -> list[str]:
    choice = found.choice(ANGLE)
    if choice is None or found.angle_excess is None:
        return []
    lengths = [n for n in choice.lengths if found.choices[0].first[n - 1] >= 0]
    same = sum(int(choice.first[n - 1] == found.choices[0].first[n - 1]) for n in lengths)
    unseen = "" if found.angle_excess.direction else ", no difference seen"
    return [
        f"{found.group.label}: taking the span of least angular distance, which needs no labels, "
        f"costs {_cost(found, found.angle_excess)} against taking the least harmful one{unseen} "
        f"(mean over {len(lengths)} lengths, {_where(found)}); at {same} of these lengths both are "
        "the same span."
    ]


def _rankings(found: Effect) -> list[str]:
    lines: list[str] = []
    seen: list[float] = []
    for name in PREDICTOR_WORDS:
        values = [m.correlations[name].value for m in found.used if told(m.correlations, name)]
        # on single blocks both angles mostly rank alike: once is enough
        if values and values != seen:
            lines.append(_ranking(found, name))
        seen = values
    return lines


def _ranking(found: Effect, name: str) -> str:
    known = [member for member in found.used if told(member.correlations, name)]
    parts = []
    for member in known[:MOST_NETWORKS]:
        one = member.correlations[name]
        where = "" if len(found.used) == 1 else f" in {member.network.label}"
        unseen = "" if one.p_value < ALPHA else ", no relation seen"
        parts.append(f"{wording.correlation(one)}{where} ({wording.p_value(one.p_value)}{unseen})")
    more = len(known) - len(parts)
    rest = f"; {more} more in verdict.json" if more > 0 else ""
    first = known[0].correlations[name]
    return (
        f"{found.group.label}: within stages {PREDICTOR_WORDS[name]} correlates with the rise by "
        f"its lesion in rank by {'; '.join(parts)}{rest}, over the {first.items} "
        f"{_unit(found, first.items)} of {wording.these(len(found.used))} that can be ranked; 95 % "
        f"of random rankings lie in {wording.span(*first.random_range())}."
    )


def _span_ranking(found: Effect) -> list[str]:
    table = np.array([member.span_correlations[1:] for member in found.used])
    known = table[np.isfinite(table)]
    if not known.size:
        return []
    lengths = np.flatnonzero(np.isfinite(table).any(axis=0)) + 2
    ends = [f"{lengths[0]}", f"{lengths[-1]} {_unit(found, 2)}"][int(lengths.size == 1) :]
    bounds = dict.fromkeys(wording.signed_number(float(b)) for b in (known.min(), known.max()))
    return [
        f"{found.group.label}: over all spans of one length ({' to '.join(ends)}), angular "
        f"distance and rise correlate in rank by {' to '.join(bounds)} (median "
        f"{wording.signed_number(float(np.median(known)))}); spans overlap, so there is no "
        "interval."
    ]


def _absent(found: Effect) -> list[str]:
    nets = [member.network for member in found.used]
    wanted = []
    if any(net.influence is None for net in nets):
        wanted.append("block_influence")
    if any(net.distance is None for net in nets):
        wanted.append("mean_angular_distance")
    if not wanted:
        return []
    asked = " ".join(f"--quantity +{name}" for name in wanted)
    return [
        f"{found.group.label}: {' and '.join(wanted)} {'was' if len(wanted) == 1 else 'were'} not "
        f"measured at this checkpoint; `resprobe collect` with {asked} adds what angles say."
    ]
