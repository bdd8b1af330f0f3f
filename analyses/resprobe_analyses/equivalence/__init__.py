"""Equivalence: plain and residual networks that start equal, and what tells them apart later.

`networks` reads what was recorded, with `recipes` for what two trainings share; `pairs`,
`weights`, `curves` and `differences` compute on arrays, `effects` puts groups and contrasts
together, `labelled` names the numbers, `findings` and `sentences` say them, `figures` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence

from resprobe.result import Analysis, Input, Result


def analyze(inputs: Sequence[Input]) -> Result:
    """Follow pairs of equivalent networks, their weights, and their errors at equal loss.

    Args:
        inputs: runs trained with `pair.network = "equivalent"`, runs with the family `weights`, or
            residual and plain runs of equal seeds; in any mixture and order. The weights of two
            groups of one architecture, such as two checkpoints, are compared layer by layer.

    Returns:
        Dataset as `labelled` lists it; the figures `divergence` with pairs, `weights` with that
        family, `training` where residual and plain networks can be laid side by side, `difference`
        with the weights of two groups of one architecture; the verdict; the sentences.

    Raises:
        InputError: no inputs, nothing of the three at hand, a recorded group that lacks a
            variable, or one seed given twice in a group.
    """
    # seaborn and scipy load when the analysis runs, not when it is listed
    from resprobe_analyses.equivalence.effects import effect
    from resprobe_analyses.equivalence.figures import figures
    from resprobe_analyses.equivalence.findings import verdict
    from resprobe_analyses.equivalence.labelled import dataset
    from resprobe_analyses.equivalence.networks import read_groups
    from resprobe_analyses.equivalence.sentences import summary

    found = effect(read_groups(inputs))
    return Result(
        dataset=dataset(found),
        figures=figures(found),
        verdict=verdict(found),
        summary=summary(found),
    )


def has_pair_or_weights(inputs: Sequence[Input]) -> bool:
    """Tell whether an input holds what only this analysis reads, and not just any training."""
    from resprobe_analyses.equivalence.networks import PAIR, WEIGHTS

    return any(
        any(node.path.endswith((f"/{PAIR}", f"/{WEIGHTS}")) for node in given.tree.leaves)
        for given in inputs
    )


ANALYSIS = Analysis(
    name="equivalence",
    meaning="Whether plain and residual networks that start equal stay so, and how weights differ.",
    families=(),
    function=analyze,
    also=("weights",),
    source="Yu & Tomasi 2019, Secs. 3 and 4, Apps. B and C, Tables 2 and 3, Figs. 2, 6 and 7",
    unasked=has_pair_or_weights,
)
