"""Norm against depth: whether the branches of deeper networks add less, as of smaller steps.

`networks`, `recipes`, `moments` and `training` read what was recorded, `tables`, `scaling`,
`curves`, `differences` and `rule` compute on arrays, `labelled` names the numbers, `findings` and
`sentences` say them, `figures` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence

from resprobe.result import Analysis, Input, Result


def analyze(inputs: Sequence[Input]) -> Result:
    """Compare mean ‖G‖ between networks of different depth, and ‖G‖ block by block.

    Args:
        inputs: networks with the family `norms`, trained by one recipe but for `model.depth`,
            `model.h`, `train.seed` and `train.stop_train_loss`, at one step or at several; or
            networks of one architecture however trained; or a single network. Norms of the
            untrained networks are read where they were collected (`/step-00000000/norms`).

    Returns:
        Dataset with dimensions `network`, `position`, `curve`, `step_size`, `version`, `seed`,
        `depth` and `bound`, and where two step sizes, steps or trainings of one architecture are
        compared `contrast` and `block`; the figures `blocks`, with a step size `time`, with two
        depths of a seed `depth` and with a comparison `difference`; the verdict; the sentences.

    Raises:
        InputError: no inputs, a family, variable or coordinate that is missing, inputs of several
            depths that differ in more than depth, h and seed, a plain network, no images in
            common, labels that differ on the same image, or one network given twice.
    """
    # seaborn and scipy load when the analysis runs, not when it is listed
    from resprobe_analyses.difference import differences_figures, with_differences
    from resprobe_analyses.norm_vs_depth.curves import curves_of
    from resprobe_analyses.norm_vs_depth.differences import differences
    from resprobe_analyses.norm_vs_depth.figures import figures
    from resprobe_analyses.norm_vs_depth.findings import verdict
    from resprobe_analyses.norm_vs_depth.labelled import dataset
    from resprobe_analyses.norm_vs_depth.networks import read_networks
    from resprobe_analyses.norm_vs_depth.recipes import subject
    from resprobe_analyses.norm_vs_depth.scaling import groups_of
    from resprobe_analyses.norm_vs_depth.sentences import summary

    networks = read_networks(inputs)
    groups, curves, name = groups_of(networks), curves_of(networks), subject(inputs)
    compared = differences(networks)
    drawn = figures(name, groups, curves, int(networks[0].classes.size))
    return Result(
        dataset=with_differences(dataset(networks, groups, curves), compared),
        figures=drawn | differences_figures(compared),
        verdict=verdict(networks, groups, curves, compared),
        summary=summary(name, networks, groups, curves, compared),
    )


def can_be_compared(inputs: Sequence[Input]) -> bool:
    """Tell whether inputs have several depths, or are several groups of one architecture.

    One group of one depth is analyzed when asked for by name.
    """
    norms = [given.families["norms"] for given in inputs]
    if len({data.sizes.get("block") for data in norms}) > 1:
        return True
    if len({given.group for given in inputs}) < 2:
        return False
    return all((data["skip"] != "none").any() for data in norms)


ANALYSIS = Analysis(
    name="norm-vs-depth",
    meaning="Whether the branches of deeper networks add less, as the smaller steps of an ODE do.",
    families=("norms",),
    function=analyze,
    source="Chang et al. 2018 (ML), Secs. 3.2 and 3.3, Eq. 5, Figs. 3, 4 and 7",
    unasked=can_be_compared,
)
