"""ML-F7 on curves that are known functions of time."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from depth_networks import build_network
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_analyses.norm_vs_depth.curves import curves_of as curves_by_block
from resprobe_analyses.norm_vs_depth.labelled import dataset
from resprobe_analyses.norm_vs_depth.networks import read_networks
from resprobe_analyses.norm_vs_depth.scaling import groups_of
from resprobe_analyses.statistics import fisher_z
from resprobe_analyses.studies.criteria import CONTRADICTED, REPRODUCED
from resprobe_analyses.studies.ml_f7 import (
    ALL,
    DRAWS,
    STUDY,
    TIMES,
    TREND,
    curves_of,
    excess_distance,
    on_common_times,
    trends,
)
from study_points import point, result_of

NETS = ((6, 1.0), (12, 0.5), (24, 0.25))
AT_ONE = float(fisher_z(1.0, TIMES))  # of a correlation of 1, which is kept finite


def network(blocks, h, seed, force):
    """Its ‖F‖ at time t is `force(t)`."""
    return build_network(blocks, seed, lambda j: h * force(h * j), h=h, target=None)


def networks(forces, seeds=range(5)):
    """A network of every step size and seed, ‖F‖ a function of time, step size and seed."""
    return [
        network(blocks, h, seed, lambda t, h=h, s=seed: forces(t, h, s))
        for seed in seeds
        for blocks, h in NETS
    ]


def analyzed(inputs):
    read = read_networks(inputs)
    return dataset(read, groups_of(read), curves_by_block(read))


def points_of(missing=(), status="diverged"):
    """The run of every step size and seed."""
    return [
        point(seed, status if (h, seed) in missing else "finished", f"h{h}", {"model.h": h})
        for seed in range(5)
        for _, h in NETS
    ]


def judged(evidence):
    return STUDY.primary.criterion.judge(evidence.samples[TREND], STUDY.primary.reference).outcome


def test_one_function_of_time_is_one_trend():
    """Lines survive interpolation, so every correlation is 1."""
    inputs = networks(lambda t, h, s: 3 + t * (1 + s))
    evidence = STUDY.measure(result_of(analyzed(inputs)), points_of())
    np.testing.assert_allclose(np.arctanh(evidence.samples[ALL].values), AT_ONE, rtol=1e-6)
    # at 17 common times 1 is kept a little further away
    assert (evidence.samples[TREND].values > 0.99).all()


def test_opposite_trends_contradict():
    """Two of the three pairs have the correlation -1, one has 1: a third of z, negative."""
    inputs = networks(lambda t, h, s: 3 + t if h == 1 else 9 + 0.1 * s - t)
    evidence = STUDY.measure(result_of(analyzed(inputs)), points_of())
    np.testing.assert_allclose(np.arctanh(evidence.samples[ALL].values), -AT_ONE / 3, rtol=1e-6)


def test_a_noisy_trend_is_reproduced_and_a_noisy_opposite_one_contradicted():
    generator = np.random.default_rng(3)

    def noisy(sign):
        return networks(
            lambda t, h, s: 9 + (sign if h == 1 else 1) * t + generator.normal(0, 0.4, np.shape(t))
        )

    for sign, outcome in ((1, REPRODUCED), (-1, CONTRADICTED)):
        evidence = STUDY.measure(result_of(analyzed(noisy(sign))), points_of())
        assert judged(evidence) == outcome


def test_jumps_at_the_beginning_of_stages_do_not_carry_the_trend():
    """All networks jump alike; between the jumps the coarse one rises where the others fall."""

    def force(t, h, s):
        return 4 + (1 if h == 1 else -1) * t / 10 + 5 * (np.isin(t, (0, 2, 4)))

    samples = STUDY.measure(result_of(analyzed(networks(force))), points_of()).samples
    assert (samples[ALL].values > 0.5).all()
    assert (samples[TREND].values < -0.5).all()


def test_a_seed_with_a_diverged_network_has_no_number_and_says_so():
    inputs = [net for net in networks(lambda t, h, s: 3 + t) if net.label != "d24-s3"]
    evidence = STUDY.measure(result_of(analyzed(inputs)), points_of([(0.25, 3)]))
    sample = evidence.samples[TREND]
    assert np.isnan(sample.values).tolist() == [False, False, False, True, False]
    assert sample.diverged.tolist() == [False, False, False, True, False]
    assert any(note.startswith("1 of 15 runs diverged") for note in evidence.notes)


def test_if_no_network_of_a_step_size_was_trained_there_is_no_number():
    inputs = [net for net in networks(lambda t, h, s: 3 + t) if not net.label.startswith("d24")]
    missing = [(0.25, seed) for seed in range(5)]
    evidence = STUDY.measure(result_of(analyzed(inputs)), points_of(missing, "failed"))
    assert np.isnan(evidence.samples[TREND].values).all()


def test_common_times_are_those_of_the_finest_within_the_span_of_all():
    curves = curves_of(analyzed(networks(lambda t, h, s: t**2, [0])), later=False)
    coarse, middle, fine = on_common_times(curves)
    times = np.arange(TIMES) / 4
    assert times[-1] == 5  # where the coarsest network has its last block
    np.testing.assert_allclose(fine, times**2)
    np.testing.assert_allclose(coarse, np.interp(times, np.arange(6), np.arange(6) ** 2))
    np.testing.assert_allclose(middle[::2], times[::2] ** 2)


def test_trend_is_the_mean_z_of_the_three_correlations():
    generator = np.random.default_rng(0)
    made = networks(lambda t, h, s: generator.uniform(1, 2, np.shape(t)), [0])
    curves = curves_of(analyzed(made), later=False)
    values = on_common_times(curves)
    rs = [np.corrcoef(values[a], values[b])[0, 1] for a, b in combinations(range(3), 2)]
    found = trends(curves, [h for _, h in NETS])
    assert found[0] == pytest.approx(np.tanh(np.mean(np.arctanh(rs))))


def by_hand(values, sizes):
    """Mean distances at different and at equal step size, pair by pair."""
    different, equal = [], []
    for (a, x), (b, y) in combinations(zip(values, sizes, strict=True), 2):
        scale = np.sqrt((np.sum(a**2) + np.sum(b**2)) / 2)
        (equal if x == y else different).append(np.sqrt(np.sum((a - b) ** 2)) / scale)
    return np.mean(different), np.mean(equal)


def test_excess_distance_and_its_p_are_those_of_all_permutations():
    generator = np.random.default_rng(1)
    sizes = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
    values = generator.uniform(1, 2, (6, 5)) + 0.3 * (sizes == 1)[:, None]
    different, equal, p = excess_distance(values, sizes, generator)
    assert (different, equal) == pytest.approx(by_hand(values, sizes))
    all_of_them = [np.subtract(*by_hand(values, order)) for order in permutations(sizes)]
    exact = np.mean(np.array(all_of_them) >= different - equal - 1e-12)
    # four binomial standard deviations of the draws
    assert abs(p - exact) < 4 * np.sqrt(exact * (1 - exact) / DRAWS) + 1 / DRAWS


@settings(max_examples=10, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 99))
def test_distances_do_not_depend_on_the_unit(unit, seed):
    values = np.random.default_rng(seed).uniform(1, 2, (6, 4))
    sizes = np.repeat([1.0, 0.5, 0.25], 2)
    one, other = (
        excess_distance(scale * values, sizes, np.random.default_rng(0)) for scale in (1, unit)
    )
    assert one[:2] == pytest.approx(other[:2])
