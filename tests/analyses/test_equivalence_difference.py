"""The weights of two networks of one architecture, layer by layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from equivalent_networks import build_pair, build_single, kernels, seeds
from resprobe_analyses.equivalence import analyze
from resprobe_analyses.equivalence.effects import effect
from resprobe_analyses.equivalence.labelled import dataset
from resprobe_analyses.equivalence.networks import read_groups
from resprobe_analyses.equivalence.sentences import summary
from scipy import stats

LAYERS = ["stem", "a", "b", "linear"]


def of_checkpoint(step, **options):
    """A checkpoint of one training that was given by itself."""
    made = build_single(f"net step {step}", weights=(step,), epochs=0, **options)
    return replace(made, group=f"{made.group} {step}", step=step)


@pytest.fixture(scope="module")
def found():
    return analyze([of_checkpoint(200), of_checkpoint(42)])


def mass(weight, mask):
    return np.abs(weight).sum()


def id_mean(weight, mask):
    return weight[mask].mean() if mask.any() else np.nan


def by_layer(of, place, residual=True, large=None):
    return np.array([of(*one) for one in kernels(residual, place, large)])


def test_masses_and_id_entries_are_those_of_the_kernels(found):
    data = found.dataset
    assert data["contrast"].values.tolist() == ["net step 200 − net step 42"]
    assert data["layer"].values.tolist() == LAYERS
    factors = by_layer(mass, 200) / by_layer(mass, 42)
    np.testing.assert_allclose(data["weight_mass_difference"].values[0], factors, rtol=1e-12)
    means = by_layer(id_mean, 200) - by_layer(id_mean, 42)
    np.testing.assert_allclose(data["id_entry_mean_difference"].values[0], means, rtol=1e-10)


def test_two_networks_have_no_interval_and_it_is_said(found):
    for name in ("weight_mass", "id_entry_mean"):
        for bound in ("low", "high", "p_holm"):
            assert np.isnan(found.dataset[f"{name}_difference_{bound}"].values).all()
    lines = [line for line in found.summary.splitlines() if line.startswith("net step 200 against")]
    assert len(lines) == 2
    assert "the mass Σ|w| of a layer's weights" in lines[0]
    assert "the mean of a layer's ID entries" in lines[1]
    assert all("no interval" in line for line in lines)
    assert len(found.figures["difference"].axes) == 2


def test_the_verdict_names_both_groups(found):
    told = found.verdict["findings"]["differences"]
    assert [(one["first"], one["quantity"]) for one in told] == [
        ("net step 200", "weight_mass"),
        ("net step 200", "id_entry_mean"),
    ]


def test_the_last_weights_of_a_run_are_compared():
    runs = [
        build_single("one", weights=(0, 200), epochs=0),
        build_single("two", weights=(0, 200), epochs=0, large=0.5, learning_rate=0.2),
    ]
    masses, entries = effect(read_groups(runs)).differences
    assert masses.label == "one − two"
    expected = by_layer(mass, 200) / by_layer(mass, 200, large=0.5)
    np.testing.assert_allclose(masses.change.value, expected, rtol=1e-12)
    np.testing.assert_allclose(entries.change.value[1:3], 0.5, rtol=1e-12)


def test_five_pairs_of_seeds_have_an_interval():
    generator = np.random.default_rng(3)
    large = generator.normal(1.0, 0.1, (2, 5))
    runs = [
        build_single(f"{name}-{seed}", seed=seed, weights=(200,), epochs=0, large=one, wd_scale=own)
        for name, own, sizes in (("one", 1.0, large[0]), ("two", 0.5, large[1]))
        for seed, one in enumerate(sizes)
    ]
    masses, entries = effect(read_groups(runs)).differences
    assert masses.seeds == (0, 1, 2, 3, 4)
    logs = np.log([[by_layer(mass, 200, large=one) for one in own] for own in large])
    test = stats.ttest_1samp((logs[0] - logs[1])[:, 1], 0.0).confidence_interval(0.95)
    assert masses.change.low[1] == pytest.approx(np.exp(test.low), rel=1e-8)
    assert masses.change.high[1] == pytest.approx(np.exp(test.high), rel=1e-8)
    np.testing.assert_allclose(entries.change.value[1], (large[0] - large[1]).mean(), rtol=1e-9)
    # the stem is the same in all of them: a spread of 0 gives no interval
    assert np.isnan(masses.change.low[0])


def test_residual_beside_plain_and_layers_of_another_size_have_none():
    residual = of_checkpoint(200)
    plain = build_single("plain", residual=False, weights=(200,), epochs=0)
    assert effect(read_groups([residual, plain])).differences == ()
    other = of_checkpoint(42)
    data = other.tree["step-00000042/weights"].to_dataset()
    other.tree["step-00000042/weights"] = data.assign(weight_count=data["weight_count"] * 4)
    found = effect(read_groups([residual, other]))
    assert found.differences == ()
    assert "contrast" not in dataset(found).dims


def test_weights_of_negative_controls_are_those_of_their_pairs():
    inputs = [*seeds(2), *seeds(2, label="control", control=True)]
    found = effect(read_groups(inputs))
    assert found.separations
    assert found.differences == ()
    assert " against " not in summary(found)


def test_two_groups_of_pairs_compare_their_own_weights():
    inputs = [build_pair("fine"), build_pair("coarse", dtype="float32")]
    masses, _ = effect(read_groups(inputs)).differences
    np.testing.assert_array_equal(masses.change.value, 1.0)
    assert masses.label == "fine − coarse"
