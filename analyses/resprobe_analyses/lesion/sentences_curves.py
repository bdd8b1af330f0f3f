"""What was found over several blocks, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.estimates import Estimate, estimate_change
from resprobe_analyses.lesion.curves import (
    ALL_STAGES,
    WITHIN,
    Curve,
    Curves,
    Shuffle,
    at,
)
from resprobe_analyses.lesion.greedy import Greedy
from resprobe_analyses.lesion.sweeps import AS_TRAINED, REESTIMATED

_AGAIN = "with BatchNorm's statistics estimated anew from training images"


def curve_lines(found: Curves) -> list[str]:
    """Say what dropping several blocks and changing their order does."""
    lines = [line for curve in found.multi for line in _multi(curve, found.multi)]
    return lines + [line for one in found.shuffle for line in _shuffle(one)]


def _multi(curve: Curve, others: Sequence[Curve]) -> list[str]:
    told = _told(curve)
    counts = _listed([str(int(curve.sweep.level[level])) for level in told])
    numbers = _listed([_number(curve, at(curve.increase, level)) for level in told])
    what = "within-stage blocks" if curve.kind == WITHIN else "blocks, a transition among them,"
    line = (
        f"{_label(curve)}: dropping {counts} random {what} at once changes the test error "
        f"by {numbers} from {curve.test_error.value:.3f} on average over the sets, "
        f"{_scope(curve, curve.increase)}"
    )
    last = told[-1]
    if curve.trials[last] > 1:
        line += (
            f"; single sets of {int(curve.sweep.level[last])} range from "
            f"{wording.signed_number(curve.lowest[last], 3)} to "
            f"{wording.signed_number(curve.highest[last], 3)}"
        )
    lines = [f"{line}."]
    if curve.single_sum is not None and curve.excess is not None:
        lines.append(_additive(curve, curve.single_sum, curve.excess))
    twin = next((one for one in others if _twins(curve, one)), None)
    if twin is not None:
        lines.append(_recovered(curve, twin, last))
    return lines


def _told(curve: Curve) -> list[int]:
    """Choose the levels that are told: two blocks, as many as there are, and half of that."""
    known = np.flatnonzero(curve.trials)
    chosen = {int(known[min(1, known.size - 1)]), int(known[known.size // 2]), int(known[-1])}
    return sorted(chosen)


def _additive(curve: Curve, single_sum: Estimate, excess: Estimate) -> str:
    """Say whether the harm adds up, of as many blocks as it can add up of before chance."""
    several = [int(level) for level in np.flatnonzero(curve.trials) if curve.sweep.level[level] > 1]
    if not several:
        return f"{_label(curve)}: no two blocks were dropped at once, so nothing can add up."
    chance = min(member.chance_error for member in curve.group.used)
    expected = curve.test_error.value + single_sum.value
    below = [level for level in several if expected[level] <= chance]
    if not below:
        count = int(curve.sweep.level[several[0]])
        return (
            f"{_label(curve)}: whether the harm adds up can't be seen: the single lesions of "
            f"{count} blocks add up to {_number(curve, at(single_sum, several[0]))}, which with "
            f"the network's own error is past chance ({chance:.3f})."
        )
    level = below[-1]
    more = at(excess, level)
    count = int(curve.sweep.level[level])
    verdict = {
        1: "together they do more harm than one by one",
        -1: "together they do less harm than one by one",
        0: "no difference seen from adding them up",
    }[more.direction]
    return (
        f"{_label(curve)}: the single lesions of such {count} blocks add up to "
        f"{_number(curve, at(single_sum, level))}; {verdict} "
        f"(difference {_number(curve, more)}, {_scope(curve, more)})."
    )


def _twins(curve: Curve, other: Curve) -> bool:
    """Whether two curves are the same sets of the same networks, the second one as trained."""
    return (
        curve.sweep.batch_norm == REESTIMATED
        and other.sweep.batch_norm == AS_TRAINED
        and curve.group is other.group
        and curve.kind == other.kind
        and curve.sweep.labels == other.sweep.labels
        and curve.sweep.wrong.shape == other.sweep.wrong.shape
        and np.array_equal(
            curve.sweep.said["multi_lesion_dropped"], other.sweep.said["multi_lesion_dropped"]
        )
    )


def _recovered(curve: Curve, twin: Curve, level: int) -> str:
    chosen = curve.sweep.exists[level]
    sides = [one.sweep.wrong[:, :, level, chosen].mean(axis=2) for one in (curve, twin)]
    difference = estimate_change(sides[0] - sides[1], int(chosen.sum()))
    words = {
        -1: "lowers the test error after the lesion",
        1: "raises the test error after the lesion",
        0: "makes no difference that is seen",
    }[difference.direction]
    return (
        f"{curve.group.group.label}: estimating BatchNorm's statistics anew {words}: with "
        f"{int(curve.sweep.level[level])} blocks dropped by {_number(curve, difference)}, "
        f"{_scope(curve, difference)}."
    )


def _shuffle(one: Shuffle) -> list[str]:
    label = _label(one)
    every = np.flatnonzero((one.stage == ALL_STAGES) & (one.trials > 0))
    lines = []
    if every.size:
        told = [int(every[0])] if every.size == 1 else [int(every[0]), int(every[-1])]
        counts = _listed([str(int(one.swaps[level])) for level in told])
        numbers = _listed([_number(one, at(one.increase, level)) for level in told])
        lines.append(
            f"{label}: {counts} random swap{'s' if counts != '1' else ''} of two blocks of equal "
            f"shape change the test error by {numbers} from {one.test_error.value:.3f} on average "
            f"over the orders, {_scope(one, one.increase)}{_distance(one)}."
        )
    if one.first_minus_last is not None:
        lines.append(_by_stage(one, one.first_minus_last))
    return lines


def _distance(one: Shuffle) -> str:
    if not np.isfinite(one.distance.value):
        return ""
    return (
        "; error and Kendall's tau distance correlate in rank by "
        f"{wording.correlation(one.distance)} over {one.distance.items} different orders"
    )


def _by_stage(one: Shuffle, difference: Estimate) -> str:
    chosen = (one.swaps == 1) & (one.stage != ALL_STAGES) & (one.trials > 0)
    swapped = [int(level) for level in np.flatnonzero(chosen)]
    stages = _listed([str(int(one.stage[level])) for level in swapped])
    numbers = _listed([_number(one, at(one.increase, level)) for level in swapped])
    verdict = {
        1: "the later stage is milder",
        -1: "the later stage is not milder but worse",
        0: "no difference seen",
    }[difference.direction]
    return (
        f"{_label(one)}: one swap of two blocks in stage {stages} changes the test error by "
        f"{numbers}, each taken alone; first minus last stage {_number(one, difference)}, "
        f"{_scope(one, difference)}: {verdict}."
    )


def absent_lines(found: Curves, advised: Sequence[Greedy]) -> list[str]:
    """Say what was not measured of several blocks and how it would be, if anything."""
    quantities = {
        "several blocks dropped at once": ("multi_lesion_error", found.multi),
        "blocks in another order": ("shuffle_error", found.shuffle),
        "how many blocks can be dropped": ("greedy_lesion", advised),
    }
    missing = {what: name for what, (name, there) in quantities.items() if not there}
    if not missing:
        return []
    asked = " ".join(f"--quantity +{name}" for name in missing.values())
    return [f"Not measured: {_listed(list(missing))}; `resprobe collect` with {asked} adds it."]


def _label(one: Curve | Shuffle) -> str:
    again = f" ({_AGAIN})" if one.sweep.batch_norm == REESTIMATED else ""
    return f"{one.group.group.label}{again}"


def _number(one: Curve | Shuffle, estimate: Estimate) -> str:
    return wording.interval(estimate, one.sweep.images, signed=True)


def _scope(one: Curve | Shuffle, estimate: Estimate) -> str:
    if estimate.over == "seeds":
        return f"over {estimate.networks} seeds"
    images = wording.counted_images(one.sweep.images)
    return f"over {images}, {wording.these(len(one.sweep.labels))}"


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
