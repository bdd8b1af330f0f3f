"""Statistics on plain arrays, shared by the analyses: no labels, no files, no figures.

`paired` compares the same images with and without an intervention, `ranks` correlates blocks
within stages, `dominance` compares two samples, `seeds` generalises over training seeds,
`equivalence` asks whether a mean over seeds lies between bounds, `slopes` fits one line a seed,
`spreads` compares standard deviations, `counts` gives rates of few runs, `power` says what an
interval over seeds can decide, `multiplicity` adjusts p-values.
"""

from resprobe_analyses.statistics.counts import rate_interval, rate_p, rate_power
from resprobe_analyses.statistics.dominance import cliffs_delta
from resprobe_analyses.statistics.equivalence import beyond_p, equivalence_p
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
from resprobe_analyses.statistics.power import (
    MOST_SEEDS,
    above_probability,
    below_probability,
    inside_probability,
    seeds_needed,
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
from resprobe_analyses.statistics.slopes import lines, power_laws
from resprobe_analyses.statistics.spreads import (
    log_spread_ratio,
    log_spread_ratio_p,
    log_spread_ratio_power,
    spread_interval,
)

__all__ = [
    "MINIMUM_SEEDS",
    "MOST_SEEDS",
    "RankCorrelation",
    "above_probability",
    "below_probability",
    "beyond_p",
    "cliffs_delta",
    "correlation_interval",
    "equivalence_p",
    "fisher_mean",
    "fisher_z",
    "holm",
    "inside_probability",
    "lines",
    "log_spread_ratio",
    "log_spread_ratio_p",
    "log_spread_ratio_power",
    "mcnemar_p",
    "mean_change_interval",
    "mean_change_p",
    "mean_fraction_interval",
    "mean_interval",
    "paired_difference",
    "paired_difference_interval",
    "permutation_p",
    "power_laws",
    "proportion_interval",
    "rank_correlation",
    "rate_interval",
    "rate_p",
    "rate_power",
    "seeds_needed",
    "spread_interval",
    "student_interval",
    "student_p",
    "within_strata_ranks",
]
