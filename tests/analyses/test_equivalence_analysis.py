"""What the analysis of equivalence finds in pairs, weights and epochs that are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from equivalent_networks import EPOCHS, PAIR_SCALES, build_pair, build_single, kernels, seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_analyses.equivalence import ANALYSIS, analyze, has_pair_or_weights
from resprobe_analyses.equivalence.curves import error_at, squared_norm
from resprobe_analyses.equivalence.pairs import divergence
from resprobe_analyses.equivalence.weights import STATISTICS
from scipy import stats


@pytest.fixture(scope="module")
def pairs():
    """Five seeds in both arithmetics, and two controls beside those in float64."""
    return analyze(
        [
            *seeds(5, noise=0.3, grows=0.5, zeros=(1, 40), not_finite=(7,)),
            *seeds(5, label="single", dtype="float32", noise=0.3, grows=0.5),
            *seeds(2, label="control", control=True, multiple=10.0, grows=1e9, gap=0.02),
        ]
    )


@pytest.fixture(scope="module")
def two():
    """Residual and plain runs of equal seeds, whose test errors differ by 0.02."""
    plain = seeds(5, build_single, label="plain", residual=False, gap=-0.02, weights=(0, 9))
    return analyze([*seeds(5, build_single, label="res", weights=(0, 9)), *plain])


def of(dataset, name, network):
    return dataset[name].sel(network=network).values


def with_values(given, path, name, values):
    """The input with other values of one variable."""
    tree = given.tree.copy(deep=True)
    data = tree[path].to_dataset(inherit=False)
    tree[path].dataset = data.assign({name: (data[name].dims, np.asarray(values))})
    return replace(given, tree=tree)


def test_distances_are_told_in_units_of_rounding(pairs):
    for network in ("pair-seed3", "single-seed3"):
        for name in ("output", "gradient"):
            assert of(pairs.dataset, f"initial_{name}_multiple", network) == pytest.approx(10)
            assert of(pairs.dataset, f"lockstep_{name}_multiple", network) == pytest.approx(10)
        assert of(pairs.dataset, "lockstep_step", network) == 50
        assert of(pairs.dataset, "rounding_multiple", network) == pytest.approx(10 + 0.5 * 49)
        for name, scale in PAIR_SCALES.items():
            assert (of(pairs.dataset, f"{name}_scale", network) == scale).all()
    assert (
        "the outputs differ by 10 units of rounding and the gradients by 10 units of rounding"
        in pairs.summary
    )
    assert "after 50 steps in lockstep the weights differ by 34 units of rounding" in pairs.summary


def test_the_growth_of_the_difference_of_losses_is_that_of_its_logarithm(pairs):
    found = pairs.dataset
    np.testing.assert_allclose(found["log10_loss_slope"].values[2:], 0.004, atol=2e-4)
    np.testing.assert_allclose(
        of(found, "log10_loss_start", "single-seed0"), np.log10(2.0**-24), atol=1e-10
    )
    (ratio,) = found["rounding_ratio"].values
    first = found["first_log10_loss_distance"]
    each = [
        of(found, first.name, f"single-seed{n}") - of(found, first.name, f"pair-seed{n}")
        for n in range(5)
    ]
    assert np.log10(ratio) == pytest.approx(np.mean(each))
    (even,) = analyze([build_pair("a"), build_pair("b", dtype="float32")]).dataset["rounding_ratio"]
    assert even == pytest.approx(2**29)
    assert found["rounding"].values.tolist() == ["single / pair"]


def test_equal_losses_are_counted_and_left_out_of_the_line(pairs):
    assert (pairs.dataset["loss_distance_zeros"].sel(network="pair-seed1") == 2).all()
    assert of(pairs.dataset, "loss_distance_not_finite", "pair-seed1") == 1
    assert of(pairs.dataset, "first_loss_step", "pair-seed1") == 2
    logarithm = pairs.dataset["log10_loss_distance"].values
    assert not np.isinf(logarithm).any()
    assert np.isnan(of(pairs.dataset, "log10_loss_distance", "pair-seed1")).sum() == 3
    assert (
        "the 10 of 1,000 steps at which the losses are equal are left out, so small differences "
        "count too little; 5 of 1,000 steps, not finite, are left out." in pairs.summary
    )


@given(st.floats(-16, -3), st.floats(-0.02, 0.02), st.sets(st.integers(0, 39), max_size=37))
def test_zeros_do_not_move_the_line(start, slope, zeros):
    step = np.arange(1, 41)
    loss = 10.0 ** (start + slope * (step - 1))
    loss[list(zeros)] = 0
    found = divergence(step, loss)
    assert found.slope == pytest.approx(slope, abs=1e-9)
    assert found.start == pytest.approx(start, abs=1e-9)
    assert found.zeros == len(zeros)


def test_a_large_distance_is_told_beside_the_largest_number():
    far = analyze([build_pair(control=True, grows=1e13)])
    relative = (10 + 49e13) * 2.0**-53
    assert f"the weights differ by {100 * relative:.3g} % of the largest" in far.summary
    assert "the gradients by 10 units of rounding" in far.summary
    near = analyze([build_pair(multiple=1.0)])
    assert "the outputs differ by 1 unit of rounding" in near.summary


def test_the_line_comes_with_its_farthest_point_and_with_saturation():
    step = np.arange(1, 201)
    rise = np.minimum(-14 + 0.1 * step, -2.0) + 0.2 * (-1.0) ** step
    found = divergence(step, 10.0**rise)
    slope, start = np.polyfit(step - 1, rise, 1)
    assert found.farthest == pytest.approx(np.abs(rise - start - slope * (step - 1)).max())
    quarter = stats.linregress(step[-50:], rise[-50:])
    assert found.late == pytest.approx(quarter.slope, abs=1e-12)
    assert found.late_error == pytest.approx(quarter.stderr)
    assert np.isnan(divergence(step[:11], 10.0 ** rise[:11]).late)
    for losses, saturated in ((rise, True), (-14 + 0.05 * step + 0.2 * (-1.0) ** step, False)):
        given = with_values(build_pair(), "training/pair", "pair_loss_distance", 10.0**losses)
        told = analyze([given]).summary
        assert ("The difference saturates: in the last quarter" in told) == saturated
        farthest = divergence(step, 10.0**losses).farthest
        assert f"no point farther than {farthest:.2g} powers of ten from its line" in told


@pytest.mark.filterwarnings("error")
def test_losses_that_never_differ_have_no_line():
    found = divergence(np.arange(1, 6), np.zeros(5))
    assert (found.zeros, found.first_step) == (5, -1)
    assert np.isnan([found.slope, found.start, found.first]).all()
    alone = analyze([build_pair(zeros=range(1, 201))])
    assert "too few steps have a difference of the losses for a line" in alone.summary
    assert alone.verdict["findings"]["pairs"][0]["log10_loss_slope"] is None


def test_intervals_over_seeds_are_students(pairs):
    told = {one["group"]: one for one in pairs.verdict["findings"]["pairs"]}
    slopes = [one["log10_loss_slope"] for one in told["pair"]["networks"]]
    expected = stats.t.interval(0.95, 4, np.mean(slopes), stats.sem(slopes))
    np.testing.assert_allclose(told["pair"]["log10_loss_slope"]["interval"], expected)
    assert told["control"]["log10_loss_slope"]["interval"] == [None, None]
    assert "(2 seeds, no interval" in pairs.summary


def test_controls_are_told_apart_and_laid_beside_the_pairs_of_their_seeds(pairs):
    assert pairs.dataset["control"].values.tolist() == [1, 1, *[0] * 10]
    (one,) = pairs.verdict["findings"]["separations"]
    assert (one["first"], one["second"], one["step"]) == ("control", "pair", 50)
    assert one["seeds"] == [0, 1]
    np.testing.assert_allclose(one["each"], (10 + 49e9) / (10 + 49 / 2))
    assert one["ratio"]["value"] == pytest.approx((10 + 49e9) / (10 + 49 / 2))
    assert "negative control: the partner trained with another penalty" in pairs.summary
    lines = pairs.summary.splitlines()
    assert next(i for i, line in enumerate(lines) if line.startswith("control (neg")) == 6


def test_a_control_alone_and_one_beside_pairs_that_never_part_have_no_ratio():
    alone = analyze([build_pair(control=True)])
    assert "pairs of its recipe and seeds beside it; give those as well" in alone.summary
    other = build_pair("control", control=True, weight_decay=0.5, batch_size=7)
    apart = analyze([build_pair(), build_pair("near", batch_size=7), other]).summary
    assert "beside it: the recipe of near differs in train.weight_decay." in apart
    seed = build_pair("control", control=True, seed=3)
    assert "beside it: pair shares the recipe, but no seed" in analyze([build_pair(), seed]).summary
    control = build_pair("control", control=True)
    beside = analyze([build_pair(multiple=0.0, start=-np.inf), control])
    assert "distances of the weights have no ratio; in 1 seed one of the two" in beside.summary
    (one,) = beside.verdict["findings"]["separations"]
    assert (one["ratio"], one["seeds"], one["seeds_left_out"]) == (None, [], 1)
    assert np.isnan(beside.dataset["separation_ratio"])
    assert of(beside.dataset, "rounding_multiple", "pair") == 0
    assert "a negative control without" not in beside.summary


def test_a_plain_run_is_equivalent_where_it_decays_toward_the_identity():
    alone = analyze([build_pair(residual=False, decay_toward="identity")])
    assert "negative control" not in alone.summary
    assert of(alone.dataset, "residual", "pair") == 0
    other = analyze([build_pair(residual=False)])  # its penalty is ‖p‖², the partner's ‖r‖²
    assert "negative control" in other.summary
    free = analyze([build_pair(residual=False, weight_decay=0.0)])
    assert "negative control" not in free.summary


def test_the_last_step_stands_in_where_there_are_fewer_than_fifty():
    short = analyze([build_pair(steps=30, grows=1.0)])
    assert of(short.dataset, "lockstep_step", "pair") == 30
    assert of(short.dataset, "rounding_multiple", "pair") == pytest.approx(39)
    every = analyze([build_pair(steps=100, every=7, grows=1.0)])  # steps 1, 8, … 43, 50
    assert of(every.dataset, "lockstep_step", "pair") == 50


def test_table_3_counts_the_convolutions_and_not_the_linear_layer(two):
    table = two.dataset["weight_table"]
    for network, residual in (("res-seed2", True), ("plain-seed2", False)):
        for state, place in enumerate((0, 9)):
            both = kernels(residual, place)[:3]
            weights = np.concatenate([weight.ravel() for weight, _ in both])
            ids = np.concatenate([weight[mask] for weight, mask in both])
            large = np.abs(weights)[np.abs(weights) >= 0.25].sum()
            large_id = np.abs(ids)[np.abs(ids) >= 0.25].sum()
            expected = {
                "weights": weights.size,
                "mean": weights.mean(),
                "standard deviation": weights.std(),
                "mass": np.abs(weights).sum(),
                "large mass": large,
                "above 0.7": (weights > 0.7).sum(),
                "ID entries": ids.size,
                "ID mean": ids.mean(),
                "ID mass": np.abs(ids).sum(),
                "large ID mass": large_id,
                "ID share": np.abs(ids).sum() / large,
                "large ID share": large_id / large,
            }
            assert list(expected) == list(STATISTICS)
            found = table.sel(network=network).isel(state=state).values
            np.testing.assert_allclose(found, list(expected.values()))
            counts = two.dataset["weight_histogram"].sel(network=network).isel(state=state)
            assert counts.sum() == weights.size
            assert (
                two.dataset["id_entry_histogram"].sel(network=network).isel(state=state).sum()
                == ids.size
            )
    assert two.dataset["state_step"].values.tolist() == [[0, 9]] * 10


def test_the_penalty_on_the_residual_of_a_plain_network_needs_its_id_entries(pairs):
    ids = np.concatenate([weight[mask] for weight, mask in kernels(False, 200)])
    # ‖p‖² is 16 in the record; the ID entries w count as (w - 1)² in its place
    expected = 16 - (ids**2).sum() + ((ids - 1) ** 2).sum()
    assert of(pairs.dataset, "partner_squared_norm", "pair-seed0") == pytest.approx(expected)
    assert of(pairs.dataset, "squared_norm", "pair-seed0") == pytest.approx(9)
    assert of(pairs.dataset, "partner_squared_norm", "control-seed0") == pytest.approx(16)
    loss = 2.0 * 0.8**EPOCHS
    assert of(pairs.dataset, "cost", "pair-seed0") == pytest.approx(loss + 0.005 * 9)
    assert of(pairs.dataset, "partner_cost", "pair-seed0") == pytest.approx(loss + 0.005 * expected)
    bare = analyze([build_pair(partner_weights=False)])
    assert np.isnan(of(bare.dataset, "partner_cost", "pair"))
    assert "resprobe collect pair/partner --quantity weight_mass --checkpoint 200" in bare.summary
    assert np.isnan(squared_norm(16, toward_identity=True, state=None))
    several = analyze(seeds(2, partner_weights=False)).summary
    assert several.count("cost is not known") == 1
    assert "pair-seed0/partner, pair-seed1/partner: the cost is not known" in several
    assert "resprobe collect RUN/partner --quantity weight_mass --checkpoint 200" in several


def test_costs_below_the_rounding_of_the_norms_are_equal():
    given = build_pair()
    ids = np.concatenate([weight[mask] for weight, mask in kernels(False, 200)])
    extra = ((ids - 1) ** 2).sum() - (ids**2).sum()
    for more, equal in ((0.0, True), (1e-6, True), (1e-4, False)):
        norms = np.full((200, 2), np.sqrt((9 - extra + more) / 2))
        changed = with_values(given, "partner/training/step", "parameter_norm", norms)
        told = analyze([changed]).summary
        words = "the cost with the penalty equal as far as the recorded norms tell (float32, to "
        size = 0.005 * 2.0**-23 * (18 - extra)
        assert (f"{words}{size:.2g})".replace("-", "−") in told) == equal
        assert ("the cost with the penalty −5e−07 (" in told) != equal


@pytest.mark.parametrize("change", [{"wd_scale": 0.5}, {"weight_decay": 0.02}])
def test_costs_under_two_penalties_are_not_compared(change):
    words = "costs are not compared, since each network has another penalty"
    assert words in analyze([build_pair(control=True)]).summary
    plain = {"residual": False, "decay_toward": "identity", "weights": (4,)}
    arms = [build_single("res"), build_single("plain", **plain, **change)]
    assert words in analyze(arms).summary
    alike = analyze([build_single("res"), build_single("plain", **plain)])
    assert words not in alike.summary
    assert "the cost with the penalty" in alike.summary


def test_weights_of_partners_are_told_and_missing_ones_are_named():
    both = analyze([build_pair()])
    assert "\nthe partner of pair at step 200: mean" in both.summary
    assert "were not collected" not in both.summary
    alone = analyze([build_pair(partner_weights=False)]).summary
    assert "the partner of pair at" not in alone
    assert "`resprobe collect pair/partner --checkpoint all --quantity weight_mass`" in alone
    assert "0 weights lie above 0.7" in both.summary
    (own,) = [line for line in both.summary.splitlines() if "weights of pair at step 0" in line]
    assert "alone are" not in own  # all ID entries are at least 0.25: one number for both
    (other,) = [line for line in both.summary.splitlines() if "partner of pair at step 0" in line]
    assert "ID entries of |w| ≥ 0.25 alone are" in other


def test_id_entries_of_another_step_than_the_norms_make_no_cost():
    for weights in ((0,), (0, 150)):
        early = analyze([build_pair(weights=weights)])
        assert np.isnan(of(early.dataset, "partner_cost", "pair"))
        assert "weight_mass --checkpoint 200" in early.summary
        assert np.isfinite(of(early.dataset, "cost", "pair"))
    # a later state is not taken for that of the norms either
    later = analyze([build_pair(weights=(200, 300))])
    ids = np.concatenate([weight[mask] for weight, mask in kernels(False, 200)])
    expected = 16 - (ids**2).sum() + ((ids - 1) ** 2).sum()
    assert of(later.dataset, "partner_squared_norm", "pair") == pytest.approx(expected)


def test_the_scale_of_the_weight_decay_multiplies_the_penalty():
    scaled = analyze([build_single(weights=(0,), wd_scale=1 / 128)])
    assert of(scaled.dataset, "cost", "net") == pytest.approx(2.0 * 0.8**EPOCHS + 0.01 / 256 * 9)


def test_errors_are_compared_at_one_training_loss(two, pairs):
    (side,) = two.verdict["findings"]["sides"]
    assert side["side"] == "res and plain"
    np.testing.assert_allclose(side["matched_error_each"], -0.02, atol=1e-12)
    np.testing.assert_allclose(two.dataset["test_error_difference"], -0.02, atol=1e-12)
    np.testing.assert_allclose(two.dataset["train_loss_difference"], 0, atol=1e-12)
    # levels that both curves of a couple pass: the highest last loss to the lowest first one
    losses = two.dataset["level_loss"].values
    first = 2.0 + 0.01 * np.arange(5)
    np.testing.assert_allclose(losses[:, 0], first * 0.8)
    np.testing.assert_allclose(losses[:, -1], first * 0.8**EPOCHS)
    errors = two.dataset["residual_error_at_level"].values
    np.testing.assert_allclose(errors, 0.3 * losses)
    sides = {one["side"]: one for one in pairs.verdict["findings"]["sides"]}
    assert sides["control"]["matched_error"]["value"] == pytest.approx(0.02)
    assert sides["pair"]["matched_error"]["value"] == pytest.approx(0, abs=1e-12)
    assert sides["pair"]["started_equal"]
    assert "rounding alone can tell them apart" in pairs.summary


@settings(max_examples=40)
@given(st.lists(st.floats(0.01, 3), min_size=2, max_size=9), st.floats(0.01, 3))
def test_the_error_at_a_loss_is_that_of_the_first_crossing(losses, level):
    loss = np.array(losses)
    error = np.linspace(0.9, 0.1, loss.size)
    (found,) = error_at(loss, error, np.array([level]))
    expected = np.nan
    if loss[0] == level:
        expected = error[0]
    elif loss[0] > level:
        for before in range(loss.size - 1):
            if loss[before + 1] <= level:
                expected = np.interp(level, loss[[before + 1, before]], error[[before + 1, before]])
                break
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_runs_that_share_no_loss_are_not_matched():
    late = build_single("plain", residual=False)
    tree = late.tree.copy(deep=True)
    tree["training/epoch/train_loss"] = tree["training/epoch/train_loss"] + 9
    found = analyze([build_single("res"), late.__class__(**{**vars(late), "tree": tree})])
    assert found.verdict["findings"]["sides"][0]["matched_error"] is None
    assert "no training loss is passed by both networks of a couple" in found.summary


def test_a_network_at_chance_takes_no_levels_from_the_other_couples():
    both = [
        *seeds(3, build_single, label="res"),
        *seeds(3, build_single, label="plain", residual=False, gap=-0.02),
    ]
    alone = analyze([both[0], both[3]]).verdict["findings"]["sides"][0]
    for losses, shared in (
        (np.linspace(2.303, 2.301, EPOCHS), False),
        (np.linspace(1.61, 1.59, EPOCHS), True),
    ):
        found = analyze([*both[:5], with_values(both[5], "training/epoch", "train_loss", losses)])
        (side,) = found.verdict["findings"]["sides"]
        assert side["matched_losses"][0] == alone["matched_losses"][0]
        np.testing.assert_allclose(side["matched_error_each"][:2], -0.02, atol=1e-12)
        assert (side["matched_error_each"][2] is not None) == shared
        assert ("1 of 3 couples share no training loss" in found.summary) == (not shared)
        assert "training" in found.figures


def test_groups_of_equal_recipes_are_matched_and_others_are_not():
    arms = [
        build_single(f"{name}-{depth}", residual=name == "res", epochs=depth, batch_size=depth)
        for name in ("res", "plain")
        for depth in (3, 4)
    ]
    sides = analyze(arms).verdict["findings"]["sides"]
    assert [one["side"] for one in sides] == ["res-3 and plain-3", "res-4 and plain-4"]
    only = analyze([arms[0], arms[3]]).verdict["findings"]["sides"]
    assert only[0]["differs"] == ["train.batch_size"]


@pytest.mark.parametrize(
    ("plain", "differs", "elsewhere"),
    [
        ({}, [], True),
        ({"decay_toward": "identity"}, [], False),
        ({"weight_decay": 0.0}, ["train.weight_decay"], True),
        ({"batch_size": 7, "decay_toward": "identity"}, ["train.batch_size"], False),
    ],
)
def test_unpaired_recipes_are_told_by_the_keys_that_differ(plain, differs, elsewhere):
    found = analyze([build_single("res"), build_single("plain", residual=False, **plain)])
    (side,) = found.verdict["findings"]["sides"]
    assert side["differs"] == differs
    assert ("weight decay pulls the ID entries of T(r) and p elsewhere" in found.summary) == (
        elsewhere
    )
    assert ("the recipes also differ" in found.summary) == bool(differs)
    assert "decay_toward" not in found.summary


def test_without_weight_decay_nothing_is_pulled():
    arms = [build_single(name, residual=name == "res", weight_decay=0.0) for name in ("res", "pln")]
    assert analyze(arms).verdict["findings"]["sides"][0]["one_penalty"]


def test_what_is_absent_is_named_with_its_command():
    bare = analyze([build_pair(weights=(), epochs=0)])
    assert "--quantity weight_mass --checkpoint all" in bare.summary
    assert "no epochs of a residual and a plain network" in bare.summary
    assert set(bare.figures) == {"divergence"}
    late = analyze([build_pair(weights=(200,))])
    assert "--set checkpoint.initial=true" in late.summary
    single = analyze([build_single(weights=(0,))])
    assert "pair.network=equivalent" in single.summary


def test_the_order_of_the_inputs_does_not_matter_but_for_the_sign_of_a_difference():
    pairs, controls = seeds(2), seeds(2, label="control", control=True)
    single = build_single(weights=(0,))
    first = analyze([*pairs, *controls, single])
    second = analyze([*controls[::-1], *pairs[::-1], single])
    xr.testing.assert_identical(first.dataset, second.dataset)
    assert first.summary == second.summary
    assert first.verdict == second.verdict


def test_the_verdict_is_json_and_the_dataset_survives_the_disk(pairs, two, tmp_path):
    for number, found in enumerate((pairs, two)):
        assert json.loads(json.dumps(found.verdict))["analysis"] == "equivalence"
        path = tmp_path / f"{number}.nc"
        found.dataset.to_netcdf(path, engine="h5netcdf")
        with xr.open_dataset(path, engine="h5netcdf") as back:
            xr.testing.assert_equal(back.load(), found.dataset)
        for name, variable in found.dataset.data_vars.items():
            assert variable.attrs["long_name"], name


def test_every_variable_is_listed_where_the_dataset_is_made(pairs, two):
    from resprobe_analyses.equivalence import labelled

    told = labelled.__doc__.replace("\n", " ")
    for found in (pairs, two):
        for name in found.dataset.data_vars:
            base = name.removeprefix("partner_").removeprefix("mean_").removesuffix("_interval")
            assert f"`{name}`" in told or f"`{base}`" in told or f"`mean_{base}`" in told, name


def test_unasked_it_runs_only_where_there_is_something_of_its_own():
    assert ANALYSIS.unasked is has_pair_or_weights
    assert has_pair_or_weights([build_pair(weights=(), partner=False)])
    assert has_pair_or_weights([build_single(), build_single(weights=(0,))])
    assert not has_pair_or_weights([build_single()])
