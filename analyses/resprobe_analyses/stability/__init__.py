"""Stability: what the Jacobians of the blocks say about perturbations that travel through them.

`families` names what is read, `networks` and `training` read it into `records`; `conditions`,
`differences`, `eigenvalues`, `proportion`, `quality`, `runs`, `spread` and `stages` compute on
arrays; `labelled` names the numbers, `findings` and `sentences` say them, `figures` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence

from resprobe.result import Analysis, Input, Result


def analyze(inputs: Sequence[Input]) -> Result:
    """Tell how block Jacobians act on perturbations, and test RA Eq. 5 block by block.

    Args:
        inputs: networks with the family `jacobian`. `spectrum` and `lyapunov` are read where they
            were collected at the same checkpoint, `/training/jacobian` where it was recorded.
            Seeds of one recipe form a group; every two groups are compared, of one architecture
            block by block.

    Returns:
        Dataset with dimensions `network`, `group`, `position` (of a block), `part`, `stage` and
        others; the figure `norms` and, of what was measured, `spectra`, `conditions`, `lyapunov`
        and `training`, with two groups of one architecture `difference`; the verdict; the
        sentences.

    Raises:
        InputError: no inputs, a family, variable or coordinate that is missing, no images in
            common, labels that differ on the same image, seeds of one group with different blocks,
            or one seed given twice.
    """
    # seaborn and scipy load when the analysis runs, not when it is listed
    from resprobe_analyses.stability.differences import differences
    from resprobe_analyses.stability.figures import figures
    from resprobe_analyses.stability.findings import verdict
    from resprobe_analyses.stability.labelled import dataset
    from resprobe_analyses.stability.networks import read_groups
    from resprobe_analyses.stability.sentences import summary
    from resprobe_analyses.stability.stages import compare

    groups = read_groups(inputs)
    contrasts, by_block = compare(groups), differences(groups)
    return Result(
        dataset=dataset(groups, contrasts, by_block),
        figures=figures(groups, by_block),
        verdict=verdict(groups, contrasts, by_block),
        summary=summary(groups, contrasts, by_block),
    )


ANALYSIS = Analysis(
    name="stability",
    meaning="What block Jacobians do to perturbations: spectra, log norms, Lyapunov exponents.",
    families=("jacobian",),
    also=("spectrum", "lyapunov"),
    function=analyze,
    source="Chang et al. 2018 (RA), Eq. 5; Trefethen & Embree 2005; Benettin et al. 1980",
)
