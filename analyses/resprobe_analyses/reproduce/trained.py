"""What a trained study gives: its analysis reads the finished runs, then the study is asked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import resprobe
from resprobe import registry
from resprobe.analyze import describe, write
from resprobe.errors import InputError
from resprobe.result import Analysis, Result
from resprobe_analyses.reproduce.drawn import write_drawn
from resprobe_analyses.reproduce.plan import Planned
from resprobe_analyses.studies.evidence import Evidence
from resprobe_analyses.sweeps.outcomes import PointOutcome


def measure_trained(planned: Planned, points: Sequence[PointOutcome], folder: Path) -> Evidence:
    """Analyze the runs that were trained to their end, and measure the study's contrasts on them.

    Args:
        planned: the study.
        points: how all its runs ended.
        folder: where the analysis, the study's data set and the figures are written.

    Raises:
        ResprobeError: no run was trained to its end, or the analysis refuses those that were.
    """
    result = _analyzed(planned.study.analysis, [p.run for p in points if p.trained])
    write(result, folder)
    evidence: Evidence = planned.study.measure(result, points)  # type: ignore[call-arg]  # a trained one
    write_drawn(evidence, folder)
    return evidence


def _analyzed(name: str, runs: Sequence[Path]) -> Result:
    analysis: Analysis = registry.load("analyses", name)
    if not runs:
        raise InputError("no run was trained to its end, so that nothing can be analyzed.")
    with ExitStack() as opened:
        inputs = []
        for run in runs:
            tree = resprobe.open(run)
            opened.callback(tree.close)
            inputs.append(describe(run, tree, analysis.families))
        return analysis.function(inputs)
