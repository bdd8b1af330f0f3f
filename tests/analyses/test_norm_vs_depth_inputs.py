"""Which inputs may be laid beside each other, and what is refused in one sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from depth_networks import build_network
from resprobe_analyses.norm_vs_depth.networks import read_networks
from resprobe_analyses.norm_vs_depth.recipes import recipe_of, subject
from resprobe_analyses.norm_vs_depth.training import read_training

from resprobe.errors import InputError


def with_norms(given, change):
    return replace(given, families={"norms": change(given.families["norms"])})


def foreign(label="net"):
    made = build_network(6, None, label=label, step=0, loss=None)
    made.tree.attrs["recipe"] = '[model]\nname = "file.py:net"\n[data]\nname = "folder"\n'
    return made


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one input"),
        ([replace(build_network(6), families={})], "d6-s0 has no family 'norms'"),
        (
            [with_norms(build_network(6), lambda data: data.drop_vars("branch_norm"))],
            "no variable 'branch_norm'",
        ),
        (
            [with_norms(build_network(6), lambda data: data.drop_vars("scale"))],
            "no coordinate 'scale'",
        ),
        ([build_network(6, plain=True)], "d6-s0 is a plain network"),
        (
            [build_network(6), build_network(9, recipe={"model": {"width_factor": 1.0}})],
            r"d6-s0 and d9-s0 differ in model.width_factor \(0.5 and 1.0\)",
        ),
        (
            [build_network(6), build_network(9, recipe={"data": {"name": "cifar10"}})],
            "differ in data.name",
        ),
        (
            [build_network(6), build_network(9, recipe={"train": {"epochs": 60}})],
            "differ in train.epochs",
        ),
        (
            [build_network(6), build_network(9, recipe={"model": {"se": True}})],
            r"differ in model.se \(None and True\)",
        ),
        ([build_network(9), foreign()], "net carries no training recipe"),
        ([build_network(6, label="a"), build_network(6, label="b")], "a and b have the same depth"),
        ([build_network(6), build_network(9, first_sample=100)], "no test image is in"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(inputs, message):
    with pytest.raises(InputError, match=message) as caught:
        read_networks(inputs)
    assert "\n" not in str(caught.value)


def test_depth_step_size_seed_target_and_place_may_differ():
    inputs = [
        build_network(6, 0),
        build_network(9, 1, h=0.5, target=0.1, recipe={"record": {"every": 0}}),
        build_network(6, 0, h=0.5, recipe={"data": {"dir": "elsewhere"}}),
    ]
    networks = read_networks(inputs)
    assert [(net.blocks, net.h, net.seed) for net in networks] == [
        (6, 1.0, 0),
        (9, 0.5, 1),
        (6, 0.5, 0),
    ]
    assert subject(inputs) == "net on digits"
    assert subject(inputs[:1]) == "d6-s0"


def test_other_labels_under_equal_sample_numbers_are_noticed():
    def relabel(data):
        return data.assign_coords(label=("sample", (data["label"].values + 1) % 10))

    with pytest.raises(InputError, match="different labels"):
        read_networks([build_network(6), with_norms(build_network(9), relabel)])


def test_untrained_norms_of_other_blocks_are_refused():
    made = build_network(6, untrained=1.0)
    other = build_network(9, untrained=1.0)
    with pytest.raises(InputError, match="norms of step 0 and of step 100 have different blocks"):
        read_networks([replace(made, tree=other.tree)])


def test_only_images_that_all_have_count_also_before_training():
    few = build_network(6, images=5, untrained=1.0)
    many = build_network(9, images=12)
    first, second = read_networks([few, many])
    assert first.trained.branch.shape == first.untrained.branch.shape == (5, 6)
    assert np.array_equal(second.trained.branch, many.families["norms"]["branch_norm"].values[:5])


def test_order_of_samples_and_dimensions_does_not_matter():
    made = build_network(6, 0, lambda j: 1.0 + j)
    turned = with_norms(made, lambda data: data.isel(sample=slice(None, None, -1)).transpose())
    assert np.array_equal(
        read_networks([made])[0].trained.branch, read_networks([turned])[0].trained.branch
    )


def test_a_foreign_models_checkpoint_zero_is_not_untrained():
    (net,) = read_networks([foreign()])
    assert net.trained is not None
    assert net.untrained is None
    assert net.excluded is None


def test_a_lone_file_of_step_zero_is_untrained():
    made = replace(build_network(6, loss=None), step=None, checkpoint={})
    made.tree.attrs["checkpoint_step"] = 0
    (net,) = read_networks([made])
    assert net.trained is None
    assert net.untrained is not None


def test_branches_of_different_scale_have_no_step_size():
    def uneven(data):
        return data.assign_coords(scale=("block", np.linspace(0.1, 1, 6)))

    (net,) = read_networks([with_norms(build_network(6), uneven)])
    assert net.h is None


def test_the_loss_is_that_of_the_analyzed_checkpoint():
    recorded = xr.Dataset(
        {"train_loss": ("epoch", [0.9, 0.3, 0.03])},
        coords={"epoch": [1, 2, 3], "step": ("epoch", [50, 100, 150])},
        attrs={"status": "reached_target"},
    )
    made = build_network(6, loss=None)
    made.tree["training/epoch"] = xr.DataTree(recorded)
    found = read_training(made, 100, recipe_of(made))
    assert (found.loss, found.reached) == (0.3, False)
    assert read_training(made, 150, recipe_of(made)).reached is True
    assert read_training(made, 120, recipe_of(made)).loss is None


@pytest.mark.parametrize("metrics", [[], "0.1", {"train_loss": "low"}, {"train_loss": None}])
def test_what_a_damaged_checkpoint_says_is_not_believed(metrics):
    made = replace(build_network(6), checkpoint={"status": 3, "metrics": metrics})
    assert read_training(made, 100, recipe_of(made)).loss is None


def at_step(step, seed=0, norm=1.0, **options):
    """A network as `analyze` gives it where checkpoints of its training were named."""
    made = build_network(6, seed, norm, step=step, label=f"net-seed{seed} step {step}", **options)
    return replace(made, group=f"{made.group} step {step}")


def test_one_network_at_two_steps_is_two_moments():
    networks = read_networks([at_step(100, target=None), at_step(50, target=None)])
    assert [net.moment for net in networks] == ["step 100", "step 50"]
    with pytest.raises(InputError, match="have the same depth, h and seed 0"):
        read_networks([at_step(100), at_step(100), at_step(50)])


def test_networks_of_one_depth_may_have_any_recipe_or_none():
    made = [build_network(6, label="a"), build_network(6, label="b", recipe={"train": {"lr": 1}})]
    made[1] = replace(made[1], group="other")
    assert [net.moment for net in read_networks(made)] == ["a", "b"]
    assert subject(made) == "a and b"
    tuned = [foreign("before"), replace(foreign("after"), group="other")]
    assert [net.moment for net in read_networks(tuned)] == ["before", "after"]
