"""Synthetic lesions of several blocks at once, beside those of `lesioned`."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import xarray as xr
from lesioned import build_input

STAGES = (3, 3, 3)  # blocks 3 and 6 are transitions
RATES = (0.05, 0.02, 0.08, 0.0, 0.03, 0.06, 0.0, 0.01, 0.04)


def with_several(
    label="net",
    *,
    seed=0,
    images=1000,
    extra=0.0,
    again=None,
    transitions=False,
    stage_rates=(0.3, 0.2, 0.1),
    families=("multi", "shuffle"),
):
    """A network whose lesions add up, image by image, on disjoint images; `extra` per further one.

    `again` scales every harm where BatchNorm is re-estimated; None leaves these families out.
    """
    given = build_input(
        label,
        seed=seed,
        stages=STAGES,
        images=images,
        base_error=0.1,
        effects=dict(enumerate(RATES)),
    )
    lesion = disjoint(given.families["lesion"], RATES)
    tree = {}
    for batch_norm, factor in (("", 1.0), ("reestimated_", again)):
        if factor is None:
            continue
        single = disjoint(lesion, [factor * rate for rate in RATES])
        end = "-reestimated" if batch_norm else ""
        if batch_norm:
            tree["lesion-reestimated"] = renamed(single, batch_norm)
        if "multi" in families:
            tree["lesion-multi" + end] = multi(single, batch_norm, factor * extra, transitions)
        if "shuffle" in families:
            rates = [factor * rate for rate in stage_rates]
            tree["lesion-shuffle" + end] = shuffle(single, batch_norm, rates)
    nodes = {f"step-00000100/{name}": data for name, data in tree.items()}
    chosen = {**given.families, "lesion": lesion}
    return replace(given, tree=xr.DataTree.from_dict(nodes), families=chosen)


def right(data):
    return data["correct"].values == 1


def disjoint(lesion, rates):
    """Let block i harm a share `rates[i]` of the images, others than any other block."""
    place = np.flatnonzero(right(lesion))
    correct = np.repeat(lesion["correct"].values[:, None], len(rates), axis=1)
    start = 0
    for block, rate in enumerate(rates):
        count = round(rate * lesion.sizes["sample"])
        correct[place[start : start + count], block] = 0
        start += count
    return lesion.assign(lesion_correct=(("sample", "block"), correct.astype(np.int8)))


def renamed(single, batch_norm):
    names = ("correct", "lesion_correct", "test_loss", "lesion_loss")
    return single.rename({name: batch_norm + name for name in names}).drop_vars(
        ["test_error", "lesion_error"]
    )


def multi(single, batch_norm, extra, transitions):
    """Every set of one and two blocks, and the one of all."""
    items = [b for b in range(9) if transitions or b not in (3, 6)]
    levels = [list(combinations(items, k)) for k in (1, 2)] + [[tuple(items)]]
    trials = max(map(len, levels))
    dropped = np.full((3, trials, 9), -1, np.int8)
    correct = np.full((single.sizes["sample"], 3, trials), -1, np.int8)
    ok = single["lesion_correct"].values
    spare = np.flatnonzero(right(single))[::-1]
    for level, sets in enumerate(levels):
        for trial, blocks in enumerate(sets):
            dropped[level, trial] = 0
            dropped[level, trial, list(blocks)] = 1
            correct[:, level, trial] = ok[:, list(blocks)].min(axis=1)
            more = round(extra * (len(blocks) - 1) * single.sizes["sample"])
            correct[spare[:more], level, trial] = 0
    return (
        coordinates_of(single, batch_norm)
        .assign(
            {
                f"{batch_norm}multi_lesion_correct": (("sample", "level", "trial"), correct),
                "multi_lesion_dropped": (("level", "trial", "block"), dropped),
            }
        )
        .assign_coords(level=[1, 2, len(items)], trial=np.arange(trials))
    )


def shuffle(single, batch_norm, rates):
    """One swap in all stages and in each: stage s harms a share `rates[s]` of the images."""
    pairs = [[(0, 1), (0, 2), (1, 2)], [(4, 5)], [(7, 8)]]
    levels = [list(chain(*pairs)), *pairs]
    correct = np.full((single.sizes["sample"], 4, 5), -1, np.int8)
    order = np.full((4, 5, 9), -1, np.int32)
    distance = np.full((4, 5), np.nan)
    place = np.flatnonzero(right(single))
    for level, swaps in enumerate(levels):
        for trial, (a, b) in enumerate(swaps):
            order[level, trial] = np.arange(9)
            order[level, trial, [a, b]] = (b, a)
            distance[level, trial] = (2 * (b - a) - 1) / 36
            harmed = place[: round(rates[single["stage"].values[a] - 1] * single.sizes["sample"])]
            correct[:, level, trial] = single["correct"].values
            correct[harmed, level, trial] = 0
    return (
        coordinates_of(single, batch_norm)
        .assign(
            {
                f"{batch_norm}shuffle_correct": (("sample", "level", "trial"), correct),
                "shuffle_order": (("level", "trial", "block"), order),
                "kendall_tau_distance": (("level", "trial"), distance),
                "kendall_tau_distance_possible": (("level", "trial"), distance * 36 / 5),
            }
        )
        .assign_coords(
            level=[1, 2, 3, 4],
            trial=np.arange(5),
            swaps=("level", [1, 1, 1, 1]),
            shuffled_stage=("level", [-1, 1, 2, 3]),
        )
    )


def coordinates_of(single, batch_norm):
    kept = single[["correct", "test_loss"]].assign_coords(single.coords)
    return kept.rename({name: batch_norm + name for name in kept})
