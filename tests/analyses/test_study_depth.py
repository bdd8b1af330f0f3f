"""ML-F3 on networks whose exponents are known."""

from __future__ import annotations

import numpy as np
import pytest
from depth_networks import build_network, power_law
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_analyses.norm_vs_depth.curves import curves_of
from resprobe_analyses.norm_vs_depth.labelled import dataset
from resprobe_analyses.norm_vs_depth.networks import read_networks
from resprobe_analyses.norm_vs_depth.scaling import groups_of
from resprobe_analyses.studies.criteria import CONTRADICTED, NOT_ATTEMPTED, REPRODUCED
from resprobe_analyses.studies.ml_f3 import EXPONENT, LATER, LEARNED, STUDY
from study_points import point, result_of

DEPTHS = (3, 6, 9, 15, 21, 27)
SPREAD = (-0.02, -0.01, 0.0, 0.01, 0.02)


def measured(inputs, points):
    networks = read_networks(inputs)
    data = dataset(networks, groups_of(networks), curves_of(networks))
    return STUDY.measure(result_of(data), points)


def points_of(inputs, **endings):
    """The run of every network, and of others by `d15_s2="diverged"`."""
    found = [point(net.seed, settings={"depth": net.label}) for net in inputs]
    for name, status in endings.items():
        found.append(point(int(name[-1]), status, settings={"depth": name.replace("_", "-")}))
    return found


def judged(evidence, name):
    contrast = next(c for c in (STUDY.primary, *STUDY.secondary) if c.name == name)
    return contrast.criterion.judge(evidence.samples[name], contrast.reference).outcome


@settings(max_examples=4, deadline=None)
@given(st.lists(st.floats(-2, 1), min_size=5, max_size=5))
def test_each_seed_counts_with_its_own_exponent(exponents):
    inputs = power_law(exponents, DEPTHS, untrained=[0.25] * 5)
    samples = measured(inputs, points_of(inputs)).samples
    assert samples[EXPONENT].seeds == (0, 1, 2, 3, 4)
    np.testing.assert_allclose(samples[EXPONENT].values, exponents, atol=1e-9)
    np.testing.assert_allclose(samples[LATER].values, exponents, atol=1e-9)
    np.testing.assert_allclose(samples[LEARNED].values, np.array(exponents) - 0.25, atol=1e-9)


@pytest.mark.parametrize(("exponent", "outcome"), [(-1.0, REPRODUCED), (-0.5, CONTRADICTED)])
def test_the_printed_exponent_is_reproduced_and_half_of_it_contradicts(exponent, outcome):
    inputs = power_law([exponent + by for by in SPREAD], DEPTHS)
    assert judged(measured(inputs, points_of(inputs)), EXPONENT) == outcome


def test_sum_of_branches_is_told_as_a_ratio_of_the_deepest_to_the_shallowest():
    inputs = power_law([-0.5 + by for by in SPREAD], DEPTHS)
    note = measured(inputs, points_of(inputs)).notes[0]
    assert "exponent is -0.5 [" in note
    assert "at the deepest is 3 [" in note  # (27 / 3)^(1 - 0.5)


def test_blocks_that_begin_a_stage_are_left_out_of_their_version():
    """Stage-first blocks of equal norm, later ones falling as 1/d."""
    inputs = [
        build_network(depth, seed, lambda j, d=depth: np.where(j % (d // 3), 30 / d, 20.0))
        for depth in DEPTHS[1:]
        for seed in range(5)
    ]
    samples = measured(inputs, points_of(inputs)).samples
    np.testing.assert_allclose(samples[LATER].values, -1, atol=1e-9)
    deeper = np.array(DEPTHS[1:])  # of three blocks all begin a stage
    gammas = (3 * 20 + (deeper - 3) * 30 / deeper) / deeper
    slope = np.polyfit(np.log(deeper), np.log(gammas), 1)[0]
    np.testing.assert_allclose(samples[EXPONENT].values, slope, atol=1e-9)


def test_a_diverged_run_leaves_its_depth_out_for_all_and_marks_its_seed():
    inputs = [net for net in power_law([-1 + by for by in SPREAD], DEPTHS) if net.label != "d27-s2"]
    evidence = measured(inputs, points_of(inputs, d27_s2="diverged"))
    np.testing.assert_allclose(evidence.samples[EXPONENT].values, np.array(SPREAD) - 1, atol=1e-9)
    assert evidence.samples[EXPONENT].diverged.tolist() == [False, False, True, False, False]
    assert any("1 of 30 runs diverged: d27-s2-seed-2." in note for note in evidence.notes)
    assert "over d = 3, 6, 9, 15, 21 the exponent" in evidence.notes[0]


def test_below_five_depths_there_is_no_exponent():
    inputs = power_law([-1 + by for by in SPREAD], DEPTHS[:4], untrained=[0.0] * 5)
    evidence = measured(inputs, points_of(inputs))
    assert all(np.isnan(sample.values).all() for sample in evidence.samples.values())
    assert judged(evidence, EXPONENT) == NOT_ATTEMPTED


def test_a_run_at_the_cap_of_epochs_does_not_count_and_is_told():
    inputs = power_law([-1 + by for by in SPREAD], DEPTHS)
    short = build_network(27, 4, 100.0, loss=0.2, status="reached_cap")
    inputs = [short if net.label == short.label else net for net in inputs]
    points = [
        point(4, "reached_cap", settings={"depth": "d27"}) if net is short else point(net.seed)
        for net in inputs
    ]
    evidence = measured(inputs, points)
    np.testing.assert_allclose(evidence.samples[EXPONENT].values, np.array(SPREAD) - 1, atol=1e-9)
    assert any("1 of 30 runs reached the cap of epochs" in note for note in evidence.notes)
    assert not evidence.samples[EXPONENT].diverged.any()


def test_untrained_networks_are_compared_over_the_depths_they_have():
    """Of the deepest nothing was measured before its training."""
    inputs = power_law([-1 + by for by in SPREAD], DEPTHS[:5], untrained=[0.5] * 5)
    inputs += power_law([0.0] * 5, (27,))  # γ as at depth 1: an exponent over all depths is bent
    samples = measured(inputs, points_of(inputs)).samples
    np.testing.assert_allclose(samples[LEARNED].values, np.array(SPREAD) - 1.5, atol=1e-9)
    assert (samples[EXPONENT].values > -0.9).all()
