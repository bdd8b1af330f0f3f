"""What is said of groups beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from resprobe_analyses.difference import Difference, difference_lines
from resprobe_analyses.difference.sentences import MOST_CONTRASTS
from resprobe_analyses.stability import words
from resprobe_analyses.stability.stages import Contrast, meaning


def contrast_lines(contrasts: Sequence[Contrast], by_block: Sequence[Difference]) -> list[str]:
    """Give the differences of groups by measure, stage and block, of the first three pairs."""
    lines = []
    pairs = list(dict.fromkeys((one.group, one.base) for one in contrasts))
    told = [one for one in contrasts if (one.group, one.base) in pairs[:MOST_CONTRASTS]]
    for key in dict.fromkeys((one.group, one.base, one.measure) for one in told):
        rows = [one for one in told if (one.group, one.base, one.measure) == key]
        group, base, measure = key
        parts = "; ".join(
            f"{one.name} {words.estimate(one.difference)}{_unseen(one)}" for one in rows
        )
        lines.append(
            f"{group} minus {base}, {meaning(measure, rows[0].unit)}, mean over within-stage "
            f"{words.several(rows[0].unit)} ({_pairing(rows[0])}): {parts}."
        )
    if pairs[MOST_CONTRASTS:]:
        more = len(pairs) - MOST_CONTRASTS
        lines.append(f"{more} further comparisons of two groups by stage are in verdict.json.")
    # the means are those above, stage by stage
    return [*lines, *difference_lines([replace(one, mean=None) for one in by_block])]


def _pairing(one: Contrast) -> str:
    if one.paired == "images" and not np.isfinite(one.difference.low):
        return "paired by image, these two networks, no interval on a single image"
    if one.paired == "images":
        return "paired by image, these two networks, each interval over images and taken alone"
    if one.paired == "seeds":
        return f"paired by seed, {one.difference.networks} seeds, each interval taken alone"
    return "difference of means over networks, no interval below five common seeds"


def _unseen(one: Contrast) -> str:
    if not np.isfinite(one.difference.low) or one.difference.direction:
        return ""
    return " (no difference seen)"
