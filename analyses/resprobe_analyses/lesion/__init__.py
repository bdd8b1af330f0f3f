"""Lesions: what happens to the test error when the branch of one block is dropped.

`networks` reads what was collected, `effects` and `contrasts` compute on arrays, `labelled` names
the numbers, `findings` and `sentences` say them, `figures` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence

from resprobe.result import Analysis, Input, Result


def analyze(inputs: Sequence[Input]) -> Result:
    """Compare every network with itself after the lesion of each single block.

    Args:
        inputs: one or more networks with the families `norms` and `lesion`. Inputs of one `group`
            are one training with several seeds: they are pooled. Two groups with the same blocks
            give the paired difference block by block; a group without skips (a plain network) is
            the contrast of the residual groups.

    Returns:
        Dataset with dimensions `network`, `block`, `group`, `predictor`, `contrast` and `bound`;
        the figures `blocks` and `ranking`; the verdict; the sentences.

    Raises:
        InputError: no inputs, a family or variable that is missing, no images in common,
            different blocks, or one seed of a group given twice.
    """
    # seaborn and scipy load when the analysis runs, not when it is listed
    from resprobe_analyses.lesion.contrasts import contrasts
    from resprobe_analyses.lesion.effects import effects
    from resprobe_analyses.lesion.figures import figures
    from resprobe_analyses.lesion.findings import verdict
    from resprobe_analyses.lesion.labelled import dataset
    from resprobe_analyses.lesion.networks import read_groups
    from resprobe_analyses.lesion.sentences import summary

    groups = read_groups(inputs)
    found = effects(groups)
    compared = contrasts(found)
    return Result(
        dataset=dataset(found, compared),
        figures=figures(found),
        verdict=verdict(found, compared),
        summary=summary(found, compared),
    )


ANALYSIS = Analysis(
    name="lesion",
    meaning="Which blocks the test error depends on, beside how much each one's branch adds.",
    families=("norms", "lesion"),
    function=analyze,
    source="Veit et al. 2016; Chang et al. 2018 (ML), Sec. 3.3; Greff et al. 2017",
)
