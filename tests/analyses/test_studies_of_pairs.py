"""YT-F6, YT-T2 and YT-F2 on pairs whose distances are known, and on one that is trained."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from resprobe_analyses.reproduce.plan import Planned
from resprobe_analyses.reproduce.trained import measure_trained
from resprobe_analyses.studies import yt_f2, yt_f6, yt_t2
from resprobe_analyses.studies.criteria import CONTRADICTED, REPRODUCED, UNDECIDED
from resprobe_analyses.studies.images import PILOT_SEEDS
from resprobe_analyses.studies.study import SCALES
from resprobe_analyses.sweeps.commands import call
from resprobe_analyses.sweeps.points import points_of
from study_points import point, result_of

from resprobe import registry

SEEDS = range(5)
TRAINED = ("YT-F2", "YT-F6", "YT-T2")


def judged(study, evidence, name):
    contrast = next(c for c in (study.primary, *study.secondary) if c.name == name)
    return contrast.criterion.judge(evidence.samples[name], contrast.reference).outcome


def slopes_of_weights(slopes):
    """Of all ten networks: half of these are the slopes of the largest weight distance."""
    return np.array([0.05] * 5 + list(slopes))


def rounding_data(slopes, single, double, kept, width=0.25):
    """Pairs in both arithmetics: ten steps, of which the last has |ΔL| = 1e-3 and 1e-9."""
    names = [f"{dtype}-seed-{seed}" for dtype in ("float32", "float64") for seed in SEEDS]
    loss = np.full((10, 10), 1e-12)
    weights = 10.0 ** (-15 + 0.5 * slopes_of_weights(slopes)[:, None] * np.arange(1, 11))
    loss[:5, -1], loss[5:, -1] = -1e-3, 1e-9
    return xr.Dataset(
        {
            "log10_loss_slope": ("network", [0.05] * 5 + list(slopes)),
            "initial_output_multiple": ("network", [*single, *double]),
            "rounding_multiple": ("network", [1e6] * 5 + list(kept)),
            "loss_distance": (("network", "training_step"), loss),
            "weight_distance": (("network", "training_step"), weights),
            "loss_distance_zeros": ("network", [3] * 5 + [1] * 5),
        },
        coords={
            "network": names,
            "training_step": np.arange(1, 11),
            "width_factor": ("network", np.full(10, width)),
        },
    )


def rounding_points(diverged=()):
    return [
        point(seed, "diverged" if (arm, seed) in diverged else "finished", arm)
        for arm in ("float32", "float64")
        for seed in SEEDS
    ]


def test_yt_f6_takes_slopes_of_float64_and_ratios_in_bits():
    data = rounding_data(
        slopes=[0.01, 0.012, 0.011, 0.009, 0.01],
        single=[8, 4, 4, 2, 0],
        double=[4, 4, 2, 4, 4],
        kept=[67.88, 678.8, 67.88, 67.88, 6.788],
    )
    evidence = yt_f6.measure(result_of(data), rounding_points())
    samples = evidence.samples
    np.testing.assert_allclose(samples[yt_f6.SLOPE].values, [0.01, 0.012, 0.011, 0.009, 0.01])
    np.testing.assert_allclose(samples[yt_f6.WEIGHTS].values, samples[yt_f6.SLOPE].values / 2)
    # outputs that are equal have no logarithm
    np.testing.assert_array_equal(samples[yt_f6.FIRST].values, [30, 29, 30, 28, np.nan])
    bound = 50 * 4 * 12 * 20
    expected = np.log10(np.array([67.88, 678.8, 67.88, 67.88, 6.788]) / bound)
    np.testing.assert_allclose(samples[yt_f6.KEPT].values, expected, rtol=1e-12)
    assert judged(yt_f6.STUDY, evidence, yt_f6.SLOPE) == REPRODUCED
    assert judged(yt_f6.STUDY, evidence, yt_f6.WEIGHTS) == REPRODUCED
    assert yt_f6.STUDY.primary.name == yt_f6.WEIGHTS
    assert judged(yt_f6.STUDY, evidence, yt_f6.KEPT) == REPRODUCED
    single, double = evidence.notes[:2]
    assert "ends at 0.001 " in single
    assert "15 steps" in single
    assert "ends at 1e-09 " in double


def test_yt_f6_is_contradicted_by_networks_that_come_together():
    data = rounding_data([-0.01, -0.012, -0.011, -0.009, -0.01], [4] * 5, [4] * 5, [70] * 5)
    evidence = yt_f6.measure(result_of(data), rounding_points())
    assert judged(yt_f6.STUDY, evidence, yt_f6.SLOPE) == CONTRADICTED
    assert judged(yt_f6.STUDY, evidence, yt_f6.WEIGHTS) == CONTRADICTED


def test_yt_f6_has_the_reference_that_was_written_first_for_both_series():
    references = {c.name: c.reference for c in (yt_f6.STUDY.primary, *yt_f6.STUDY.secondary)}
    # one power of ten over 328 steps
    assert references[yt_f6.WEIGHTS] == references[yt_f6.SLOPE] == pytest.approx(1 / 328, abs=1e-4)


@pytest.mark.parametrize(("width", "units"), [(0.25, 48_000), (1.0, 96_000)])
def test_yt_f6_grants_the_weights_what_their_width_does(width, units):
    data = rounding_data([0.01] * 5, [4] * 5, [4] * 5, [10 * units] * 5, width=width)
    evidence = yt_f6.measure(result_of(data), rounding_points())
    np.testing.assert_allclose(evidence.samples[yt_f6.KEPT].values, 1.0)
    np.testing.assert_allclose(yt_f6.granted([width]), units)


@pytest.mark.parametrize(("bits", "outcome"), [(0, REPRODUCED), (6, CONTRADICTED)])
def test_yt_f6_knows_a_start_that_is_not_rounding(bits, outcome):
    single = [4 * 2.0 ** (bits + by) for by in (-0.2, -0.1, 0, 0.1, 0.2)]
    data = rounding_data([0.01] * 5, single, [4] * 5, [70] * 5)
    evidence = yt_f6.measure(result_of(data), rounding_points())
    assert judged(yt_f6.STUDY, evidence, yt_f6.FIRST) == outcome


def test_yt_f6_takes_runs_whose_losses_never_differ():
    data = rounding_data([0.01] * 5, [4] * 5, [4] * 5, [70] * 5)
    data["loss_distance"][1] = 0.0
    data["loss_distance"][5:] = 0.0
    single, double = yt_f6.measure(result_of(data), rounding_points()).notes[:2]
    assert "ends at 0.001 (each of 4 seeds)" in single
    assert "ends at not measured" in double


def test_yt_f6_marks_seeds_whose_run_diverged():
    data = rounding_data([0.01] * 5, [4] * 5, [4] * 5, [70] * 5).drop_sel(network="float32-seed-2")
    evidence = yt_f6.measure(result_of(data), rounding_points(diverged=[("float32", 2)]))
    assert evidence.samples[yt_f6.FIRST].diverged.tolist() == [False, False, True, False, False]
    assert not evidence.samples[yt_f6.SLOPE].diverged.any()
    assert np.isnan(evidence.samples[yt_f6.FIRST].values[2])


def pair_data(differences, losses=(0.1, 0.1), matched=None):
    """Pairs by depth; the plain network errs on a tenth, losses are those of the last epoch."""
    depths = list(differences)
    names = [f"{depth}-seed-{seed}" for depth in depths for seed in SEEDS]
    values = np.concatenate([differences[depth] for depth in depths])
    curve = np.ones((len(names), 3))
    plain = np.full(curve.shape, 0.1)
    weights = np.tile([np.nan, 0.25, 0.5], (len(names), 1))
    dims = ("network", "epoch")
    return xr.Dataset(
        {
            "test_error_difference": ("couple", values),
            "matched_error_difference": ("couple", values if matched is None else matched),
            "couple_label": ("couple", names),
            "couple_side": ("couple", np.repeat([f"depth {depth}" for depth in depths], 5)),
            "test_error": (dims, plain + values[:, None]),
            "partner_test_error": (dims, plain),
            "train_loss": (dims, losses[0] * curve),
            "partner_train_loss": (dims, losses[1] * curve),
            "weight_distance": (("network", "training_step"), weights),
            "weight_scale": (("network", "training_step"), np.ones(weights.shape)),
            "train_error": (dims, plain),
            "partner_train_error": (dims, plain.copy()),
            "level_loss": (("couple", "level"), np.tile([2.0, 0.5], (len(names), 1))),
            "residual_error_at_level": (("couple", "level"), np.full((len(names), 2), 0.2)),
            "plain_error_at_level": (("couple", "level"), np.full((len(names), 2), 0.3)),
        },
        coords={"network": names, "side": [f"depth {depth}" for depth in depths]},
    )


def pair_points(depths, missing=()):
    return [
        point(seed, "missing" if (depth, seed) in missing else "finished",
              settings={"model.depth": depth})
        for depth in depths
        for seed in SEEDS
    ]  # fmt: skip


NOISE = np.array([-0.002, -0.001, 0.0, 0.001, 0.002])


def test_yt_t2_takes_the_mean_over_depths_by_seed():
    data = pair_data({20: NOISE, 44: NOISE[::-1] + 0.001}, losses=(0.11, 0.1))
    evidence = yt_t2.measure(result_of(data), pair_points((20, 44)))
    np.testing.assert_allclose(evidence.samples[yt_t2.ERROR].values, [0.0005] * 5, atol=1e-15)
    np.testing.assert_allclose(evidence.samples[yt_t2.LOSS].values, math.log(1.1), rtol=1e-12)
    assert judged(yt_t2.STUDY, evidence, yt_t2.LOSS) == UNDECIDED  # no spread
    assert evidence.notes[0].startswith("Depth 20: the residual networks err on 0.1 ")
    assert "apart by 0.5" in evidence.notes[0]


@pytest.mark.parametrize(
    ("shift", "outcome"), [(0.0, REPRODUCED), (0.012, CONTRADICTED), (0.006, UNDECIDED)]
)
def test_yt_t2_is_judged_against_the_largest_gap_in_print(shift, outcome):
    data = pair_data({20: NOISE + shift})
    evidence = yt_t2.measure(result_of(data), pair_points((20,)))
    assert judged(yt_t2.STUDY, evidence, yt_t2.ERROR) == outcome
    gaps = [abs(plain - residual) for plain, residual in yt_t2.PRINTED.values()]
    assert max(gaps) == pytest.approx(yt_t2.MARGIN)


def test_yt_t2_leaves_out_seeds_that_lack_a_depth():
    data = pair_data({20: NOISE, 44: NOISE})
    kept = [name != "44-seed-3" for name in data["network"].values]
    data = data.isel(network=kept, couple=kept)
    evidence = yt_t2.measure(result_of(data), pair_points((20, 44), missing=[(44, 3)]))
    assert np.isnan(evidence.samples[yt_t2.ERROR].values).tolist() == [0, 0, 0, 1, 0]
    assert "1 of 10 runs were not run" in evidence.notes[-1]


def test_yt_f2_takes_depth_20_alone_at_matched_loss():
    matched = np.concatenate([NOISE - 0.01, NOISE + 0.5])
    data = pair_data({20: NOISE, 44: NOISE}, matched=matched)
    evidence = yt_f2.measure(result_of(data), pair_points((20, 44)))
    np.testing.assert_array_equal(evidence.samples[yt_f2.MATCHED].values, NOISE - 0.01)
    np.testing.assert_array_equal(evidence.samples[yt_f2.LAST].values, NOISE)
    assert judged(yt_f2.STUDY, evidence, yt_f2.MATCHED) == REPRODUCED
    assert judged(yt_f2.STUDY, evidence, yt_f2.LAST) == UNDECIDED
    assert "2 training losses that both its networks pass, from 2 down" in evidence.notes[1]
    assert "residual ones err on 0.2 " in evidence.notes[1]


@pytest.mark.parametrize("levels", [[2.302, 2.301], [np.nan, np.nan]])
def test_yt_f2_leaves_out_pairs_on_the_plateau_and_says_so(levels):
    data = pair_data({20: NOISE}, matched=NOISE - 0.01)
    data["level_loss"][2] = levels
    evidence = yt_f2.measure(result_of(data), pair_points((20,)))
    np.testing.assert_array_equal(np.isnan(evidence.samples[yt_f2.MATCHED].values), [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(evidence.samples[yt_f2.LAST].values, NOISE)
    assert any("1 of 5 pairs" in note and "20-seed-2" in note for note in evidence.notes)


@pytest.mark.parametrize("study", [yt_f2, yt_t2])
def test_networks_that_fell_back_to_chance_are_told_and_stay(study):
    data = pair_data({20: NOISE})
    data["partner_train_error"][1, -1] = 0.9
    evidence = study.measure(result_of(data), pair_points((20,)))
    (told,) = [note for note in evidence.notes if "fallen back" in note]
    assert "0 of 5 residual networks, 95 % interval of the rate 0.00 to 0.52" in told
    # Clopper and Pearson's of 1 of 5
    assert "1 of 5 plain networks (20-seed-1), 95 % interval of the rate 0.01 to 0.72" in told
    for sample in evidence.samples.values():
        assert np.isfinite(sample.values).all()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two mini-batches of a pair of depth 5 in both arithmetics, trained by the trainer."""
    folder = tmp_path_factory.mktemp("pairs")
    keys = {
        "model.name": "simplified-resnet",
        "model.depth": 5,
        "model.width_factor": 0.25,
        "data.augment": "none",
        "data.subset": 40,
        "data.test_subset": 20,
        "train.epochs": 2,
        "train.batch_size": 40,
        "train.threads": 1,
        "pair.network": "equivalent",
    }
    found = []
    for dtype in ("float32", "float64"):
        run = folder / f"{dtype}-seed7"
        words = ["resnet-20-digits", "-o", str(run), "--seed", "7", "--quiet"]
        for key, value in {**keys, "train.dtype": dtype}.items():
            words += ["--set", f"{key}={value}"]
        call("train", words)
        # the depth that Fig. 2 and Table 2 have
        one = point(7, arm=dtype, settings={"model.depth": 20})
        found.append(replace(one, name=run.name, run=run))
    return found


def measured_of(name, points, folder):
    study = registry.load("studies", name)
    (setting,) = study.scales["smoke"]
    return measure_trained(Planned(study, "smoke", setting), points, folder)


def test_numbers_are_found_in_what_trainer_and_analysis_write(runs, tmp_path):
    samples = measured_of("YT-F6", runs, tmp_path / "f6").samples
    # depth 5 and two steps leave a few units of rounding in either arithmetic
    assert 20 < samples[yt_f6.FIRST].values[0] < 38
    assert samples[yt_f6.KEPT].values[0] < 0
    errors = measured_of("YT-T2", runs[:1], tmp_path / "t2")
    assert abs(errors.samples[yt_t2.ERROR].values[0]) <= 0.1
    assert abs(errors.samples[yt_t2.LOSS].values[0]) < 1e-5
    matched = measured_of("YT-F2", runs[:1], tmp_path / "f2")
    last = matched.samples[yt_f2.LAST].values[0]
    assert last == errors.samples[yt_t2.ERROR].values[0]
    # two steps leave no plateau
    assert any("1 of 1 pairs have no training loss" in note for note in matched.notes)
    assert np.isnan(matched.samples[yt_f2.MATCHED].values[0])


@pytest.fixture(scope="module", params=TRAINED)
def declared(request):
    return registry.load("studies", request.param)


def test_every_scale_can_be_run_and_has_seeds_of_its_own(declared):
    assert tuple(declared.scales) == SCALES
    for scale, settings in declared.scales.items():
        for setting in settings:
            points = points_of(setting.sweep, None)
            assert {p.recipe["pair"]["network"] for p in points} == {"equivalent"}
            assert not set(setting.sweep.seeds) & set(PILOT_SEEDS)
            assert scale == "smoke" or len(setting.sweep.seeds) >= 5


def test_small_takes_its_time_and_the_paper_its_arithmetic():
    small = [registry.load("studies", name).scales["small"] for name in ("YT-T2", "YT-F2")]
    assert small[0][0].sweep == small[1][0].sweep  # runs are shared
    minutes = {setting.sweep.name: setting.core_minutes for (setting,) in small}
    assert sum(minutes.values()) <= 10
    (rounding,) = registry.load("studies", "YT-F6").scales["small"]
    assert rounding.core_minutes <= 6
    for name in ("YT-T2", "YT-F2"):
        (paper,) = registry.load("studies", name).scales["paper"]
        assert paper.sweep.settings["train.dtype"] == "float64"
        assert paper.sweep.grid["model.depth"] == (20, 32, 44)


def test_references_can_be_decided_with_little_spread(declared):
    for contrast in (declared.primary, *declared.secondary):
        assert contrast.reference_reason
        assert contrast.criterion.power(contrast.reference, 1e-4, 5) > 0.99
