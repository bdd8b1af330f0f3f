"""Reading predictors and kinds: what is there, what is not, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from attributed import METHODS, build, without_figures
from resprobe_analyses import ENTRIES
from resprobe_analyses.attribution import ANALYSIS, analyze
from resprobe_analyses.attribution.networks import read_groups
from resprobe_analyses.attribution.predictors import METHOD_LABELS

from resprobe import registry
from resprobe.errors import InputError
from resprobe.quantities import attribution as collected

STAGES = (4, 4)
BLOCKS = sum(STAGES)
RISING = np.linspace(0.1, 0.8, BLOCKS)


def read(made):
    ((net,),) = (group.networks for group in read_groups([made]))
    return net


def test_the_analysis_is_registered_and_says_what_it_reads():
    assert ENTRIES["attribution"] == "resprobe_analyses.attribution:ANALYSIS"
    assert registry.load("analyses", "attribution") is ANALYSIS
    assert ANALYSIS.families == ("norms", "lesion")
    assert ANALYSIS.also == ("influence", "angular-distance", "attribution")


@pytest.mark.parametrize(
    ("name", "family", "dims"),
    [
        ("branch_shortcut_ratio", "norms", ("sample", "block")),
        ("weight_norm", "norms", ("block",)),
        ("block_influence", "influence", ("sample", "block")),
        ("angular_distance", "angular-distance", ("sample", "block", "length")),
        ("block_attribution", "attribution", ("sample", "block", "method")),
        ("branch_parameters", "lesion-greedy", ("block",)),
        ("weight_count", "weights", ("layer",)),
    ],
)
def test_what_is_read_is_what_is_collected(name, family, dims):
    quantity = registry.load("quantities", name)
    assert (quantity.family, quantity.dims) == (family, dims)


def test_every_method_has_its_words():
    assert tuple(METHOD_LABELS) == collected.METHODS


def test_unasked_it_runs_where_attributions_were_collected():
    given = {"gradient_x_activation": RISING}
    asked = build("asked", stages=STAGES, attributions=given)
    assert ANALYSIS.unasked([asked])
    other = build("other", stages=STAGES, influence=RISING, angles=RISING)
    assert not ANALYSIS.unasked([other])
    assert not ANALYSIS.unasked([asked, other])


def test_every_predictor_is_read_from_the_analyzed_checkpoint():
    given = {name: (place + 1) * RISING for place, name in enumerate(METHODS)}
    given["integrated_gradients"] = -given["integrated_gradients"]
    made = build(stages=STAGES, influence=RISING, angles=2 * RISING, attributions=given)
    net = read(made)
    assert [one.predictor.name for one in net.predictors] == [
        "branch_shortcut_ratio",
        "weight_norm",
        "block_influence",
        "angular_distance",
        *(name for method in METHODS for name in (method, f"absolute_{method}")),
    ]
    means = {one.predictor.name: one.mean for one in net.predictors}
    assert means["block_influence"] == pytest.approx(RISING)
    assert means["angular_distance"] == pytest.approx(2 * RISING)
    assert means["integrated_gradients"] == pytest.approx(-2 * RISING)
    assert means["absolute_integrated_gradients"] == pytest.approx(2 * RISING)
    passes = {one.predictor.name: one.passes for one in net.predictors}
    assert (passes["weight_norm"], passes["block_influence"]) == (0, 1)
    assert passes["gradient_x_activation"] == 3
    assert passes["integrated_gradients"] == 3 * 32
    assert passes["absolute_layer_conductance"] == 3 * 41
    assert [one.predictor.name for one in read(replace(made, step=7)).predictors] == [
        "branch_shortcut_ratio",
        "weight_norm",
    ]


def test_the_absolute_value_is_taken_image_by_image():
    made = build(stages=STAGES, attributions={"gradient_x_activation": 0 * RISING}, noise=1.0)
    means = {one.predictor.name: one.mean for one in read(made).predictors}
    assert (means["absolute_gradient_x_activation"] > 0.5).all()
    assert np.abs(means["gradient_x_activation"]).max() < 0.6


def test_a_method_without_a_value_is_no_predictor_and_is_named():
    made = build(stages=STAGES, attributions={"gradient_x_activation": RISING})
    names = [one.predictor.name for one in read(made).predictors]
    assert "layer_conductance" not in names
    last = without_figures([made]).summary.splitlines()[-1]
    assert "without a value for these networks: layer conductance, integrated gradients" in last


def test_blocks_that_lack_a_predictor_are_ranked_by_none():
    influence = RISING.copy()
    influence[2] = np.nan
    net = read(build(stages=STAGES, influence=influence))
    assert net.ranked.tolist() == [True, True, False, True, False, True, True, True]


def test_samples_and_blocks_may_be_in_any_order():
    made = build(stages=STAGES, influence=RISING, noise=0.3, effects={1: 0.2, 6: 0.1})
    tree = made.tree["step-00000100/influence"].to_dataset()
    order = np.random.default_rng(0).permutation(tree.sizes["sample"])
    turned = tree.isel(sample=order, block=slice(None, None, -1))
    other = replace(made, tree=xr.DataTree.from_dict({"/step-00000100/influence": turned}))
    assert without_figures([other]).summary == without_figures([made]).summary


def names_of(stages):
    return [f"stage{a + 1}.{b}" for a, count in enumerate(stages) for b in range(count)]


@pytest.mark.parametrize(
    "given",
    [
        {"parameters": [10, 20] * 4},
        {"layers": {n: ["linear"] * (4 - 2 * (i % 2)) for i, n in enumerate(names_of((8,)))}},
    ],
)
def test_kinds_are_told_by_what_was_recorded_of_parameters(given):
    net = read(build(stages=(8,), **given))
    assert net.kinds.tolist() == [0, 1] * 4


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"parameters": [10] * 8},
        {"parameters": list(range(8))},
        {"layers": {name: ["linear"] * 2 for name in names_of((8,))}},
    ],
)
def test_kinds_are_not_told_apart_without_evidence(given):
    assert read(build(stages=(8,), **given)).kinds is None


def without(made, family, change):
    return replace(made, families={**made.families, family: change(made.families[family])})


def renamed(made):
    data = made.tree["step-00000100/influence"].to_dataset()
    other = data.assign_coords(block=[f"b{place}" for place in range(data.sizes["block"])])
    return replace(made, tree=xr.DataTree.from_dict({"/step-00000100/influence": other}))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "the analysis attribution needs at least one input"),
        (
            [without(build("x"), "lesion", lambda data: data.drop_vars("lesion_loss"))],
            "x: the family 'lesion' has no variable 'lesion_loss'",
        ),
        ([replace(build("x"), families={})], "x has no family 'norms', which the analysis attr"),
        ([renamed(build("x", stages=STAGES, influence=RISING))], "families lesion and influence"),
        ([build("x"), build("y")], "same seed 0"),
        ([build("x"), build("y", seed=1, stages=(6, 6))], "x and y have different blocks"),
        ([build("x"), build("y", seed=1, first_sample=1)], "no test image"),
    ],
)
def test_what_cannot_be_analyzed_is_refused_in_one_sentence(inputs, message):
    with pytest.raises(InputError, match=message) as caught:
        analyze(inputs)
    assert "\n" not in str(caught.value)
