"""The rules of a study applied to what it measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from resprobe.errors import InputError
from resprobe_analyses.reproduce import words
from resprobe_analyses.statistics import holm
from resprobe_analyses.studies.criteria import (
    CONTRADICTED,
    REPRODUCED,
    UNDECIDED,
    BothWays,
    Judgement,
    with_and_without,
)
from resprobe_analyses.studies.evidence import Evidence, Sample
from resprobe_analyses.studies.study import Contrast, Study

ALPHA = 0.05  # of the family of secondary contrasts


@dataclass(frozen=True)
class Secondary:
    """A secondary contrast with what its rule says.

    Attributes:
        contrast: the contrast.
        judgement: with the diverged runs and without them, adjusted.
        p_adjusted: by Holm over the secondary contrasts of the study; NaN where there is none.
    """

    contrast: Contrast
    judgement: Judgement
    p_adjusted: float


def judge(contrast: Contrast, evidence: Evidence) -> BothWays:
    """Judge a contrast, with diverged runs and without them.

    Raises:
        InputError: the study measured no sample of it.
    """
    sample = sample_of(contrast, evidence)
    return with_and_without(contrast.criterion, sample, contrast.reference)


def judge_secondary(study: Study, evidence: Evidence) -> list[Secondary]:
    """Judge the secondary contrasts, adjusted for their number by Holm.

    Like the primary one each is judged with diverged runs and without them. A decision that rests
    on p < 0.05 becomes undecided where the adjusted p is not below it.

    Raises:
        InputError: the study measured no sample of one of them.
    """
    judged = [judge(contrast, evidence).verdict for contrast in study.secondary]
    adjusted = holm([item.p_value for item in judged])
    return [
        Secondary(contrast, _adjusted(judgement, float(p)), float(p))
        for contrast, judgement, p in zip(study.secondary, judged, adjusted, strict=True)
    ]


def sample_of(contrast: Contrast, evidence: Evidence) -> Sample:
    """Give the sample of a contrast.

    Raises:
        InputError: the study did not measure it.
    """
    if contrast.name not in evidence.samples:
        there = words.listed(sorted(evidence.samples)) if evidence.samples else "none"
        raise InputError(
            f"the study measured no contrast {contrast.name!r}, which it declares (it gave "
            f"{there}); repair its package."
        )
    return evidence.samples[contrast.name]


def _adjusted(judgement: Judgement, p_adjusted: float) -> Judgement:
    rests_on_p = judgement.outcome in (REPRODUCED, CONTRADICTED) and judgement.p_value < ALPHA
    if not rests_on_p or p_adjusted < ALPHA:
        return judgement
    reason = (
        f"alone it would be {judgement.outcome}, but adjusted for the number of secondary "
        f"contrasts p = {p_adjusted:.3f}"
    )
    return replace(judgement, outcome=UNDECIDED, reason=reason)
