"""Intervals cover and rules decide as often as they promise, at the seeds that studies use.

`python -m pytest tests/analyses/test_coverage_of_intervals.py -m slow -s` prints both tables.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from resprobe_analyses import statistics
from resprobe_analyses.studies.criteria import (
    CONTRADICTED,
    REPRODUCED,
    UNDECIDED,
    Band,
    Criterion,
    Directional,
    Equivalence,
    FailureRate,
    ThinnerBand,
)
from scipy import stats
from synthetic_truth import BLOCKS, CASES, Case, correlated_blocks, coverage, pearson

SEEDS = (5, 8, 10)
DRAWS = 2_000
MANY_DRAWS = 40_000


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_every_interval_covers_as_it_promises(case, seeds):
    """In 93 to 97 % of 2,000 draws: within four standard errors of a coverage of 95 %."""
    found = coverage(case, seeds, DRAWS)
    assert found >= case.level - 0.02
    if case.promise != "at least":
        assert found <= case.level + 0.02


@pytest.mark.parametrize("seeds", SEEDS)
def test_the_interval_of_a_rate_covers_whatever_the_rate(seeds):
    """Summed over all counts, so without draws: at least 95 %, never 93 to 97 % throughout."""
    counts = np.arange(seeds + 1)
    rates = np.linspace(0, 1, 2_001)[:, None]
    low, high = statistics.rate_interval(counts, seeds)
    held = np.where((low <= rates) & (rates <= high), stats.binom.pmf(counts, seeds, rates), 0)
    assert held.sum(axis=1).min() >= 0.95


@dataclass(frozen=True)
class Decision:
    """A rule, a synthetic truth, and how often it should decide.

    Attributes:
        name: as the table prints it.
        rule: it.
        reference: the true effect, as `power` takes it.
        spread: the true standard deviation, as `power` takes it.
        decide: `decide(generator, seeds, draws)` gives outcomes of values drawn from that truth.
        wrong: the outcomes that are mistakes there, and the largest share of draws in which the
            rule may make them.
    """

    name: str
    rule: Criterion
    reference: float
    spread: float
    decide: Callable[[np.random.Generator, int, int], np.ndarray]
    wrong: tuple[tuple[str, ...], float] = ((), 0.0)


def of_mean(name, rule, reference, spread, *, centre=None, bring=lambda x: x, wrong=((), 0.0)):
    """Decisions on the mean of values that are normal around `centre` before `bring`."""
    middle = reference if centre is None else centre

    def decide(generator, seeds, draws):
        return rule.decide(bring(generator.normal(middle, spread, size=(seeds, draws))))

    return Decision(name, rule, reference, spread, decide, wrong)


def of_spreads(name, ratio, wrong=((), 0.0)):
    rule = ThinnerBand()

    def decide(generator, seeds, draws):
        first, second = generator.normal(size=(2, seeds, draws))
        return rule.decide(ratio * first, second)

    return Decision(name, rule, ratio, np.nan, decide, wrong)


def of_rate(name, rule, rate, wrong=((), 0.0)):
    def decide(generator, seeds, draws):
        return rule.decide((generator.random((seeds, draws)) < rate).astype(float))

    return Decision(name, rule, rate, np.nan, decide, wrong)


UP, RATIO, BAND = Directional(+1), Directional(+1, "log"), Band(-1.25, -0.75, claimed=-1.0)
BY_Z = Directional(+1, "correlation", items=60)
PAR, OFTEN = Equivalence(0.006, "YT"), FailureRate(+1, 0.5)
EITHER = (REPRODUCED, CONTRADICTED)
DECISIONS = (
    of_mean("direction, no effect", UP, 0.0, 1.0, wrong=(EITHER, 0.05)),
    of_mean("direction, half a standard deviation", UP, 0.5, 1.0, wrong=((CONTRADICTED,), 0.025)),
    of_mean("direction, one and a half against it", UP, -1.5, 1.0, wrong=((REPRODUCED,), 0.025)),
    of_mean("ratio 1", RATIO, 1.0, 0.4, centre=0.0, wrong=(EITHER, 0.05)),
    of_mean("ratio 1.6", RATIO, 1.6, 0.4, centre=np.log(1.6)),
    of_mean("correlation 0", BY_Z, 0.0, 0.25, bring=np.tanh, wrong=(EITHER, 0.05)),
    of_mean("correlation 0.3", BY_Z, 0.3, 0.25, centre=np.arctanh(0.3), bring=np.tanh),
    of_mean("on par, no difference", PAR, 0.0, 0.004, wrong=((CONTRADICTED,), 0.025)),
    of_mean("on par, no difference, wide", PAR, 0.0, 0.012, wrong=((CONTRADICTED,), 0.025)),
    of_mean("on par, half the margin", PAR, 0.003, 0.004, wrong=((CONTRADICTED,), 0.025)),
    of_mean("on par, at the margin", PAR, 0.006, 0.004, wrong=((REPRODUCED,), 0.05)),
    of_mean("on par, 0.012 behind", PAR, -0.012, 0.004, wrong=((REPRODUCED,), 0.05)),
    of_mean("band, at the claim", BAND, -1.0, 0.15, wrong=((CONTRADICTED,), 0.025)),
    of_mean("band, at an edge", BAND, -0.75, 0.15, wrong=((REPRODUCED,), 0.025)),
    of_mean("band, half the claim", BAND, -0.5, 0.15, wrong=((REPRODUCED,), 0.025)),
    of_mean("band, half the claim, wide", BAND, -0.5, 0.4, wrong=((REPRODUCED,), 0.025)),
    of_spreads("equal spreads", 1.0, wrong=(EITHER, 0.05)),
    of_spreads("a third of the spread", 1 / 3, wrong=((CONTRADICTED,), 0.025)),
    of_rate("failures at the stated rate", OFTEN, 0.5, wrong=(EITHER, 0.05)),
    of_rate("failures at 0.9", OFTEN, 0.9, wrong=((CONTRADICTED,), 0.025)),
    of_rate("failures at 0.05", OFTEN, 0.05, wrong=((REPRODUCED,), 0.025)),
)


def outcomes(decision: Decision, seeds: int, draws: int) -> np.ndarray:
    generator = np.random.default_rng([seeds, draws, *decision.name.encode()])
    found = decision.decide(generator, seeds, draws)
    assert found.shape == (draws,)
    return found


def four_errors(share: float, draws: int) -> float:
    """Four standard errors of a share: passed by chance once in 16,000 comparisons."""
    return 4 * np.sqrt(share * (1 - share) / draws)


def check_decision(decision: Decision, seeds: int, draws: int) -> None:
    found = outcomes(decision, seeds, draws)
    power = decision.rule.power(decision.reference, decision.spread, seeds)
    decided = np.mean(found != UNDECIDED)
    assert decided == pytest.approx(power, abs=four_errors(power, draws) + 1 / draws)
    mistakes, most = decision.wrong
    assert np.mean(np.isin(found, mistakes)) <= most + four_errors(most, draws)


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("decision", [pytest.param(one, id=one.name) for one in DECISIONS])
def test_rules_decide_as_often_as_their_power_says_and_seldom_wrongly(decision, seeds):
    check_decision(decision, seeds, DRAWS)


@pytest.mark.parametrize("seeds", SEEDS)
def test_correlations_of_blocks_without_any_are_seldom_taken_for_some(seeds):
    """Fisher's z of 18 blocks is not quite normal; the rule keeps its 5 % nevertheless."""
    generator = np.random.default_rng([seeds, BLOCKS])
    values = pearson(*correlated_blocks(generator, (seeds, DRAWS), 0.0))
    found = Directional(+1, "correlation", items=BLOCKS).decide(values)
    assert np.mean(found != UNDECIDED) == pytest.approx(0.05, abs=four_errors(0.05, DRAWS))


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("shared", [0.0, 1.0], ids=["apart", "sharing their seeds"])
def test_holm_keeps_the_error_of_a_family_of_contrasts(shared, seeds):
    """Five contrasts without effect: in at most 5 % of draws is any of them found."""
    generator = np.random.default_rng([seeds, int(shared)])
    common = shared * generator.normal(size=(seeds, DRAWS, 1))
    values = common + generator.normal(size=(seeds, DRAWS, 5))
    p_values = statistics.student_p(values)
    any_found = np.mean([statistics.holm(each).min() < 0.05 for each in p_values])
    assert any_found <= 0.05 + four_errors(0.05, DRAWS)
    unadjusted = np.mean(p_values.min(axis=1) < 0.05)
    assert unadjusted > 0.05 + four_errors(0.05, DRAWS)


@pytest.mark.slow
def test_the_table_of_coverage():
    """Prints 2,000 draws; with 40,000 an interval that is exact lies within four errors of it."""
    write = sys.stdout.write
    write(f"\ncoverage in % of {DRAWS:,} draws ({MANY_DRAWS:,} in brackets)\n")
    write(f"{'interval':<58}{'promise':>14}" + "".join(f"{f'n = {n}':>16}" for n in SEEDS) + "\n")
    for case in CASES:
        few = [coverage(case, seeds, DRAWS) for seeds in SEEDS]
        many = [coverage(case, seeds, MANY_DRAWS) for seeds in SEEDS]
        cells = (f"{100 * a:9.1f} ({100 * b:4.1f})" for a, b in zip(few, many, strict=True))
        promise = f"{case.promise} {100 * case.level:.0f}"
        write(f"{case.name:<58}{promise:>14}" + "".join(f"{cell:>16}" for cell in cells) + "\n")
        for found in many:
            check_promise(case, found)


def check_promise(case: Case, found: float) -> None:
    error = four_errors(case.level, MANY_DRAWS)
    if case.promise == "near":
        assert case.level - 0.02 <= found <= case.level + 0.02
        return
    assert found >= case.level - error
    if case.promise == "exact":
        assert found <= case.level + error


@pytest.mark.slow
def test_the_table_of_power():
    """Prints 2,000 draws beside the computed power; 40,000 agree with it."""
    write = sys.stdout.write
    write(f"\ndecided in % of {DRAWS:,} draws (computed power in brackets)\n")
    write(f"{'rule and truth':<44}" + "".join(f"{f'n = {n}':>16}" for n in SEEDS) + "\n")
    for decision in DECISIONS:
        cells = []
        for seeds in SEEDS:
            share = np.mean(outcomes(decision, seeds, DRAWS) != UNDECIDED)
            power = decision.rule.power(decision.reference, decision.spread, seeds)
            cells.append(f"{100 * share:9.1f} ({100 * power:4.1f})")
            check_decision(decision, seeds, MANY_DRAWS)
        write(f"{decision.name:<44}" + "".join(f"{cell:>16}" for cell in cells) + "\n")
