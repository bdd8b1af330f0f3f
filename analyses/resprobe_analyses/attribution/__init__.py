"""Attribution: which cheap predictor ranks blocks as their lesions do.

`networks`, `predictors` and `kinds` read what was collected; `resampling`, `scores`, `rankings`,
`choices`, `effects` and `differences` compute on arrays; `labelled` names the numbers, `findings`
and `sentences` say them, `figures` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence

from resprobe.result import Analysis, Input, Result


def analyze(inputs: Sequence[Input]) -> Result:
    """Set every cheap predictor beside what the lesion of each block measures.

    Args:
        inputs: one or more networks with the families `norms` and `lesion`. Inputs of one `group`
            are one training with several seeds: they are pooled. Two groups with the same blocks
            give the paired difference block by block. `influence`, `angular-distance` and
            `attribution` are read where they were collected at the same checkpoint.

    Returns:
        Dataset with dimensions `network`, `group`, `block`, `predictor`, `other_predictor`,
        `effect`, `ranked_within`, `share`, `chooser` and `bound`, with two groups also `contrast`;
        the figures `trust`, `ranking` and, with two groups, `difference`; the verdict; the
        sentences.

    Raises:
        InputError: no inputs, a family or variable that is missing, no images in common,
            different blocks, or one seed of a group given twice.
    """
    # seaborn and scipy load when the analysis runs, not when it is listed
    from resprobe_analyses.attribution.differences import differences
    from resprobe_analyses.attribution.effects import effects
    from resprobe_analyses.attribution.figures import figures
    from resprobe_analyses.attribution.findings import verdict
    from resprobe_analyses.attribution.labelled import dataset
    from resprobe_analyses.attribution.networks import read_groups
    from resprobe_analyses.attribution.sentences import summary
    from resprobe_analyses.difference import differences_figures, with_differences

    found = effects(read_groups(inputs))
    compared = differences(found)
    return Result(
        dataset=with_differences(dataset(found), compared),
        figures={**figures(found), **differences_figures(compared)},
        verdict=verdict(found, compared),
        summary=summary(found, compared),
    )


def _asked_for(inputs: Sequence[Input]) -> bool:
    """Tell whether attributions were collected: who did asks what they are worth.

    Of norms and angles the analyses `lesion` and `spans` tell already how they rank.
    """
    from resprobe_analyses.reading import collected_beside

    return all(collected_beside(given, "attribution") is not None for given in inputs)


ANALYSIS = Analysis(
    name="attribution",
    meaning="Which cheap predictor ranks blocks as their lesions do, and which is no better than "
    "chance.",
    families=("norms", "lesion"),
    function=analyze,
    also=("influence", "angular-distance", "attribution"),
    source="Veit et al. 2016; Dhamdhere et al. 2018; Men et al. 2024 (ShortGPT); Gromov et al. "
    "2024",
    unasked=_asked_for,
)
