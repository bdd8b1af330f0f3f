"""ML-F4, ML-L1 and ML-L2 on networks whose norms, lesions and swaps are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from lesioned import build_input
from resprobe_analyses.lesion import analyze
from resprobe_analyses.studies import ml_f4, ml_l1, ml_l2
from resprobe_analyses.studies.criteria import CONTRADICTED, NOT_ATTEMPTED, REPRODUCED
from resprobe_analyses.studies.residual_and_plain import PLAIN, RESIDUAL
from several_lesions import STAGES, shuffle
from study_points import points_of_arms, result_of

ARMS = (RESIDUAL, PLAIN)
FIRST = np.array([0, 3, 6])
TRANSITIONS = np.array([3, 6])
LATER = np.setdiff1d(np.arange(9), FIRST)
WITHIN = np.setdiff1d(np.arange(9), TRANSITIONS)
SEEDS = range(5)


def network(seed, *, plain=False, base_error=0.1, first=3.0, transition=0.2, swaps=(0.3, 0.2, 0.1)):
    """‖G‖/‖x‖ is 0.1 of later blocks and `first` times that, exactly, of those of a stage."""
    rng = np.random.default_rng([seed, plain])
    effects = dict(zip(range(9), rng.uniform(0, 0.05, 9), strict=True))
    if plain:
        effects = dict.fromkeys(range(9), 0.7)
    given = build_input(
        f"{PLAIN if plain else RESIDUAL}-seed{seed}",
        group=PLAIN if plain else RESIDUAL,
        seed=seed,
        stages=STAGES,
        images=200,
        base_error=base_error,
        effects={**effects, **dict.fromkeys(TRANSITIONS.tolist(), transition)},
        plain=plain,
    )
    size = np.full(9, 0.1)
    size[FIRST] *= first * (1 + seed / 10)
    lesion, norms = given.families["lesion"], given.families["norms"]
    inputs = np.broadcast_to(np.linspace(5, 9, 9), (norms.sizes["sample"], 9))
    dims = ("sample", "block")
    norms = norms.assign(branch_norm=(dims, inputs * size), input_norm=(dims, inputs))
    node = {"step-00000100/lesion-shuffle": shuffle(lesion, "", swaps)}
    tree = xr.DataTree.from_dict(node)
    return replace(given, tree=tree, families={"norms": norms, "lesion": lesion})


def analyzed(inputs):
    return result_of(analyze(inputs).dataset)


def increases(given):
    """Error increase by block, by hand."""
    lesion = given.families["lesion"]
    wrong = 1 - lesion["lesion_correct"].values.astype(float)
    return wrong.mean(axis=0) - (1 - lesion["correct"].values).mean()


@pytest.fixture(scope="module")
def inputs():
    return [network(seed, plain=plain) for plain in (False, True) for seed in SEEDS]


@pytest.fixture(scope="module")
def result(inputs):
    return analyzed(inputs)


@pytest.fixture(scope="module")
def reversed_result():
    """First blocks add less than others, transitions harm less, late swaps harm more."""
    return analyzed(
        [
            network(seed, first=0.3, transition=0.0, swaps=(0.05 + seed / 100, 0.2, 0.3))
            for seed in SEEDS
        ]
    )


def judged(study, evidence):
    contrast = study.primary
    return contrast.criterion.judge(evidence.samples[contrast.name], contrast.reference).outcome


def test_first_blocks_are_compared_with_later_ones_of_the_same_network(result):
    samples = ml_f4.measure(result, points_of_arms(ARMS)).samples
    expected = np.log([3 * (1 + seed / 10) for seed in SEEDS])
    np.testing.assert_allclose(samples[ml_f4.FIRST].values, expected)
    np.testing.assert_allclose(samples[ml_f4.LATER].values, np.log(0.1))
    scale = np.linspace(5, 9, 9)
    by_norm = np.log(scale[FIRST].mean() / scale[LATER].mean())
    np.testing.assert_allclose(samples[ml_f4.ALONE].values, expected + by_norm)


def test_the_comparison_by_shortcut_takes_the_recorded_ratio(inputs, result):
    samples = ml_f4.measure(result, points_of_arms(ARMS)).samples
    ratios = [g.families["norms"]["branch_shortcut_ratio"].values.mean(axis=0) for g in inputs[:5]]
    expected = [np.log(ratio[FIRST].mean() / ratio[LATER].mean()) for ratio in ratios]
    np.testing.assert_allclose(samples[ml_f4.SHORTCUT].values, expected, rtol=1e-5)  # of float32


def test_transitions_are_compared_with_the_other_blocks(inputs, result):
    samples = ml_l1.measure(result, points_of_arms(ARMS)).samples
    rows = [increases(given) for given in inputs[:5]]
    expected = [row[TRANSITIONS].mean() - row[WITHIN].mean() for row in rows]
    np.testing.assert_allclose(samples[ml_l1.TRANSITIONS].values, expected)
    assert (samples[ml_l1.TRANSITIONS].values > 0.1).all()
    np.testing.assert_allclose(
        samples[ml_l1.RANKING].values,
        result.dataset["rank_correlation"].values[:5, 0],
    )


def test_plain_networks_are_paired_with_residual_ones_by_seed(inputs, result):
    samples = ml_l1.measure(result, points_of_arms(ARMS)).samples
    chance = float(result.dataset["chance_error"].values[0])
    lost = []
    for given in inputs:
        lesion = given.families["lesion"]
        whole = 1 - float(lesion["correct"].values.mean())
        after = 1 - float(lesion["lesion_correct"].values[:, WITHIN].mean())
        lost.append((after - whole) / (chance - whole))
    expected = np.array(lost[5:]) - np.array(lost[:5])
    np.testing.assert_allclose(samples[ml_l1.VEIT].values, expected)


def test_swaps_in_the_first_stage_are_compared_with_those_in_the_last(result):
    samples = ml_l2.measure(result, points_of_arms(ARMS)).samples
    for name in (ml_l2.STAGES, ml_l2.ONE_SWAP):
        np.testing.assert_allclose(samples[name].values, 0.3 - 0.1, atol=1e-9)


@pytest.mark.parametrize("study", [ml_f4.STUDY, ml_l1.STUDY, ml_l2.STUDY], ids=lambda s: s.id)
def test_a_claim_can_be_contradicted(study, reversed_result):
    points = points_of_arms(ARMS)
    assert judged(study, study.measure(reversed_result, points)) == CONTRADICTED


@pytest.mark.parametrize("study", [ml_f4.STUDY, ml_l1.STUDY], ids=lambda s: s.id)
def test_a_claim_can_be_reproduced(study, result):
    assert judged(study, study.measure(result, points_of_arms(ARMS))) == REPRODUCED


def test_a_diverged_residual_network_is_at_chance_and_without_norms(inputs):
    result = analyzed([given for given in inputs if given.label != "residual-seed2"])
    points = points_of_arms(ARMS, diverged=[(RESIDUAL, 2)])
    chance = float(result.dataset["chance_error"].values[0])
    by_lesion = ml_l1.measure(result, points).samples
    assert by_lesion[ml_l1.TRANSITIONS].values[2] == 0
    assert np.isnan(by_lesion[ml_l1.RANKING].values[2])
    plain = result.dataset.sel(network="plain-seed2")
    added = plain["lesion_error"].values[WITHIN].mean() - float(plain["test_error"])
    lost = added / (chance - float(plain["test_error"]))
    assert by_lesion[ml_l1.VEIT].values[2] == pytest.approx(lost - 1)  # nothing is left at chance
    assert ml_l2.measure(result, points).samples[ml_l2.STAGES].values[2] == 0
    norms = ml_f4.measure(result, points)
    assert np.isnan(norms.samples[ml_f4.FIRST].values[2])
    for samples in (by_lesion, norms.samples):
        assert all(
            sample.diverged.tolist() == [False, False, True, False, False]
            for sample in samples.values()
        )
    assert "1 of 5 runs diverged: residual-seed-2." in norms.notes


def test_a_diverged_plain_network_bears_on_its_own_contrast_only(inputs):
    result = analyzed([given for given in inputs if given.label != "plain-seed4"])
    samples = ml_l1.measure(result, points_of_arms(ARMS, diverged=[(PLAIN, 4)])).samples
    assert samples[ml_l1.VEIT].diverged.tolist() == [False] * 4 + [True]
    assert not samples[ml_l1.TRANSITIONS].diverged.any()
    assert np.isfinite(samples[ml_l1.VEIT].values).all()


def test_networks_near_chance_have_no_number_and_are_told():
    """What a lesion adds there says nothing about its block, as the analysis itself holds."""
    near = {1, 3}
    inputs = [
        network(seed, plain=plain, base_error=0.6 if seed in near and not plain else 0.1)
        for plain in (False, True)
        for seed in SEEDS
    ]
    result = analyzed(inputs)
    by_lesion = ml_l1.measure(result, points_of_arms(ARMS))
    by_swap = ml_l2.measure(result, points_of_arms(ARMS))
    for sample in (*by_lesion.samples.values(), *by_swap.samples.values()):
        assert np.isnan(sample.values).tolist() == [seed in near for seed in SEEDS]
        assert not sample.diverged.any()
    for evidence in (by_lesion, by_swap):
        assert any(note.startswith("2 of 5 residual networks err") for note in evidence.notes)
        assert not any("plain networks err" in note for note in evidence.notes)
    assert judged(ml_l1.STUDY, by_lesion) == NOT_ATTEMPTED


def test_without_swaps_there_is_no_number(inputs):
    bare = [replace(given, tree=xr.DataTree()) for given in inputs[:5]]
    evidence = ml_l2.measure(analyzed(bare), points_of_arms([RESIDUAL]))
    assert all(np.isnan(sample.values).all() for sample in evidence.samples.values())
    assert "No blocks were shuffled." in evidence.notes


def test_norms_that_were_not_collected_are_missing(inputs):
    bare = []
    for given in inputs[:5]:
        norms = given.families["norms"].drop_vars(["branch_norm", "input_norm"])
        bare.append(replace(given, families={**given.families, "norms": norms}))
    samples = ml_f4.measure(analyzed(bare), points_of_arms([RESIDUAL])).samples
    assert np.isnan(samples[ml_f4.FIRST].values).all()
    assert np.isfinite(samples[ml_f4.SHORTCUT].values).all()
