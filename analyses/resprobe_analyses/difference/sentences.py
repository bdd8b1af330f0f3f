"""Differences in plain sentences, made from the intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resprobe_analyses import wording
from resprobe_analyses.difference.compared import Difference
from resprobe_analyses.difference.numbers import interval, interval_at
from resprobe_analyses.statistics import MINIMUM_SEEDS

MOST_LINES = 3  # of one contrast
MOST_CONTRASTS = 3
MOST_NAMED = 3  # items named in one sentence


def difference_lines(differences: Sequence[Difference]) -> list[str]:
    """Say what differs, one sentence for each contrast and quantity.

    Args:
        differences: any number, the most important quantity first.

    Returns:
        At most three lines a contrast and three contrasts; what is left out is named. Square
        brackets hold 95 % intervals, and each sentence says what they are over.
    """
    contrasts = list(dict.fromkeys(one.label for one in differences))
    lines: list[str] = []
    for label in contrasts[:MOST_CONTRASTS]:
        own = [one for one in differences if one.label == label]
        lines += [_sentence(one) for one in own[:MOST_LINES]]
        if own[MOST_LINES:]:
            rest = ", ".join(one.quantity.label for one in own[MOST_LINES:])
            lines[-1] = f"{lines[-1]} In the figure and in verdict.json also: {rest}."
    if contrasts[MOST_CONTRASTS:]:
        more = len(contrasts) - MOST_CONTRASTS
        lines.append(f"{more} further comparisons of two groups are in verdict.json.")
    return lines


def _sentence(one: Difference) -> str:
    return f"{one.first} against {one.second}: {_mean(one)} ({_scope(one)}); {_items(one)}."


def _mean(one: Difference) -> str:
    if one.mean is None:
        return f"{one.quantity.label}, {one.quantity.item} by {one.quantity.item}"
    words = _items_word(one, one.averaged)
    kind = "within-stage " if one.items.transition is not None else ""
    where = f"on average over {one.averaged} {kind}{words}"
    if one.averaged_images < one.images:
        images = wording.counted_images(one.averaged_images)
        where += f", of {images} with a value in all of them"
    number = interval(one, one.mean)
    if one.quantity.ratio:
        seen = "" if _leaves_out(one) or not np.isfinite(one.mean.low) else "no difference seen: "
        return f"{seen}{one.quantity.label} is {number} times as large {where}"
    if np.isfinite(one.mean.low) and not _leaves_out(one):
        return f"no difference seen in {one.quantity.label}: it differs by {number} {where}"
    return f"{one.quantity.label} differs by {number} {where}"


def _leaves_out(one: Difference) -> bool:
    """Tell whether the interval of the mean leaves out no change."""
    assert one.mean is not None
    return bool(one.mean.low > one.nothing or one.mean.high < one.nothing)


def _scope(one: Difference) -> str:
    if one.change.over == "seeds" and len(one.seeds) >= MINIMUM_SEEDS:
        return f"over {len(one.seeds)} pairs of equal seeds"
    nets = f"these {one.networks} networks"
    if one.seeds and one.networks > 2:
        nets += f", paired by seed ({', '.join(map(str, one.seeds))})"
    elif one.networks > 2:
        nets += ", which share no seed"
    if not one.images:
        return f"{nets}, no interval"
    return f"over {wording.counted_images(one.images)}, {nets}"


def _items(one: Difference) -> str:
    known = np.isfinite(one.change.value)
    total = int(known.sum())  # a transition has no logarithmic norm
    hits = one.changed
    if hits:
        differ = "differs" if len(hits) == 1 else "differ"
        told = f"{len(hits)} of {total} {_items_word(one, total)} {differ} (Holm, 5 %)"
        named = ", ".join(_named(one, hit) for hit in hits[:MOST_NAMED])
        more = "" if len(hits) <= MOST_NAMED else f" and {len(hits) - MOST_NAMED} more"
        return f"{told}, most of all {named}{more}" if more else f"{told}: {named}"
    if not total:
        return f"no {one.quantity.item} has a value in both"
    top = int(np.nanargmax(one.sizes))
    tested = np.isfinite(one.p_holm).any()
    start = "no difference seen" if tested else "no test"
    return (
        f"{start} for any single one of {total} {_items_word(one, total)}, the largest, taken "
        f"alone, is that of {_named(one, top)}"
    )


def _named(one: Difference, item: int) -> str:
    mark = ""
    if one.items.stage is None and not one.items.layers_named:
        mark = f" (position {item})"
    if one.items.transition is not None and one.items.transition[item]:
        mark = " (transition)"
    how = (
        f"{interval_at(one, item)} times" if one.quantity.ratio else f"by {interval_at(one, item)}"
    )
    return f"{one.items.names[item]}{mark} {how}"


def _items_word(one: Difference, count: int) -> str:
    return one.quantity.item if count == 1 else f"{one.quantity.item}s"
