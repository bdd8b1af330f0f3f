"""Noise stability: how networks answer noise, and whether their cushions tell it.

`families` and `networks` read what was collected, `bound_reading` the parts of the bound;
`responses`, `equal_noise`, `predictions`, `bound` and `differences` compute on arrays, `effects`
puts them together, `labelled` names the numbers, `findings` and `sentences` say them, `figures`
draws them. Cushions are those of the analysis `cushions`.
"""

from __future__ import annotations

from collections.abc import Sequence

from resprobe.result import Analysis, Input, Result


def analyze(inputs: Sequence[Input]) -> Result:
    """Lay the cushions beside what they are to predict: responses to noise and the gap.

    Args:
        inputs: one network with the families `layer-cushion` and `weight-noise`, several seeds of
            one recipe, or two such groups, such as a residual network and a plain one; two of one
            architecture, such as two checkpoints, give the paired difference by layer. Other
            families are read where they were collected at the same checkpoint.

    Returns:
        Dataset (see `labelled`); the figures `response` and `prediction`, with noise of the input
        `input`, with all parts of the bound `bound`, with two groups of one architecture
        `difference`; the verdict; the sentences.

    Raises:
        InputError: no inputs, more than two groups, a family or variable that is missing, noise of
            different levels, seeds of one group with different layers, no images in common, or one
            seed given twice.
    """
    # seaborn and scipy load when the analysis runs, not when it is listed
    from resprobe_analyses.noise_stability.effects import effect
    from resprobe_analyses.noise_stability.figures import figures
    from resprobe_analyses.noise_stability.findings import verdict
    from resprobe_analyses.noise_stability.labelled import dataset
    from resprobe_analyses.noise_stability.sentences import summary

    found = effect(inputs)
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
    name="noise-stability",
    meaning="How networks answer noise, and whether their cushions and Arora's bound tell it.",
    families=("layer-cushion", "weight-noise"),
    function=analyze,
    also=(
        "interlayer-cushion",
        "input-noise",
        "activation-contraction",
        "interlayer-smoothness",
        "norms",
    ),
    source="Arora et al. 2018, Theorem 4.1; Yu & Tomasi 2019, Sec. 5",
    unasked=at_most_two,
)
