"""The bound of Arora et al. 2018 of networks whose parts are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from noisy import (
    CONTRACTION,
    LAYERS,
    MARGIN,
    OUTPUT_NORM,
    RECIPE,
    build_noisy,
    two_noisy_groups,
)
from resprobe_analyses.noise_stability import analyze
from resprobe_analyses.noise_stability.bound import (
    FACTORS,
    bound,
    following_blocks,
    minimal_interlayer,
    output_elements,
    smoothness,
)


@pytest.fixture(scope="module")
def single():
    return analyze([build_noisy()])


@pytest.fixture(scope="module")
def five():
    return analyze(two_noisy_groups(5, error_added=0.25))


def test_the_bound_is_that_of_its_parts_written_out(single):
    made = build_noisy()
    spans = made.tree["step-00000020/interlayer-cushion"].to_dataset()["interlayer_cushion"].values
    # after the stem come all blocks, after a block the next ones, after the last one none
    following = {0: 0, 1: 1, 2: 2}
    elements = [16, 16, 16, 16, 10]
    total = {"kept": 0.0, "removed": 0.0}
    for layer in range(len(LAYERS)):
        least = 1.0
        if layer in following:
            own = spans[:, following[layer]]
            least = min(1.0, float(np.nanmin(own)))
        arora = least / np.sqrt(elements[layer])
        for norm, name in (("kept", "layer_cushion"), ("removed", "layer_cushion_id_removed")):
            smallest = float(made.families["layer-cushion"][name].values[:, layer].min())
            total[norm] += 1 / (smallest**2 * arora**2)
    told = single.verdict["findings"]["groups"][0]["networks"][0]["bound"]
    for norm, sum_of_terms in total.items():
        expected = np.sqrt(
            CONTRACTION**2 * 5**2 * OUTPUT_NORM**2 * sum_of_terms / (MARGIN**2 * 500)
        )
        assert told["value"][norm] == pytest.approx(expected, rel=1e-6)
        logs = [told["log10_factors"][name][norm] for name in FACTORS]
        assert sum(logs) == pytest.approx(np.log10(expected))
        assert told["void"][norm]
    assert told["margin"] == pytest.approx(MARGIN)
    assert told["training_images"] == 500
    np.testing.assert_allclose(single.dataset["gap"].values, 0.2)
    assert "so it says nothing about this network" in single.summary


PARTS = {
    "contraction": np.array([[1.5, 2.0], [np.nan, 1.0]]),
    "output_norm": np.array([3.0, 5.0]),
    "margins": np.array([-1.0, 0.5, 0.5, 2.0]),
    "training_images": 400.0,
    "layer_cushion": np.array([[0.1, 0.2], [0.4, 0.4]]),
    "interlayer_cushion": np.array([0.05, 0.3]),
}


@settings(max_examples=20)
@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_bound_knows_no_scale_of_logits_and_falls_with_cushions_and_images(s, k, m):
    found = bound(**PARTS).value
    logits = {"output_norm": s * PARTS["output_norm"], "margins": s * PARTS["margins"]}
    np.testing.assert_allclose(bound(**PARTS | logits).value, found)
    larger = {"layer_cushion": k * PARTS["layer_cushion"]}
    np.testing.assert_allclose(bound(**PARTS | larger).value, found / k)
    more = {"training_images": m * 400.0}
    np.testing.assert_allclose(bound(**PARTS | more).value, found / np.sqrt(m))


def test_the_margin_is_of_the_images_that_are_right_and_its_loss_of_all():
    found = bound(**PARTS)
    assert found.margin == pytest.approx(0.5)
    assert found.margin_loss == 0.75
    none = bound(**PARTS | {"margins": np.array([-1.0, -2.0])})
    assert np.isnan(none.margin)
    assert np.isnan(none.value).all()


def test_a_cushion_of_0_makes_the_bound_infinite_and_void():
    found = bound(**PARTS | {"layer_cushion": np.array([[0.0, 0.2], [0.4, 0.4]])})
    assert np.isinf(found.value[0])
    assert np.isfinite(found.value[1])


def test_a_layer_is_followed_by_the_next_block_and_has_its_elements():
    layers = ["", "a", "a", "b", "", "c", ""]
    blocks = ["a", "b", "c"]
    assert following_blocks(layers, blocks) == [0, 1, 1, 2, 2, None, None]
    elements = output_elements(layers, {"a": 64, "b": 32, "c": 16}, 10)
    assert elements.tolist() == [64, 64, 64, 32, 16, 16, 10]


def test_minimal_interlayer_cushions_never_pass_that_of_a_layer_to_itself():
    cushions = np.array([[[0.5, 0.2], [2.0, np.nan]], [[0.4, 0.3], [3.0, np.nan]]])
    found = minimal_interlayer(cushions, [0, 1, None], np.array([4, 16, 100]))
    np.testing.assert_allclose(found, [0.2 / 2, 1 / 4, 1 / 10])


def test_the_condition_asks_every_image_span_and_draw_for_three_times_the_layers(single):
    found = smoothness(np.array([[40.0, np.nan], [44.0, np.inf]]), 14, 0.1)
    assert (found.least, found.needed, found.median) == (40.0, 42.0, 44.0)
    assert found.share == pytest.approx(2 / 3)
    assert not found.holds
    assert smoothness(np.array([43.0]), 14, 0.1).holds
    assert smoothness(np.array([np.nan]), 14, 0.1) is None
    assert "at least 3d = 15, here at noise of 10 % of x, is not met" in single.summary


def test_the_order_of_bounds_and_gaps_is_compared_pair_by_pair(five):
    contrast = five.verdict["findings"]["contrast"]
    logs, gaps = five.dataset["bound_log10_ratio"].values, five.dataset["gap_difference"].values
    np.testing.assert_allclose(gaps, -0.05)
    values = np.log10(five.dataset["bound_value"].values)
    np.testing.assert_allclose(logs, values[:5] - values[5:])
    assert contrast["pairs_ordered"] == [5, 5]
    assert contrast["pairs_ordered_alike"] == (logs < 0).sum(axis=0).tolist()


def test_an_infinite_factor_makes_the_bound_infinite_in_words_and_figures():
    def dead(given):
        data = given.tree["step-00000020/activation-contraction"].to_dataset()
        data["activation_contraction"][3, 2] = np.inf
        tree = given.tree.copy()
        tree["step-00000020/activation-contraction"] = xr.DataTree(data)
        return replace(given, tree=tree)

    made = two_noisy_groups(5)
    found = analyze([*map(dead, made[:6]), *made[6:]])  # all plain networks and a residual one
    assert "comes to infinite (kept)" in found.summary
    title = found.figures["bound"].legends[0].get_title().get_text()
    assert "no point: infinite" in title


def with_margins(given, margins):
    norms = given.tree[f"step-{given.step:08d}/norms"].to_dataset()
    norms["margin"][:] = margins
    tree = given.tree.copy()
    tree[f"step-{given.step:08d}/norms"] = xr.DataTree(norms)
    return replace(given, tree=tree)


def test_without_a_right_image_there_is_no_bound_and_nothing_is_called_void():
    wrong = with_margins(build_noisy("wrong"), -1.0)
    found = analyze([wrong])
    told = found.verdict["findings"]["groups"][0]["networks"][0]["bound"]
    assert told["value"] == {"kept": None, "removed": None}
    assert told["void"] == {"kept": None, "removed": None}
    assert "no bound of 1 of 1 networks, for no image is classified rightly" in found.summary
    for word in ("nan", "void", "below 1"):
        assert word not in found.summary
    both = analyze([wrong, build_noisy("right", seed=1)])
    alone = analyze([build_noisy("right", seed=1)])
    values = [one.verdict["findings"]["groups"][0]["log10_bound"]["value"] for one in (both, alone)]
    assert values[0] == values[1]
    assert "no bound of 1 of 2 networks" in both.summary


def test_a_bound_is_void_unless_it_lies_below_1_in_both_norms():
    low = bound(**PARTS | {"contraction": np.array([1e-9])})
    assert low.exists
    assert not low.void
    one = low.value[0] / low.value[1]
    assert one > 1  # removed has the larger cushions
    between = bound(**PARTS | {"contraction": np.array([1e-9 / low.value[1] * 0.9])})
    assert between.value[1] < 1 < between.value[0]
    assert between.void


def test_what_the_training_error_is_of_is_always_said():
    told = (
        "(a gap is test error minus training error, the latter the mean over an epoch of learning"
    )
    for options in ({}, {"train_error": 0.3, "test_error": 0.2}):
        assert f"{told})" in analyze([build_noisy(**options)]).summary
    made = build_noisy()
    tree = made.tree.copy()
    tree.attrs["recipe"] = f'{RECIPE}[data]\naugment = "crop"\n'
    assert f"{told} on altered images)" in analyze([replace(made, tree=tree)]).summary
    tree.attrs["recipe"] = f'{RECIPE}[data]\naugment = "none"\n'
    assert f"{told})" in analyze([replace(made, tree=tree)]).summary
