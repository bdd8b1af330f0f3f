"""The exponent of γ against depth, the rule, and what is said of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from depth_networks import build_network, power_law
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses.estimates import Estimate
from resprobe_analyses.norm_vs_depth import ANALYSIS, analyze
from resprobe_analyses.norm_vs_depth.rule import outcome
from resprobe_analyses.norm_vs_depth.tables import complete_table
from resprobe_analyses.statistics import power_laws
from resprobe_analyses.studies.criteria import (
    CONTRADICTED,
    NOT_ATTEMPTED,
    REPRODUCED,
    UNDECIDED,
)
from scipy import stats

NOISE = (-0.06, 0.02, 0.05, -0.03, 0.01)
DEPTHS = (3, 6, 9, 15, 24)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Drawing takes most of the time and is tested apart."""
    monkeypatch.setattr("resprobe_analyses.norm_vs_depth.figures.figures", lambda *_: {})


def around(exponent: float, spread: float = 1.0) -> list[float]:
    return [exponent + spread * noise for noise in NOISE]


def whole(result) -> dict:
    return result.verdict["findings"]["step_sizes"][0]["versions"]["all blocks"]


def test_a_reciprocal_gives_minus_one_with_an_interval_of_no_width():
    result = analyze(power_law([-1.0] * 5))
    found = whole(result)["trained"]["exponent"]
    assert found["value"] == pytest.approx(-1, abs=1e-12)
    if found["interval"][0] is not None:  # rounding of all five seeds may agree exactly
        assert found["interval"] == pytest.approx([-1, -1], abs=1e-12)
    growth = whole(result)["trained"]["growth_of_total"]
    assert growth["value"] == pytest.approx(1, abs=1e-12)


def test_slopes_and_their_interval_are_those_of_scipy():
    generator = np.random.default_rng(3)
    gammas = 20 * np.array(DEPTHS) ** -0.7 * np.exp(0.2 * generator.standard_normal((5, 5)))
    nets = [
        build_network(depth, seed, float(gammas[seed, column]))
        for seed in range(5)
        for column, depth in enumerate(DEPTHS)
    ]
    slopes = [stats.linregress(np.log(DEPTHS), np.log(row)).slope for row in gammas]
    expected = stats.ttest_1samp(slopes, 0).confidence_interval(0.95)
    result = analyze(nets)
    found = whole(result)["trained"]
    assert found["slopes"] == pytest.approx(slopes)
    assert found["exponent"]["value"] == pytest.approx(np.mean(slopes))
    assert found["exponent"]["interval"] == pytest.approx([expected.low, expected.high])
    data = result.dataset.isel(step_size=0).sel(version="all blocks")
    assert data["trained_exponent_interval"].values == pytest.approx([expected.low, expected.high])
    assert data["trained_slope"].values == pytest.approx(slopes)
    assert data["trained_gamma_by_depth"].values == pytest.approx(gammas)


@given(
    exponent=st.floats(-3, 3),
    scale=st.floats(1e-3, 1e3),
    depths=st.lists(st.integers(1, 200), min_size=2, max_size=8, unique=True),
)
def test_a_power_law_is_found_whatever_its_constant(exponent, scale, depths):
    slopes, constants = power_laws(depths, [scale * np.array(depths, float) ** exponent])
    assert slopes[0] == pytest.approx(exponent, abs=1e-6)
    assert constants[0] == pytest.approx(scale, rel=1e-4)


@pytest.mark.parametrize(
    ("x", "y"),
    [([3, 3], [[1, 2]]), ([1, 2], [[1, 0]]), ([0, 2], [[1, 1]]), ([1, 2], [[1, np.nan]])],
)
def test_a_power_law_needs_two_positive_points(x, y):
    with pytest.raises(ValueError, match=r"power law|positive"):
        power_laws(x, y)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-1.25, -0.75, REPRODUCED),
        (-1.1, -1.02, REPRODUCED),
        (-1.26, -0.9, UNDECIDED),
        (-0.9, -0.6, UNDECIDED),
        (-2.0, 0.0, UNDECIDED),
        (-0.74, -0.5, CONTRADICTED),
        (-1.9, -1.3, CONTRADICTED),
    ],
)
def test_the_rule(low, high, said):
    between = Estimate(*(np.asarray(x) for x in ((low + high) / 2, low, high)), "seeds", 5)
    assert outcome(between, ()) == said
    assert outcome(between, ("4 depths",)) == NOT_ATTEMPTED
    assert outcome(None, ()) == NOT_ATTEMPTED


@pytest.mark.parametrize(
    ("exponents", "said"),
    [
        (around(-1), REPRODUCED),
        (around(-0.5), CONTRADICTED),
        (around(-0.9, 5), UNDECIDED),
        (around(-1)[:4], NOT_ATTEMPTED),
    ],
)
def test_each_outcome_is_reached_and_told(exponents, said):
    result = analyze(power_law(exponents))
    assert result.verdict["outcome"] == said
    assert said in result.summary.splitlines()[0]


def test_fewer_depths_than_five_are_named():
    result = analyze(power_law(around(-1), depths=(3, 6, 9, 15)))
    assert result.verdict["outcome"] == NOT_ATTEMPTED
    assert result.verdict["failures"] == ["4 depths instead of 5 or more"]
    assert whole(result)["trained"]["exponent"]["interval"][0] is not None
    assert "4 depths instead of 5 or more" in result.summary


@pytest.mark.parametrize(
    ("options", "failure"),
    [
        ({"target": None}, "no train.stop_train_loss"),
        ({"loss": None}, "the training loss of d3-s0"),
    ],
)
def test_one_training_loss_for_all_is_a_condition(options, failure):
    result = analyze(power_law(around(-1), **options))
    assert result.verdict["outcome"] == NOT_ATTEMPTED
    assert failure in result.verdict["failures"][0]


def test_different_targets_are_named():
    nets = [net for net in power_law(around(-1)) if net.label != "d24-s4"]
    result = analyze([*nets, build_network(24, 4, 1.0, target=0.1)])
    assert result.verdict["failures"] == ["different train.stop_train_loss (0.05, 0.1)"]


def test_networks_that_are_one_and_the_same_give_no_interval():
    nets = [build_network(d, seed, 1 / d) for seed in range(5) for d in DEPTHS]
    result = analyze(nets)
    assert result.verdict["outcome"] == NOT_ATTEMPTED
    assert "not independent" in result.verdict["failures"][0]


def test_a_run_at_the_cap_is_listed_with_the_reason_and_does_not_count():
    nets = power_law(around(-1), depths=(*DEPTHS, 36))
    at_cap = build_network(36, 4, 99.0, loss=0.3, status="reached_cap")
    result = analyze([*nets[:-1], at_cap])
    reason = result.verdict["excluded"]["d36-s4"]
    assert "hit the cap of 30 epochs" in reason
    assert "0.3" in reason
    # the depth that misses a seed goes, not the seed: five of both are left
    assert whole(result)["trained"]["depths"] == list(DEPTHS)
    assert result.verdict["outcome"] == REPRODUCED
    assert "d36-s4 does not count: it hit the cap" in result.summary
    assert "d36-s0, d36-s1, d36-s2, d36-s3 do not count" in result.summary


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (build_network(24, 4, 1.0, loss=None, status="diverged"), "diverged"),
        (build_network(24, 4, 1.0, loss=0.2, status="running"), "at the checkpoint measured"),
        (build_network(24, 4, float("nan")), "not finite"),
        (build_network(24, 4, 1.0, step=0, status="running"), "only its untrained network"),
    ],
)
def test_whoever_cannot_be_compared_is_named(changed, reason):
    result = analyze([*power_law(around(-1))[:-1], changed])
    assert reason in result.verdict["excluded"]["d24-s4"]
    assert f"d24-s4 does not count: {result.verdict['excluded']['d24-s4']}" in result.summary
    assert result.dataset["compared"].sel(network="d24-s4") == 0


@given(st.sets(st.tuples(st.integers(1, 6), st.integers(0, 5))))
def test_a_table_is_complete_and_never_loses_a_full_row_and_column(cells):
    depths, seeds = complete_table(cells)
    assert {(d, s) for d in depths for s in seeds} <= cells
    assert bool(depths) == bool(seeds) == bool(cells)
    full_depths = {d for d, _ in cells if all((d, s) in cells for _, s in cells)}
    assert full_depths <= set(depths)


@pytest.mark.parametrize(
    ("depths", "seeds", "missing", "kept"),
    [
        (6, 5, [(6, 4)], (5, 5)),
        (5, 6, [(5, 5)], (5, 5)),
        (5, 5, [(5, 4)], (4, 5)),
        (2, 2, [(2, 1)], (2, 1)),
        (2, 3, [(2, 1)], (2, 2)),
    ],
)
def test_what_misses_the_larger_share_goes(depths, seeds, missing, kept):
    cells = {(d, s) for d in range(1, depths + 1) for s in range(seeds)} - set(missing)
    found = complete_table(cells)
    assert (len(found[0]), len(found[1])) == kept


def test_stage_first_blocks_are_left_out_of_the_second_version():
    def norm(depth):
        # later blocks go as d^-1, the first of each stage as d
        def by_block(index):
            stage = index * 3 // depth
            first = index == np.searchsorted(stage, stage)
            return np.where(first, 10.0 * depth, 8.0 / depth)

        return by_block

    depths = (3, 6, 9, 12, 18, 24)
    nets = [build_network(d, seed, norm(d)) for seed in range(5) for d in depths]
    result = analyze(nets)
    versions = result.verdict["findings"]["step_sizes"][0]["versions"]
    later = versions["without stage-first blocks"]["trained"]
    assert later["depths"] == [6, 9, 12, 18, 24]  # three blocks are all first of their stage
    assert later["exponent"]["value"] == pytest.approx(-1)
    assert versions["all blocks"]["trained"]["exponent"]["value"] == pytest.approx(0, abs=0.03)
    deepest = result.verdict["findings"]["curves"][-1]["stage_first_excess"]
    assert deepest["value"] == pytest.approx(240 / (8 / 24))


def test_the_sum_over_blocks_grows_by_one_plus_the_exponent():
    found = whole(analyze(power_law(around(-0.4))))["trained"]
    slopes = np.array(around(-0.4))
    assert found["growth_of_total"]["value"] == pytest.approx(8 ** (1 + slopes.mean()))
    first, last = found["total"][0], found["total"][-1]
    scales = 30 * (1 + np.arange(5) / 10)
    assert first == pytest.approx((scales * 3 ** (1 + slopes)).mean())
    assert last == pytest.approx((scales * 24 ** (1 + slopes)).mean())


def test_training_is_told_from_depth_by_the_paired_difference():
    before = around(-0.2)[::-1]
    result = analyze(power_law(around(-1), untrained=before))
    found = whole(result)
    assert found["untrained"]["slopes"] == pytest.approx(before)
    change = np.array(around(-1)) - before
    expected = stats.ttest_1samp(change, 0).confidence_interval(0.95)
    told = found["trained_minus_untrained"]
    assert told["value"] == pytest.approx(change.mean())
    assert told["interval"] == pytest.approx([expected.low, expected.high])
    assert "training makes it steeper" in result.summary
    assert "untrained" not in result.summary.splitlines()[-1]


def test_batch_norm_of_step_zero_is_said_to_normalise_nothing():
    normalised = {"model": {"batch_norm": True}}
    result = analyze(power_law(around(-1), untrained=around(0.5)[::-1], recipe=normalised))
    assert "normalises nothing" in result.summary
    assert "training makes it" not in result.summary
    assert result.dataset["untrained_initial_statistics"].values.all()
    plain = {"model": {"batch_norm": False}}
    result = analyze(power_law(around(-1), untrained=around(0.5)[::-1], recipe=plain))
    assert "normalises nothing" not in result.summary


def test_no_difference_is_seen_where_depth_alone_does_it():
    result = analyze(power_law(around(-0.6), untrained=around(-0.6)[::-1]))
    assert "no difference seen between before and after" in result.summary


def test_the_difference_is_over_the_depths_that_both_have():
    def bent(depth):  # steeper from 9 blocks on, where alone untrained networks were kept
        return 1.0 if depth < 9 else depth**-2.0

    nets = [
        build_network(d, seed, bent(d), untrained=d**-0.5 if d >= 9 else None)
        for seed in range(5)
        for d in DEPTHS
    ]
    found = whole(analyze(nets))
    assert found["untrained"]["depths"] == [9, 15, 24]
    assert found["trained_minus_untrained"]["value"] == pytest.approx(-1.5)


def test_without_untrained_networks_the_key_and_the_command_are_named():
    last = analyze(power_law(around(-1))).summary.splitlines()[-1]
    assert last.startswith("not measured: the untrained networks of d3-s0, d6-s0, d9-s0 and 22")
    assert "--set checkpoint.initial=true" in last
    assert "resprobe collect RUN --checkpoint all" in last
    kept = power_law(around(-1), recipe={"checkpoint": {"initial": True}})
    last = analyze(kept).summary.splitlines()[-1]
    assert "resprobe collect RUN --checkpoint all" in last
    assert "checkpoint.initial" not in last


def test_untrained_networks_alone_have_an_exponent_and_no_verdict():
    nets = power_law(around(-0.3), step=0, status="running", loss=None)
    result = analyze(nets)
    assert whole(result)["trained"] is None
    assert whole(result)["untrained"]["exponent"]["value"] == pytest.approx(-0.302)
    assert result.verdict["outcome"] == NOT_ATTEMPTED
    assert "the untrained networks of 3 to 24 blocks" in result.summary


def test_branches_of_zero_have_no_exponent():
    result = analyze([*power_law(around(-1)), build_network(3, 9, 0.0)])
    assert result.verdict["excluded"] == {"d3-s9": "its branches add exactly nothing"}
    assert result.dataset["trained_gamma"].sel(network="d3-s9") == 0
    assert result.verdict["outcome"] == REPRODUCED
    zero = analyze([build_network(d, s, 1 / d, untrained=0.0) for s in range(5) for d in DEPTHS])
    assert whole(zero)["untrained"] is None


def test_losses_that_fall_with_depth_are_told():
    nets = [
        build_network(d, seed, 1 / d * (1 + seed), loss=0.05 * (d / 3) ** -(0.2 + 0.01 * seed))
        for seed in range(5)
        for d in DEPTHS
    ]
    result = analyze(nets)
    found = result.verdict["findings"]["step_sizes"][0]["train_loss"]
    assert found["exponent"]["value"] == pytest.approx(-0.22)
    assert found["highest"][0] == pytest.approx(0.05)
    assert found["lowest"][-1] == pytest.approx(0.05 * 8**-0.24)
    assert "deeper networks ended at lower losses" in result.summary
    equal = analyze(power_law(around(-1))).summary
    assert "deeper networks ended" not in equal


def test_step_sizes_have_exponents_of_their_own_and_one_force_over_time():
    def force(t):
        return 3 + np.sin(t)

    nets = [
        build_network(
            depth,
            seed,
            lambda j, h=h, s=seed: h * (1 + s / 10) * force(j * h),
            h=h,
            label=f"h{h}-{seed}",
        )
        for seed in range(5)
        for depth, h in ((6, 1.0), (12, 0.5), (24, 0.25))
    ]
    result = analyze(nets)
    assert result.verdict["outcome"] == NOT_ATTEMPTED
    assert [group["h"] for group in result.verdict["findings"]["step_sizes"]] == [1.0, 0.5, 0.25]
    data = result.dataset
    coarse = data.isel(curve=0)
    for curve in (1, 2):
        fine = data.isel(curve=curve)
        met = np.isin(fine["curve_time"].values, coarse["curve_time"].values[:6])
        expected = coarse["curve_force_norm"].values[:6]
        assert fine["curve_force_norm"].values[met] == pytest.approx(expected)
    assert "(6, 1), (12, 0.5), (24, 0.25)" in result.summary
    bounds = data["curve_force_norm_interval"].isel(curve=0, position=0).values
    seeds = 3 * (1 + np.arange(5) / 10)
    expected = stats.ttest_1samp(seeds, 0).confidence_interval(0.95)
    assert bounds == pytest.approx([expected.low, expected.high])


def test_one_network_alone_gives_its_norms_and_what_more_is_needed():
    result = analyze([build_network(9, 0, lambda j: 1.0 + j, h=0.5, untrained=2.0)])
    assert result.verdict["outcome"] == NOT_ATTEMPTED
    assert result.dataset["trained_gamma"].item() == pytest.approx(5)
    assert "5 in d9-s0 (9 blocks, untrained 2)" in result.summary
    assert result.dataset["curve_force_norm"].values[0] == pytest.approx(2 * np.arange(1, 10))
    assert result.dataset["curve_time"].values[0] == pytest.approx(0.5 * np.arange(9))
    last = result.summary.splitlines()[-1]
    assert last.startswith("not measured: at least five depths × five seeds")
    assert "--set model.depth=… --set train.seed=…" in last


def test_everything_is_json_and_netcdf(tmp_path):
    result = analyze(power_law(around(-1)[:2], untrained=around(0)))
    json.dumps(result.verdict, allow_nan=False)
    result.dataset.to_netcdf(tmp_path / "dataset.nc", engine="h5netcdf")
    assert result.verdict["analysis"] == "norm-vs-depth"
    for variable in result.dataset.data_vars.values():
        assert variable.attrs["long_name"]


def test_it_runs_unasked_only_on_several_depths():
    assert ANALYSIS.unasked is not None
    assert not ANALYSIS.unasked([build_network(6), build_network(6, 1)])
    assert ANALYSIS.unasked([build_network(6), build_network(9)])
