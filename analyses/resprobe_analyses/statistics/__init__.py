"""Statistics on plain arrays, shared by the analyses: no labels, no files, no figures.

`paired` compares the same images with and without an intervention, `ranks` correlates blocks
within stages, `dominance` compares two samples, `seeds` generalises over training seeds,
`multiplicity` adjusts p-values.
"""

from resprobe_analyses.statistics.dominance import cliffs_delta
from resprobe_analyses.statistics.multiplicity import holm
from resprobe_analyses.statistics.paired import (
    mcnemar_p,
    mean_change_interval,
    mean_change_p,
    mean_fraction_interval,
    mean_interval,
    paired_difference,
    paired_difference_interval,
    proportion_interval,
)
from resprobe_analyses.statistics.ranks import (
    RankCorrelation,
    correlation_interval,
    fisher_mean,
    fisher_z,
    permutation_p,
    rank_correlation,
    within_strata_ranks,
)
from resprobe_analyses.statistics.seeds import MINIMUM_SEEDS, student_interval, student_p

__all__ = [
    "MINIMUM_SEEDS",
    "RankCorrelation",
    "cliffs_delta",
    "correlation_interval",
    "fisher_mean",
    "fisher_z",
    "holm",
    "mcnemar_p",
    "mean_change_interval",
    "mean_change_p",
    "mean_fraction_interval",
    "mean_interval",
    "paired_difference",
    "paired_difference_interval",
    "permutation_p",
    "proportion_interval",
    "rank_correlation",
    "student_interval",
    "student_p",
    "within_strata_ranks",
]
