"""YT-IC, YT-F3, YT-N, YT-F7 and YT-T1 on networks whose cushions, weights and errors are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from cushioned import build_cushions
from resprobe_analyses.cushions.effects import effect
from resprobe_analyses.cushions.labelled import dataset
from resprobe_analyses.cushions.networks import read_groups
from resprobe_analyses.studies import yt_f3, yt_f7, yt_ic, yt_n, yt_t1
from resprobe_analyses.studies.criteria import (
    CONTRADICTED,
    NOT_ATTEMPTED,
    REPRODUCED,
    UNDECIDED,
)
from resprobe_analyses.studies.residual_and_plain import PLAIN, RESIDUAL
from resprobe_analyses.studies.study import SCALES
from resprobe_analyses.sweeps.points import points_of
from study_points import point, points_of_arms, result_of

from resprobe import registry

ARMS = (RESIDUAL, PLAIN)
SEEDS = range(5)
IDS = ("YT-F3", "YT-F7", "YT-IC", "YT-N", "YT-T1")
LAYERS = tuple(f"layer{number}" for number in range(1, 13))
GOOD = {"train_error": 0.1, "train_loss": 0.3, "test_error": 0.2, "test_loss": 0.5}


def learnt(points, stuck=()):
    """The same runs with metrics; those named in `stuck` stayed at chance."""
    return [
        replace(p, metrics=GOOD | ({"train_error": 0.9} if p.name in stuck else {}))
        if p.trained
        else p
        for p in points
    ]


def judged(study, evidence, name=None):
    contrast = next(
        c for c in (study.primary, *study.secondary) if c.name == (name or study.primary.name)
    )
    return contrast.criterion.judge(evidence.samples[contrast.name], contrast.reference).outcome


def networks(seeds=SEEDS, *, removed=10.0, kept=0.8, blocks=1.2, order=ARMS):
    """Residual networks whose skips count in all layers but two, and plain ones."""
    built = []
    for arm in order:
        for seed in seeds:
            residual = arm == RESIDUAL
            level = 0.1 * (kept * (1 + seed / 50) if residual else 1.0)
            built.append(
                build_cushions(
                    f"{arm}-seed-{seed}",
                    group=arm,
                    seed=seed,
                    layers=LAYERS,
                    medians=[level] * len(LAYERS),
                    with_skip=[residual and 0 < i < 11 for i in range(len(LAYERS))],
                    removed=removed,
                    blocks=[blocks * (1 + seed / 100) if residual else 1.5] * 9,
                    stages=(3, 3, 3),
                    blind=not residual,
                    plain=not residual,
                )
            )
    return built


def cushions(inputs):
    return result_of(dataset(effect(read_groups(inputs))))


def of_block(given, name):
    """Cushions of the 5th block alone, over images."""
    return given.tree[f"/interlayer-cushion/{name}"].values[:, 4, 0].astype(np.float64)


def test_the_fifth_block_alone_is_compared_in_either_mode():
    inputs = networks()
    samples = yt_ic.measure(cushions(inputs), learnt(points_of_arms(ARMS))).samples
    for name, variable in (
        (yt_ic.EVALUATION, "interlayer_cushion"),
        (yt_ic.TRAINING, "interlayer_cushion_train_mode"),
    ):
        medians = [np.median(of_block(given, variable)) for given in inputs]
        expected = np.log(np.array(medians[:5]) / medians[5:])
        np.testing.assert_allclose(samples[name].values, expected)
    plain = [np.median(of_block(given, "interlayer_cushion_train_mode")) for given in inputs[5:]]
    np.testing.assert_allclose(samples[yt_ic.BLIND].values, np.log(np.array(plain) / 1e-3))
    assert (samples[yt_ic.BLIND].values < -6).all()


@pytest.mark.parametrize(("blocks", "outcome"), [(1.2, CONTRADICTED), (9.0, REPRODUCED)])
def test_interlayer_cushions_are_judged_as_the_network_runs(blocks, outcome):
    evidence = yt_ic.measure(cushions(networks(blocks=blocks)), learnt(points_of_arms(ARMS)))
    assert judged(yt_ic.STUDY, evidence) == outcome
    assert any("5 of 5 networks in training mode and in 0 of 5" in n for n in evidence.notes)
    # what training mode does to plain blocks is there either way
    assert judged(yt_ic.STUDY, evidence, yt_ic.TRAINING) == REPRODUCED


def test_a_diverged_plain_network_has_no_interlayer_cushion():
    inputs = [given for given in networks() if given.label != "plain-seed-3"]
    points = learnt(points_of_arms(ARMS, diverged=[(PLAIN, 3)]))
    evidence = yt_ic.measure(cushions(inputs), points)
    for sample in evidence.samples.values():
        assert np.isnan(sample.values).tolist() == [False, False, False, True, False]
        assert sample.diverged.tolist() == [False, False, False, True, False]
    assert "1 of 10 runs diverged: plain-seed-3." in evidence.notes


def deltas_by_hand(inputs, name):
    """Cliff's delta of every pair of networks and layer, image against image."""
    values = [given.families["layer-cushion"][name].values for given in inputs]
    pairs = zip(values[:5], values[5:], strict=True)
    return np.array([np.sign(one[:, None] - two[None]).mean(axis=(0, 1)) for one, two in pairs])


@pytest.mark.parametrize("order", [ARMS, ARMS[::-1]], ids=["residual-first", "plain-first"])
def test_layer_cushions_are_compared_image_by_image_in_both_norms(order):
    by_arm = networks()
    samples = yt_f3.measure(cushions(networks(order=order)), learnt(points_of_arms(ARMS))).samples
    kept = deltas_by_hand(by_arm, "layer_cushion").mean(axis=1)
    removed = deltas_by_hand(by_arm, "layer_cushion_id_removed").mean(axis=1)
    np.testing.assert_allclose(samples[yt_f3.KEPT].values, kept, atol=1e-9)
    np.testing.assert_allclose(samples[yt_f3.REMOVED].values, removed, atol=1e-9)
    np.testing.assert_allclose(samples[yt_f3.CHOICE].values, removed - kept, atol=1e-9)


def test_layer_ten_is_the_tenth_with_the_stem_as_the_first():
    inputs = networks()
    for given in inputs:
        given.families["layer-cushion"]["layer_cushion"][:, 9] *= 1 + given.seed
    for given in inputs[:5]:
        given.families["layer-cushion"]["layer_cushion"][:, 9] *= 3
    samples = yt_f3.measure(cushions(inputs), learnt(points_of_arms(ARMS))).samples
    medians = [
        np.median(given.families["layer-cushion"]["layer_cushion"].values[:, 9].astype(np.float64))
        for given in inputs
    ]
    expected = np.log(np.array(medians[:5]) / medians[5:])
    np.testing.assert_allclose(samples[yt_f3.TENTH_KEPT].values, expected)
    assert (expected > 0.5).all()


def test_the_choice_of_the_norm_can_turn_the_verdict():
    evidence = yt_f3.measure(cushions(networks()), learnt(points_of_arms(ARMS)))
    assert judged(yt_f3.STUDY, evidence) == REPRODUCED
    assert judged(yt_f3.STUDY, evidence, yt_f3.KEPT) == CONTRADICTED
    assert judged(yt_f3.STUDY, evidence, yt_f3.CHOICE) == REPRODUCED
    assert "With ID entries removed, 10 of 12 layers" in evidence.notes[0]
    assert "(the others: 1, 12)" in evidence.notes[0]


def test_layer_cushions_that_are_smaller_in_either_norm_contradict():
    evidence = yt_f3.measure(cushions(networks(removed=0.5)), learnt(points_of_arms(ARMS)))
    assert judged(yt_f3.STUDY, evidence) == CONTRADICTED


def noise_data(points, change, *, error=-0.05, equal=0.7):
    """The analysis `noise-stability` of runs whose logits change by `change` of level, by arm.

    At equal noise those of residual networks change `equal` times as much, a little less or more
    by layer and seed; one layer has no number. Pairs are all of one seed, residual first.
    """
    names = [p.name for p in points if p.trained]
    level = np.array([0.03, 0.1, 0.3])
    shape = (len(names), 4, 2, 3)
    logs, added = np.empty(shape), np.empty(shape)
    for row, p in enumerate(p for p in points if p.trained):
        layer = np.arange(4)[:, None, None] / 10 + p.seed / 100
        size = np.array([1.0, 0.25 if p.arm == RESIDUAL else 0.9])[None, :, None]
        logs[row] = np.log(change[p.arm] * level * size) + layer
        added[row] = (0.2 + (error if p.arm == RESIDUAL else 0.01 * p.seed)) * level
    cell = ("network", "layer", "norm", "level")
    return xr.Dataset(
        {
            "log_output_change": (cell, logs),
            "error_change": (cell, added),
            "noise_ratio": (("network", "layer"), np.full(shape[:2], 0.5)),
            "layer_weight_norm": (
                ("network", "layer", "norm"),
                np.array(
                    [[[2.0, 1.0]] * 4 if "residual" in name else [[3.0, 3.0]] * 4 for name in names]
                ),
            ),
            **equal_noise(points, equal),
        },
        coords={"network": names, "norm": ["kept", "removed"], "level": level},
    )


SPREAD = np.array([-0.02, 0.01, 0.0, 0.02, -0.01])


def equal_noise(points, equal):
    names = {(p.arm, p.seed): p.name for p in points if p.trained}
    pairs = [seed for seed in SEEDS if all((arm, seed) in names for arm in ARMS)]
    if not pairs:
        return {}
    ratios = np.log(equal) + SPREAD[pairs, None] + np.array([-0.1, 0.0, 0.1, np.nan])
    return {
        "pair_first": ("pair", [names[RESIDUAL, seed] for seed in pairs]),
        "pair_second": ("pair", [names[PLAIN, seed] for seed in pairs]),
        "equal_noise_log_ratio_by_pair": (("pair", "layer"), ratios),
    }


@pytest.mark.parametrize(("size", "outcome"), [(0.5, REPRODUCED), (1.5, CONTRADICTED)])
def test_responses_to_noise_are_compared_at_equal_noise_over_layers(size, outcome):
    points = learnt(points_of_arms(ARMS))
    data = noise_data(points, {RESIDUAL: 1 / size, PLAIN: 1.0}, equal=size)
    evidence = yt_n.measure(result_of(data), points)
    np.testing.assert_allclose(evidence.samples[yt_n.EQUAL].values, np.log(size) + SPREAD)
    assert yt_n.STUDY.primary.name == yt_n.EQUAL
    assert judged(yt_n.STUDY, evidence) == outcome
    notes = " ".join(evidence.notes)
    assert "At equal ‖ΔW‖_F 3 of 4 layers are compared" in notes
    assert "is in a residual network 0.667 (each of 5 seeds)" in notes
    assert "was changed to noise of equal ‖ΔW‖_F" in notes


@pytest.mark.parametrize(("size", "outcome"), [(0.5, REPRODUCED), (1.5, CONTRADICTED)])
def test_responses_to_noise_relative_to_the_norms_stand_beside_it(size, outcome):
    points = learnt(points_of_arms(ARMS))
    data = noise_data(points, {RESIDUAL: size, PLAIN: 1.0})
    data["log_output_change"][:5] += SPREAD[:, None, None, None]
    evidence = yt_n.measure(result_of(data), points)
    np.testing.assert_allclose(evidence.samples[yt_n.KEPT].values, np.log(size) + SPREAD)
    expected = np.log(size * 0.25 / 0.9) + SPREAD
    np.testing.assert_allclose(evidence.samples[yt_n.REMOVED].values, expected)
    expected = 0.3 * (-0.05 - 0.01 * np.arange(5))
    np.testing.assert_allclose(evidence.samples[yt_n.ERROR].values, expected)
    assert judged(yt_n.STUDY, evidence, yt_n.KEPT) == outcome


def test_pairs_of_other_seeds_or_of_runs_that_diverged_are_no_pairs():
    points = learnt(points_of_arms(ARMS))
    data = noise_data(points, {RESIDUAL: 0.5, PLAIN: 1.0})
    data["pair_second"][:2] = data["pair_second"].values[[1, 0]]
    evidence = yt_n.measure(result_of(data), points)
    expected = [True, True, False, False, False]
    assert np.isnan(evidence.samples[yt_n.EQUAL].values).tolist() == expected
    points = learnt(points_of_arms(ARMS, diverged=[(PLAIN, seed) for seed in SEEDS]))
    evidence = yt_n.measure(result_of(noise_data(points, {RESIDUAL: 0.5})), points)
    assert judged(yt_n.STUDY, evidence) == NOT_ATTEMPTED


def weight_data(points, share, *, mode=0.9):
    """The analysis `equivalence`, before and after training, by arm."""
    trained = [p for p in points if p.trained]
    statistics = [
        *("ID share", "large ID share", "above 0.7", "ID entries", "ID mass", "large mass"),
        *("mean", "standard deviation"),
    ]
    table = np.full((len(trained), 2, len(statistics)), np.nan)
    bins = np.round(np.arange(-1.99, 2, 0.02), 2)
    counts = np.zeros((len(trained), 2, bins.size), np.int64)
    counts[:, 0, np.argmin(abs(bins - 1.01))] = 100
    for row, p in enumerate(trained):
        table[row, 0] = [1.0 if p.arm == RESIDUAL else 0.16, 1.0, 100, 100, 100, 100, 0, 0.1]
        own = share[p.arm] + p.seed / 100
        above = 85 if p.arm == RESIDUAL else 5 + p.seed
        table[row, 1] = [own, own / 2, above, 100, 90, 110, 0, 0.125]
        counts[row, 1] = np.histogram(
            mode + np.linspace(-0.07, 0.07, 85), np.append(bins - 0.01, 2.0)
        )[0]
        counts[row, 1, np.argmin(abs(bins - 0.01))] = 15  # most of any bin, not of any window
    cell = ("network", "state")
    return xr.Dataset(
        {
            "weight_table": ((*cell, "statistic"), table),
            "id_entry_histogram": ((*cell, "bin"), counts),
        },
        coords={"network": [p.name for p in trained], "statistic": statistics, "bin": bins},
    )


@pytest.mark.parametrize(
    ("residual", "outcome", "beside"),
    # 0.99 is what networks that hardly moved have: the difference is there, and nothing is decided
    # by training
    [
        (0.74, REPRODUCED, REPRODUCED),
        (0.97, CONTRADICTED, REPRODUCED),
        (0.05, CONTRADICTED, CONTRADICTED),
    ],
)
def test_shares_of_id_entries_after_training_are_compared(residual, outcome, beside):
    points = learnt(points_of_arms(ARMS))
    data = weight_data(points, {RESIDUAL: residual, PLAIN: 0.1})
    data["weight_table"][:5, 1, :2] += np.array([-0.02, 0.01, 0.0, 0.02, -0.01])[:, None]
    evidence = yt_f7.measure(result_of(data), points)
    values = data["weight_table"].values[:, 1]
    samples = evidence.samples
    np.testing.assert_allclose(samples[yt_f7.SHARE].values, values[:5, 0])
    difference = values[:5, 0] - values[5:, 0]
    np.testing.assert_allclose(samples[yt_f7.DIFFERENCE].values, difference)
    np.testing.assert_allclose(samples[yt_f7.CHANGE].values, difference - 0.84)
    assert judged(yt_f7.STUDY, evidence, yt_f7.DIFFERENCE) == beside
    assert any("The norm of all weights changed by 0.25" in note for note in evidence.notes)
    assert any("is 0.84 " in note for note in evidence.notes)
    np.testing.assert_allclose(samples[yt_f7.LARGE_SHARE].values, values[:5, 1] - values[5:, 1])
    np.testing.assert_allclose(samples[yt_f7.ABOVE].values, 0.8 - np.arange(5) / 100)
    assert judged(yt_f7.STUDY, evidence) == outcome


@pytest.mark.parametrize("mode", [0.9, 0.6])
def test_the_mode_is_that_of_a_window_and_not_of_a_single_bin(mode):
    points = learnt(points_of_arms(ARMS))
    data = weight_data(points, {RESIDUAL: 0.7, PLAIN: 0.1}, mode=mode)
    sample = yt_f7.measure(result_of(data), points).samples[yt_f7.MODE]
    # entries spread evenly over 0.14 around it: any window of 0.1 among them is as good
    np.testing.assert_allclose(sample.values, mode, atol=0.02)


def test_a_mode_that_training_left_where_it_began_is_outside_the_band():
    rule = next(one for one in yt_f7.STUDY.secondary if one.name == yt_f7.MODE).criterion
    assert (rule.low, rule.claimed, rule.high) == (0.8, 0.9, 1.0)


def test_untrained_networks_do_not_reproduce_the_share():
    points = learnt(points_of_arms(ARMS))
    data = weight_data(points, {RESIDUAL: 0.7, PLAIN: 0.1})
    data["weight_table"][:, 1] = data["weight_table"][:, 0]
    data["weight_table"][:, 1, 0] += np.tile([-2e-3, -1e-3, 0, 1e-3, 2e-3], 2)
    evidence = yt_f7.measure(result_of(data), points)
    assert judged(yt_f7.STUDY, evidence) == CONTRADICTED
    assert judged(yt_f7.STUDY, evidence, yt_f7.CHANGE) == UNDECIDED


def test_the_mode_is_the_mean_of_what_lies_in_the_window():
    points = learnt(points_of_arms(ARMS))
    data = weight_data(points, {RESIDUAL: 0.7, PLAIN: 0.1})
    counts = np.zeros(data.sizes["bin"], np.int64)
    for place, count in ((0.91, 3), (0.93, 5), (0.95, 2), (1.11, 6)):
        counts[np.argmin(abs(data["bin"].values - place))] = count
    data["id_entry_histogram"][:, 1] = counts
    sample = yt_f7.measure(result_of(data), points).samples[yt_f7.MODE]
    np.testing.assert_allclose(sample.values, (0.91 * 3 + 0.93 * 5 + 0.95 * 2) / 10)


@pytest.mark.parametrize(
    ("measure", "data"),
    [
        (yt_f3.measure, lambda points: cushions(networks()).dataset),
        (yt_n.measure, lambda points: noise_data(points, {RESIDUAL: 0.5, PLAIN: 1.0})),
        (yt_f7.measure, lambda points: weight_data(points, {RESIDUAL: 0.7, PLAIN: 0.1})),
    ],
    ids=["YT-F3", "YT-N", "YT-F7"],
)
def test_networks_that_learnt_nothing_have_no_number_and_are_told(measure, data):
    points = learnt(points_of_arms(ARMS), stuck=["plain-seed-1"])
    evidence = measure(result_of(data(points)), points)
    assert any("plain-seed-1" in note and "no number" in note for note in evidence.notes)
    (told,) = [note for note in evidence.notes if "plain networks learnt nothing" in note]
    assert told.startswith("1 of 5 ")
    assert "0.01 to 0.72" in told  # Clopper and Pearson's
    (told,) = [note for note in evidence.notes if "residual networks learnt nothing" in note]
    assert told.startswith("0 of 5 ")
    for name, sample in evidence.samples.items():
        if measure is yt_f7.measure and name in (yt_f7.SHARE, yt_f7.MODE):
            assert np.isfinite(sample.values).all()  # of residual networks alone
        else:
            assert np.isnan(sample.values).tolist() == [False, True, False, False, False]


def test_without_a_plain_network_nothing_is_compared():
    points = learnt(points_of_arms(ARMS), stuck=[f"plain-seed-{seed}" for seed in SEEDS])
    evidence = yt_f3.measure(cushions(networks()), points)
    assert judged(yt_f3.STUDY, evidence) == NOT_ATTEMPTED
    points = points_of_arms(ARMS, diverged=[(PLAIN, seed) for seed in SEEDS])
    inputs = [given for given in networks() if given.label.startswith(RESIDUAL)]
    assert judged(yt_f3.STUDY, yt_f3.measure(cushions(inputs), learnt(points))) == NOT_ATTEMPTED


RATES = (0.003, 0.01)
DEPTHS = (20, 32, 44)


def depth_points(error):
    """Runs of both arms at every depth and rate; `error(arm, depth, rate, seed)`, None diverged."""
    found = []
    for arm in ARMS:
        for depth in DEPTHS:
            for rate in RATES:
                for seed in SEEDS:
                    cell = {"model.depth": depth, "schedule.learning_rate": rate}
                    value = error(arm, depth, rate, seed)
                    run = point(seed, "diverged" if value is None else "finished", arm, cell)
                    metrics = {"test_error": value, "train_error": value, "train_loss": value}
                    found.append(run if value is None else replace(run, metrics=metrics))
    return found


def slope(arm, depth, rate, seed, *, plain=0.01, residual=0.002):
    """Errors grow with depth, and by seed a little; at the greater rate they are 0.05 more."""
    each = plain if arm == PLAIN else residual
    return 0.1 + each * (1 + seed / 10) * (depth - 20) + (0.05 if rate == 0.01 else 0.0)


def of_depths(error):
    return yt_t1.measure(result_of(xr.Dataset()), depth_points(error))


def test_growth_of_the_gap_is_that_from_the_least_to_the_greatest_depth_at_equal_rates():
    samples = of_depths(slope).samples
    expected = 0.008 * (1 + np.arange(5) / 10) * 24
    np.testing.assert_allclose(samples[yt_t1.GROWTH].values, expected)
    np.testing.assert_allclose(samples[yt_t1.SHALLOW].values, 0, atol=1e-12)
    np.testing.assert_allclose(samples[yt_t1.DEEP].values, expected)
    # the least rate is best for all
    np.testing.assert_allclose(samples[yt_t1.BEST].values, expected)
    # and only the deepest plain network has it, as in print
    np.testing.assert_allclose(samples[yt_t1.PAPERS].values, expected - 0.05)


def test_growth_of_the_loss_is_a_ratio_of_ratios():
    samples = of_depths(slope).samples
    growth = {
        arm: np.log([slope(arm, 44, r, 2) / slope(arm, 20, r, 2) for r in RATES]).mean()
        for arm in ARMS
    }
    assert samples[yt_t1.LOSS].values[2] == pytest.approx(growth[PLAIN] - growth[RESIDUAL])


@pytest.mark.parametrize(
    ("plain", "outcome"), [(0.01, REPRODUCED), (0.002, UNDECIDED), (0.0005, CONTRADICTED)]
)
def test_a_gap_may_grow_stay_or_shrink(plain, outcome):
    def error(arm, depth, rate, seed):
        wobble = 0.001 * (-1) ** seed * (depth == 44) * (arm == PLAIN)
        return slope(arm, depth, rate, seed, plain=plain) + wobble

    assert judged(yt_t1.STUDY, of_depths(error)) == outcome


def test_runs_that_diverge_or_learn_nothing_count_at_chance():
    def error(arm, depth, rate, seed):
        if (arm, depth, rate) == (PLAIN, 44, 0.01):
            return None if seed < 2 else 0.9
        return slope(arm, depth, rate, seed)

    evidence = of_depths(error)
    seed = np.arange(5)
    plain = (0.1 + 0.01 * (1 + seed / 10) * 24 + 0.9) / 2
    residual = 0.125 + 0.002 * (1 + seed / 10) * 24
    np.testing.assert_allclose(evidence.samples[yt_t1.DEEP].values, plain - residual)
    assert evidence.samples[yt_t1.GROWTH].diverged.tolist() == [True, True, False, False, False]
    told = next(
        note for note in evidence.notes if "plain networks of depth 44 at a rate of 0.01" in note
    )
    assert "2 of 5 diverged, 3 learnt nothing" in told
    assert yt_t1.CHANCE["train_loss"] == pytest.approx(-math.log(0.1))


@pytest.mark.parametrize("name", IDS)
def test_every_setting_names_recipes_and_keys_that_exist(name):
    study = registry.load("studies", name)
    assert tuple(study.scales) == SCALES
    for setting in (one for several in study.scales.values() for one in several):
        sweep = setting.sweep
        combinations = math.prod(len(values) for values in sweep.grid.values())
        points = points_of(sweep, None)
        assert len(points) == len(sweep.arms) * combinations * len(sweep.seeds)
        by_arm = {
            arm: [p.recipe["model"]["residual"] for p in points if p.arm == arm] for arm in ARMS
        }
        assert all(by_arm[RESIDUAL])
        assert not any(by_arm[PLAIN])


@pytest.mark.parametrize("name", IDS)
def test_small_has_five_seeds_and_enough_power_where_it_was_piloted(name):
    study = registry.load("studies", name)
    for contrast in (study.primary, *study.secondary):
        assert contrast.reference_reason
        assert contrast.criterion.power(contrast.reference, 1e-3, 5) > 0.99
    for setting in study.scales["small"]:
        assert len(setting.sweep.seeds) >= 5
        for contrast, pilot in setting.pilots.items():
            assert contrast in {study.primary.name, *(one.name for one in study.secondary)}
            if contrast == study.primary.name:
                power = study.primary.criterion.power
                assert power(study.primary.reference, pilot.spread, 5) >= 0.5


def test_the_studies_of_simplified_networks_share_their_runs():
    by_study = [
        [one.sweep for several in registry.load("studies", name).scales.values() for one in several]
        for name in ("YT-F3", "YT-N", "YT-F7")
    ]
    assert by_study[0] == by_study[1] == by_study[2]


def test_the_small_scale_takes_less_than_three_quarters_of_an_hour_of_two_cores():
    minutes = {
        setting.sweep.name: setting.core_minutes
        for name in IDS
        for setting in registry.load("studies", name).scales["small"]
    }
    assert sum(minutes.values()) / 2 < 45
