"""Two groups of networks of one architecture beside each other, item by item.

Items are blocks or layers. An analysis that measures them says what it compares, gives the arrays
of its groups and gets dataset, figure, sentences and verdict:

    NORM = Compared("branch_norm", "‖G‖", symbol=r"$\\Vert G\\Vert$", ratio=True)
    groups = [
        GroupValues("after", items, [NetworkValues(seed, norms, images)]),  # norms (image, block)
        GroupValues("before", items, [NetworkValues(seed, norms, images)]),
    ]
    differences = compare_groups(groups, NORM)  # () for one group, or other blocks in each
    dataset = with_differences(dataset, differences)
    figures |= differences_figures(differences)  # {} without differences
    lines += difference_lines(differences)
    verdict["findings"]["differences"] = differences_json(differences)

Differences of several quantities are put in one sequence: each quantity is a panel.

A difference is the first group minus the second, in the order of the groups. `resprobe analyze`
gives checkpoints of one training to an analysis with the latest first, so groups in order of
appearance give the later minus the earlier.

`pairing` pairs networks, `compared` computes on arrays, `labelled` names the numbers, `sentences`
says them, `figure` draws them.
"""

from __future__ import annotations

from resprobe_analyses.difference.compared import (
    Compared,
    Difference,
    GroupValues,
    Items,
    NetworkValues,
    compare,
    compare_groups,
)
from resprobe_analyses.difference.figure import differences_figures
from resprobe_analyses.difference.labelled import differences_json, with_differences
from resprobe_analyses.difference.pairing import matched, paired_values
from resprobe_analyses.difference.sentences import difference_lines

__all__ = [
    "Compared",
    "Difference",
    "GroupValues",
    "Items",
    "NetworkValues",
    "compare",
    "compare_groups",
    "difference_lines",
    "differences_figures",
    "differences_json",
    "matched",
    "paired_values",
    "with_differences",
]
