"""Cushions of two networks of one architecture, layer by layer and block by block."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cushioned import LAYERS, build_cushions
from hypothesis import given, settings
from hypothesis import strategies as st
from resprobe_analyses.cushions import analyze
from resprobe_analyses.cushions.effects import effect
from resprobe_analyses.cushions.labelled import dataset
from resprobe_analyses.cushions.networks import read_groups
from scipy import stats

from resprobe.result import Input

MEDIANS = np.array([0.05, 0.02, 0.03, 0.04, 0.3])
FACTORS = np.array([1.0, 1.25, 0.5, 2.0, 1.0])
SKIPS = (False, True, True, False, False)


def before_and_after(**options) -> list[Input]:
    """Two checkpoints of one training, the later first; cushions differ by `FACTORS`."""
    after = build_cushions(
        "net step 20",
        group="late",
        medians=MEDIANS * FACTORS,
        blocks=(2.2, 1.2, 1.0),
        step=20,
        **options,
    )
    before = build_cushions(
        "net step 9", group="early", medians=MEDIANS, blocks=(1.1, 1.2, 1.0), step=9, **options
    )
    return [after, before]


@pytest.fixture(scope="module")
def pair():
    return before_and_after()


@pytest.fixture(scope="module")
def found(pair):
    return analyze(pair)


def by_hand(logarithms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Paired t intervals and Holm's p-values of logarithms, (image, item), from SciPy."""
    tests = [stats.ttest_1samp(column, 0.0) for column in logarithms.T]
    bounds = np.array([test.confidence_interval(0.95) for test in tests])
    p = np.array([test.pvalue for test in tests])
    order, adjusted = np.argsort(p), np.empty(p.size)
    running = 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, float(p[place]) * (p.size - rank)))
        adjusted[place] = running
    return np.exp(logarithms.mean(axis=0)), *np.exp(bounds).T, adjusted


def assert_as_by_hand(data, name, first, second):
    expected = by_hand(np.log(first.astype(np.float64)) - np.log(second.astype(np.float64)))
    for suffix, numbers in zip(("", "_low", "_high", "_p_holm"), expected, strict=True):
        values = data[f"{name}_difference{suffix}"].isel(contrast=0).values
        np.testing.assert_allclose(values, numbers, rtol=1e-8, err_msg=suffix)


def test_factors_of_layers_are_paired_over_images(pair, found):
    cushions = [one.families["layer-cushion"]["layer_cushion"].values for one in pair]
    assert_as_by_hand(found.dataset, "layer_cushion", *cushions)
    data = found.dataset
    assert data["layer"].values.tolist() == list(LAYERS)
    assert data["contrast"].values.tolist() == ["net step 20 − net step 9"]
    np.testing.assert_allclose(
        data["layer_cushion_difference"].isel(contrast=0).values, FACTORS, rtol=0.05
    )


def test_factors_of_single_blocks_are_of_evaluation_mode(pair, found):
    name = "interlayer-cushion"
    spans = [
        one.tree[f"step-{one.step:08d}/{name}"]["interlayer_cushion"].values[:, :, 0]
        for one in pair
    ]
    assert_as_by_hand(found.dataset, "interlayer_cushion", *spans)
    blocks = found.dataset["block"].values.tolist()
    assert blocks == ["stage1.0", "stage1.1", "stage2.0"]
    # stage2.0 is a transition and does not count in the mean
    by_block = np.log(found.dataset["interlayer_cushion_difference"].isel(contrast=0).values)
    mean = found.dataset["interlayer_cushion_difference_mean"].item()
    assert mean == pytest.approx(np.exp(by_block[:2].mean()), rel=1e-10)


def test_the_sentences_name_the_layers_that_differ(found):
    lines = [line for line in found.summary.splitlines() if "step 20 against net step 9" in line]
    assert len(lines) == 2
    assert "the layer cushion (ID entries kept)" in lines[0]
    assert "3 of 5 layers differ (Holm, 5 %)" in lines[0]
    assert "interlayer cushion of a single block (BatchNorm in evaluation mode)" in lines[1]
    told = found.verdict["findings"]["differences"]
    assert [one["quantity"] for one in told] == ["layer_cushion", "interlayer_cushion"]
    assert set(told[0]["changed_layers"]) == {"a", "b", "c"}
    assert (told[0]["first"], told[0]["second"]) == ("net step 20", "net step 9")


def test_the_figure_has_a_panel_for_layers_and_one_for_blocks(found):
    panels = found.figures["difference"].axes
    assert len(panels) == 2
    assert "layer cushions" in panels[0].get_ylabel().replace("\n", " ")
    assert "interlayer cushions of single blocks" in panels[1].get_ylabel().replace("\n", " ")


def test_without_id_entries_only_where_a_skip_counts_as_a_part_of_a_layer(pair):
    assert "layer_cushion_id_removed_difference" not in dataset(effect(read_groups(pair)))
    inputs = before_and_after(with_skip=SKIPS)
    data = dataset(effect(read_groups(inputs)))
    removed = [one.families["layer-cushion"]["layer_cushion_id_removed"].values for one in inputs]
    assert_as_by_hand(data, "layer_cushion_id_removed", *removed)


@pytest.mark.parametrize(
    "other",
    [
        {"layers": ("stem", "a", "b", "d", "head")},
        {"with_skip": SKIPS},
    ],
)
def test_other_layers_and_a_plain_beside_a_residual_network_have_no_difference(other):
    inputs = [build_cushions("a", group="a"), build_cushions("b", group="b", **other)]
    found = effect(read_groups(inputs))
    assert found.differences == ()
    assert found.layers  # laid side by side as before
    assert "contrast" not in dataset(found).dims


def test_without_interlayer_cushions_of_one_of_them_only_layers_are_compared(pair):
    bare = build_cushions("net step 9", group="early", medians=MEDIANS, step=9)
    (one,) = effect(read_groups([pair[0], bare])).differences
    assert one.quantity.name == "layer_cushion"


def test_five_pairs_of_seeds_have_an_interval_over_seeds():
    sides = [
        [
            build_cushions(f"{name}-{seed}", group=name, seed=seed, medians=medians, spread=0.2)
            for seed in range(5)
        ]
        for name, medians in (("one", MEDIANS * FACTORS), ("two", MEDIANS))
    ]
    inputs = [*sides[0], *sides[1]]
    (found,) = effect(read_groups(inputs)).differences
    logs = [
        [np.log(net.families["layer-cushion"]["layer_cushion"].values.astype(float)) for net in own]
        for own in sides
    ]
    by_seed = (np.array(logs[0]) - np.array(logs[1])).mean(axis=1)
    assert (found.seeds, found.change.over) == ((0, 1, 2, 3, 4), "seeds")
    test = stats.ttest_1samp(by_seed[:, 1], 0.0).confidence_interval(0.95)
    assert found.change.value[1] == pytest.approx(np.exp(by_seed[:, 1].mean()), rel=1e-10)
    assert found.change.low[1] == pytest.approx(np.exp(test.low), rel=1e-8)
    assert found.change.high[1] == pytest.approx(np.exp(test.high), rel=1e-8)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.2, 5.0), min_size=5, max_size=5))
def test_exchanged_groups_give_the_reciprocal(factors):
    one = build_cushions("a", group="a", medians=MEDIANS * factors, images=8)
    two = build_cushions("b2", group="b", images=8)
    (there,) = effect(read_groups([one, two])).differences
    (back,) = effect(read_groups([two, one])).differences
    np.testing.assert_allclose(there.change.value * back.change.value, 1.0, rtol=1e-12)
    np.testing.assert_allclose(there.change.low * back.change.high, 1.0, rtol=1e-12)
    np.testing.assert_array_equal(there.p_holm, back.p_holm)


def test_images_are_those_that_both_have(pair):
    fewer = pair[1].families["layer-cushion"].isel(sample=slice(5, None))
    other = replace(pair[1], families={"layer-cushion": fewer})
    found = effect(read_groups([pair[0], other])).differences[0]
    both = [
        pair[0].families["layer-cushion"]["layer_cushion"].values[5:],
        fewer["layer_cushion"].values,
    ]
    expected, *_ = by_hand(np.log(both[0].astype(float)) - np.log(both[1].astype(float)))
    assert found.images == 55
    np.testing.assert_allclose(found.change.value, expected, rtol=1e-10)
