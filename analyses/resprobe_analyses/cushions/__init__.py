"""Cushions: how much of each layer's size its inputs meet, and what depends on the norm chosen.

`networks` reads what was collected, `effects` and `differences` compute on arrays, `labelled` names
the numbers, `findings` and `sentences` say them, `figures` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence

from resprobe.result import Analysis, Input, Result


def analyze(inputs: Sequence[Input]) -> Result:
    """Give the distribution of the layer cushions of each layer, and compare two groups.

    Args:
        inputs: one network with the family `layer-cushion`, several seeds of one recipe, or two
            such groups, such as a plain network and a residual one; two of one architecture, such
            as two checkpoints, give the paired difference by layer and by block.
            `interlayer-cushion` is read where it was collected at the same checkpoint.

    Returns:
        Dataset with dimensions `network`, `layer`, `quantile`, `norm` and, with interlayer
        cushions, `block`, `length` and `mode`, with two groups `group` and `bound`, of one
        architecture `contrast`; the figures `layers` and `norms`, with two groups `groups`, of one
        architecture `difference`, with interlayer cushions `interlayer`; the verdict; the
        sentences.

    Raises:
        InputError: no inputs, more than two groups, a family or variable that is missing, seeds of
            one group with different layers, no images in common, or one seed given twice.
    """
    # seaborn and scipy load when the analysis runs, not when it is listed
    from resprobe_analyses.cushions.effects import effect
    from resprobe_analyses.cushions.figures import figures
    from resprobe_analyses.cushions.findings import verdict
    from resprobe_analyses.cushions.labelled import dataset
    from resprobe_analyses.cushions.networks import read_groups
    from resprobe_analyses.cushions.sentences import summary

    found = effect(read_groups(inputs))
    return Result(
        dataset=dataset(found),
        figures=figures(found),
        verdict=verdict(found),
        summary=summary(found),
    )


def at_most_two(inputs: Sequence[Input]) -> bool:
    """Tell whether there are so few groups that they can be laid side by side."""
    return len({given.group for given in inputs}) <= 2


ANALYSIS = Analysis(
    name="cushions",
    meaning="How much of each layer's size its inputs meet, and what depends on the norm chosen.",
    families=("layer-cushion",),
    function=analyze,
    also=("interlayer-cushion",),
    source="Arora et al. 2018; Yu & Tomasi 2019, Sec. 5 and Fig. 3",
    unasked=at_most_two,
)
