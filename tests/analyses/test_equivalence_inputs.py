"""Reading pairs, weights and epochs: what is refused, and what is read from where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from equivalent_networks import build_pair, build_single, partner_recipe, recipe_of, to_toml
from resprobe_analyses.equivalence import analyze, recipes
from resprobe_analyses.equivalence.networks import read_groups

from resprobe.errors import InputError


def changed(given, path, change):
    """The input with one of its groups replaced by what `change` makes of it."""
    groups = {node.path: node.to_dataset(inherit=False) for node in given.tree.subtree}
    groups[path] = change(groups[path])
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = given.tree.attrs
    return replace(given, tree=tree)


def without(given, path, name):
    return changed(given, path, lambda data: data.drop_vars(name))


PAIR, WEIGHTS, EPOCHS = "/training/pair", "/step-00000000/weights", "/training/epoch"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one input"),
        ([build_single()], "no pair, no family 'weights'"),
        ([build_single("a"), build_single("b", seed=1)], "pair.network=equivalent"),
        (
            [build_single("a"), build_single("b", residual=False, seed=1)],
            "no residual run beside a plain one of the same seed",
        ),
        ([build_pair("a"), build_pair("b")], "same seed 0"),
        (
            [without(build_pair(), PAIR, "pair_weight_scale")],
            "'training/pair' has no 'pair_weight_scale'; train the pair again",
        ),
        (
            [without(build_pair(), WEIGHTS, "id_entry_mass")],
            "'weights' has no 'id_entry_mass'; collect it again",
        ),
        (
            [without(build_pair(), f"/partner{WEIGHTS}", "layer_kind")],
            "pair, partner: 'weights' has no 'layer_kind'",
        ),
        (
            [without(build_pair(), EPOCHS, "test_error")],
            "'training/epoch' has no 'test_error'; train the run again",
        ),
        (
            [changed(build_pair(), WEIGHTS, lambda data: data.assign_coords(bin=data["bin"] + 1))],
            "different bins",
        ),
        ([build_pair(dtype="bfloat16")], "trained in bfloat16"),
    ],
)
def test_what_can_not_be_read_is_refused_in_words(inputs, message):
    with pytest.raises(InputError, match=message):
        analyze(inputs)


def test_a_partner_is_read_from_its_subtree():
    (group,) = read_groups([build_pair(gap=0.1)])
    (net,) = group.networks
    assert (net.own.residual, net.partner.residual) == (True, False)
    np.testing.assert_allclose(net.own.curve.test_error - net.partner.curve.test_error, 0.1)
    assert [state.step for state in net.partner.states] == [0, 200]
    assert net.step == 200
    assert net.pair.loss[1] == 1.0


def test_a_pair_without_its_partners_folder_is_still_a_pair():
    (group,) = read_groups([build_pair(partner=False, control=True)])
    assert group.networks[0].partner is None
    assert group.control  # pair.changes of its own recipe says so
    found = analyze([build_pair(partner=False)])
    assert "partner_cost" not in found.dataset


def test_weights_of_a_lone_file_have_no_place_among_the_steps():
    made = build_single(weights=(0,))
    tree = xr.DataTree.from_dict({"/weights": made.tree["step-00000000/weights"].to_dataset()})
    alone = replace(made, tree=tree)
    found = analyze([alone])
    assert found.dataset["state_step"].values.tolist() == [[-1]]
    assert found.dataset["residual"].values.tolist() == [1]
    assert "transferred weights of net: mean" in found.summary
    tree.attrs["checkpoint_step"] = 40
    assert analyze([alone]).dataset["state_step"].values.tolist() == [[40]]


def test_networks_without_convolutions_have_no_table():
    def linear(data):
        return data.assign_coords(layer_kind=("layer", ["linear"] * data.sizes["layer"]))

    found = analyze([changed(build_single(weights=(0,)), WEIGHTS, linear)])
    assert "no convolutions, so Table 3 has no numbers" in found.summary
    assert np.isnan(found.dataset["weight_table"]).all()


def test_runs_of_one_name_are_told_apart():
    groups = read_groups([build_pair("net"), build_pair("net", dtype="float32")])
    assert [group.label for group in groups] == ["net", "net (2)"]


def test_what_must_differ_in_a_pair_is_no_difference():
    own = recipe_of(pair=True)
    other = partner_recipe(own)
    other["record"] = {"every": 5}
    assert recipes.differences(own, other, residual=True) == ()
    assert recipes.differences(other, own, residual=False) == ()
    control = partner_recipe(own, decay_toward="zero")
    assert recipes.differences(own, control, residual=True) == ("train.decay_toward",)
    slower = partner_recipe(own, batch_size=7)
    assert recipes.differences(own, slower, residual=True) == ("train.batch_size",)
    scaled = partner_recipe(own, wd_scale=0.5)
    assert recipes.differences(own, scaled, residual=True) == ("train.wd_scale",)


def test_a_recipe_that_is_text_comes_back_as_it_was():
    recipe = recipe_of(changes=("train.decay_toward=zero",), pair=True)
    tree = xr.DataTree()
    tree.attrs["recipe"] = to_toml(recipe)
    assert recipes.recipe_in(tree) == recipe
    assert recipes.changed(recipe) == ("train.decay_toward",)
    assert recipes.recipe_in(xr.DataTree()) == {}
