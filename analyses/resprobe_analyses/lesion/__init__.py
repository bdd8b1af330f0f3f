"""Lesions: what happens to the test error when the branch of one block is dropped.

`networks`, `sweeps` and `greedy` read what was collected, `effects`, `contrasts`, `curves` and
`greedy` compute on arrays, `labelled` (`_curves`, `_greedy`) and `each_network` name the numbers,
`findings` and `sentences` (likewise) say them, `figures` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence

from resprobe.result import Analysis, Input, Result


def analyze(inputs: Sequence[Input]) -> Result:
    """Compare every network with itself after the lesion of each single block, and of several.

    Args:
        inputs: one or more networks with the families `norms` and `lesion`. Inputs of one `group`
            are one training with several seeds: they are pooled. Two groups with the same blocks
            give the paired difference block by block; a group without skips (a plain network) is
            the contrast of the residual groups. Where `lesion-multi` and `lesion-shuffle` are,
            alone or `-reestimated`, they give the error against the number of blocks dropped and
            against the distance of their order; `lesion-greedy` says how many blocks can be dropped
            within a loss of accuracy.

    Returns:
        Dataset with dimensions `network`, `block`, `group`, `predictor`, `contrast` and `bound`,
        and with several blocks `curve`, `level`, `shuffle`, `shuffle_level` and `trial`, by network
        `swap_count` and `swapped_stage`, `drop` and `allowed_loss`; the figures `blocks`,
        `ranking`, `difference`, `multi`, `shuffle` and `greedy`; the verdict; the sentences.

    Raises:
        InputError: no inputs, a family or variable that is missing, no images in common,
            different blocks, one seed of a group given twice, or other random draws in it.
    """
    # seaborn and scipy load when the analysis runs, not when it is listed
    from resprobe_analyses.lesion.contrasts import contrasts, differences
    from resprobe_analyses.lesion.curves import curves
    from resprobe_analyses.lesion.each_network import with_each_network
    from resprobe_analyses.lesion.effects import effects
    from resprobe_analyses.lesion.figures import figures
    from resprobe_analyses.lesion.findings import verdict
    from resprobe_analyses.lesion.greedy import greedy
    from resprobe_analyses.lesion.labelled import dataset
    from resprobe_analyses.lesion.labelled_curves import with_curves
    from resprobe_analyses.lesion.labelled_greedy import with_greedy
    from resprobe_analyses.lesion.networks import read_groups
    from resprobe_analyses.lesion.sentences import summary
    from resprobe_analyses.reading import unique

    groups = read_groups(inputs)
    found = effects(groups)
    compared, apart = contrasts(found), differences(found)
    labels = unique([given.label for given in inputs])
    by_label = dict(zip(labels, inputs, strict=True))
    several = curves(by_label, found)
    advised = greedy(by_label, found)
    data = with_greedy(with_curves(dataset(found, compared, apart), several), advised)
    return Result(
        dataset=with_each_network(data, by_label, groups),
        figures=figures(found, apart, several, advised),
        verdict=verdict(found, compared, apart, several, advised),
        summary=summary(found, compared, apart, several, advised),
    )


ANALYSIS = Analysis(
    name="lesion",
    meaning="Which blocks the test error depends on, beside how much each one's branch adds.",
    families=("norms", "lesion"),
    function=analyze,
    source="Veit et al. 2016; Chang et al. 2018 (ML), Sec. 3.3; Greff et al. 2017",
)
