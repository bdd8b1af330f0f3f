"""The same claim judged with the runs that diverged and without them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from resprobe_analyses.studies.criteria.judgement import UNDECIDED, Criterion, Judgement
from resprobe_analyses.studies.evidence import Sample

RULE = (
    "diverged runs count at chance in accuracies and are missing from norms; a verdict is given "
    "only where it is the same with them and without them, else it is undecided"
)


@dataclass(frozen=True)
class BothWays:
    """A verdict with what it rests on.

    Attributes:
        verdict: the one with the diverged runs if the outcome is the same without them, else
            `undecided` with the same numbers and a reason that names both outcomes.
        with_diverged: of all runs.
        without_diverged: of the seeds whose runs all ended well; None where no run diverged.
        diverged: seeds with a diverged run.
    """

    verdict: Judgement
    with_diverged: Judgement
    without_diverged: Judgement | None
    diverged: int


def with_and_without(criterion: Criterion, sample: Sample, reference: float) -> BothWays:
    """Judge a sample with and without its diverged runs.

    To leave diverged runs out keeps the lucky ones; to count them at chance lets a few failures
    pass for a difference between trained networks. A reader should not have to know which of the
    two made the verdict, so only one that both give is given.

    Args:
        criterion: the rule.
        sample: with values of diverged runs as they count: at chance, or NaN.
        reference: sizes `needed`.

    Returns:
        The verdict and both judgements.
    """
    judged = criterion.judge(sample, reference)
    diverged = int(sample.diverged.sum())
    if not diverged:
        return BothWays(judged, judged, None, 0)
    kept = criterion.judge(sample.without_diverged(), reference)
    if kept.outcome == judged.outcome:
        return BothWays(judged, judged, kept, diverged)
    seeds = "the seed whose runs" if diverged == 1 else f"the {diverged} seeds whose runs"
    reason = (
        f"{judged.outcome} with {seeds} diverged, {kept.outcome} without ({judged.reason}; "
        f"{kept.reason})"
    )
    needed = judged.needed or kept.needed
    verdict = replace(judged, outcome=UNDECIDED, needed=needed, reason=reason)
    return BothWays(verdict, judged, kept, diverged)
