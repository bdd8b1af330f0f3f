"""Spans: which blocks in a row a network could do without, and whether angles would tell.

`networks` reads what was collected, `effects`, `rankings` and `differences` compute on arrays,
`labelled` names the numbers, `findings` and `sentences` say them, `figures` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence

from resprobe.result import Analysis, Input, Result


def analyze(inputs: Sequence[Input]) -> Result:
    """Compare a network with itself after the lesion of every contiguous span of blocks.

    The least harmful of many spans looks better than it is on the images that it was chosen on.
    So half of the images choose the span of each length, and the other half measure it.

    Args:
        inputs: one network with the family `lesion-span`, or several seeds of one group, which
            are averaged; or two groups, which are also compared block by block. `influence` and
            `angular-distance` are read where they were collected at the same checkpoint.

    Returns:
        Dataset with dimensions `network`, `block`, `length`, `choice` and `bound`, for two groups
        also `group` and `contrast`; the figures `map`, `lengths` and, with angles, `angles`, for
        two groups those of the second as `map-2`, …, and `difference`; the verdict; the
        sentences.

    Raises:
        InputError: no inputs, inputs of more than two groups, a family or variable that is
            missing, fewer than two images in common, different blocks, or one seed of a group
            given twice.
    """
    # seaborn and scipy load when the analysis runs, not when it is listed
    from resprobe_analyses.difference import differences_figures, with_differences
    from resprobe_analyses.spans.differences import differences
    from resprobe_analyses.spans.effects import effect
    from resprobe_analyses.spans.figures import figures
    from resprobe_analyses.spans.findings import verdict
    from resprobe_analyses.spans.labelled import dataset
    from resprobe_analyses.spans.networks import read_groups
    from resprobe_analyses.spans.sentences import summary

    found = tuple(effect(group) for group in read_groups(inputs))
    compared = differences(found)
    return Result(
        dataset=with_differences(dataset(found), compared),
        figures=figures(found) | differences_figures(compared),
        verdict=verdict(found, compared),
        summary=summary(found, compared),
    )


ANALYSIS = Analysis(
    name="spans",
    meaning="Which blocks in a row the network could do without, and whether angles would tell.",
    families=("lesion-span",),
    function=analyze,
    source="Veit et al. 2016, Sec. 4.2; Men et al. 2024 (ShortGPT); Gromov et al. 2024",
)
