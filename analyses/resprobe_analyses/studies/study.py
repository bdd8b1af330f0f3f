"""What a study is: a claim of a paper, how it is tested, and the rule that was written before.

A study is declared once and never measures by itself. A trained one names a sweep for each scale
and data set and an analysis that reads its runs; an exact one is a function without training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resprobe_analyses.studies.evidence import Evidence

if TYPE_CHECKING:
    from resprobe.result import Result
    from resprobe_analyses.studies.criteria import Criterion
    from resprobe_analyses.sweeps.outcomes import PointOutcome
    from resprobe_analyses.sweeps.specification import Sweep

# From seconds to a GPU's days; every study declares the first two.
SCALES = ("smoke", "small", "medium", "paper")


@dataclass(frozen=True)
class Pilot:
    """The spread of a contrast over seeds that are not the study's, measured before it.

    Attributes:
        spread: standard deviation over seeds on the scale of the rule, as `Criterion.spread`
            gives it: of logarithms for ratios, of Fisher's z for correlations.
        seeds: how many it was measured on.
    """

    spread: float
    seeds: int


@dataclass(frozen=True)
class Contrast:
    """One number a seed that a claim is about, and the rule that judges it.

    Attributes:
        name: short and unique in the study, such as `exponent`.
        meaning: one sentence on what the number is.
        units: "1" if none.
        criterion: the rule.
        reference: the size against which power is computed: half the printed effect, or where
            the paper prints none the smallest that would matter; in the unit in which the
            estimate is reported, so a ratio where the values are logarithms of ratios.
        reference_reason: where it is from.
    """

    name: str
    meaning: str
    units: str
    criterion: Criterion
    reference: float
    reference_reason: str


@dataclass(frozen=True)
class Setting:
    """What is run at one scale on one data set: one row of the ledger.

    Attributes:
        data: what it is run on, a short label unique in the scale, such as `digits` or
            `cifar10-16`; `exact` where nothing is trained.
        meaning: the data in words: images, resolution, width.
        sweep: what is trained and collected; None for an exact study.
        pilots: by name of a contrast; empty where none was run.
        core_minutes: expected cost on one core.
    """

    data: str
    meaning: str
    sweep: Sweep | None = None
    pilots: Mapping[str, Pilot] = field(default_factory=dict)
    core_minutes: float = 0.0


@dataclass(frozen=True)
class Study:
    """A declared claim with everything that its verdict depends on.

    Attributes:
        id: of FACTS' and the ledger's lists, such as `ML-F3`.
        version: raised whenever the rule, the contrasts or a sweep changes after a recorded run.
        claim: one sentence.
        source: paper and place.
        printed: what the paper prints, name to value in words; empty where it prints nothing.
        contradicted_by: what would contradict the claim, in one sentence.
        measure: of a trained study: `measure(result, points)`, from what `analysis` gave of the
            finished runs and how all runs ended; of an exact one: `measure()`.
        primary: judged for the verdict; None for an exact study, which has checks.
        secondary: reported beside, adjusted for their number by Holm.
        scales: by name, the settings.
        analysis: the analysis that reads the runs; empty for an exact study.
        errata: known mistakes of the source that bear on the claim.
        history: one sentence for each version after the first: what changed and why.
    """

    id: str
    version: int
    claim: str
    source: str
    printed: Mapping[str, str]
    contradicted_by: str
    measure: Callable[[Result, Sequence[PointOutcome]], Evidence] | Callable[[], Evidence]
    primary: Contrast | None
    scales: Mapping[str, tuple[Setting, ...]]
    secondary: tuple[Contrast, ...] = ()
    analysis: str = ""
    errata: tuple[str, ...] = ()
    history: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether nothing is trained: the claim holds or fails."""
        return self.primary is None
