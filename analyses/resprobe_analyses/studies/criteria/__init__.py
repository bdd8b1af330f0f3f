"""Rules that judge a contrast from one number a seed, and their power; nothing is read or run.

Every rule is written before the run that it judges. `Directional` asks for a side, `Equivalence`
for a difference smaller than a margin, `Band` for a number, `ThinnerBand` for a smaller spread,
`FailureRate` for counts; `judge_checks` takes exact claims. `with_and_without` gives the verdict
of a sample in which runs diverged, `attempted` says from the power whether a study is run.
"""

from resprobe_analyses.studies.criteria.attempt import MINIMUM_POWER, attempted
from resprobe_analyses.studies.criteria.band import Band
from resprobe_analyses.studies.criteria.directional import Directional
from resprobe_analyses.studies.criteria.diverged import BothWays, with_and_without
from resprobe_analyses.studies.criteria.equivalence import Equivalence
from resprobe_analyses.studies.criteria.exact import judge_checks
from resprobe_analyses.studies.criteria.failure_rate import FailureRate
from resprobe_analyses.studies.criteria.judgement import (
    CONTRADICTED,
    FAILS,
    HOLDS,
    NOT_ATTEMPTED,
    REPRODUCED,
    UNDECIDED,
    Criterion,
    Judgement,
    not_attempted,
)
from resprobe_analyses.studies.criteria.thinner_band import ThinnerBand

__all__ = [
    "CONTRADICTED",
    "FAILS",
    "HOLDS",
    "MINIMUM_POWER",
    "NOT_ATTEMPTED",
    "REPRODUCED",
    "UNDECIDED",
    "Band",
    "BothWays",
    "Criterion",
    "Directional",
    "Equivalence",
    "FailureRate",
    "Judgement",
    "ThinnerBand",
    "attempted",
    "judge_checks",
    "not_attempted",
    "with_and_without",
]
