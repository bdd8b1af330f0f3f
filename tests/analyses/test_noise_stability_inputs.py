"""Reading responses to noise: common images, levels, families beside, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from noisy import LEVELS, build_noisy, two_noisy_groups
from resprobe_analyses.noise_stability import ANALYSIS, analyze, at_most_two
from resprobe_analyses.noise_stability.bound_reading import training_images
from resprobe_analyses.noise_stability.networks import OUTSIDE, read_networks

from resprobe import registry
from resprobe.errors import InputError

NOISE = "weight-noise"


def with_noise(given, change):
    return replace(given, families={**given.families, NOISE: change(given.families[NOISE])})


def with_beside(given, family, change):
    folder = f"step-{given.step:08d}"
    tree = given.tree.copy()
    tree[f"{folder}/{family}"] = xr.DataTree(change(given.tree[f"{folder}/{family}"].to_dataset()))
    return replace(given, tree=tree)


def test_the_analysis_is_registered_beside_the_others():
    assert registry.load("analyses", "noise-stability") is ANALYSIS


def test_only_common_images_are_read_and_cushions_are_of_the_same():
    made = [build_noisy("a"), build_noisy("b", group="h", first_sample=30)]
    found = read_networks(made, ["a", "b"])
    assert found["a"].cushion.shape == found["b"].cushion.shape == (30, 5, 2)
    assert found["a"].weight.log_change.shape == (30, 5, 2, len(LEVELS))
    expected = made[0].families["layer-cushion"]["layer_cushion"].values[10:]
    np.testing.assert_array_equal(found["a"].cushion[..., 0], expected)


def test_layers_outside_of_blocks_and_in_transitions_are_told_apart():
    made = build_noisy()
    cushions = made.families["layer-cushion"].assign(transition=("block", np.int8([0, 1, 0])))
    made = replace(made, families={**made.families, "layer-cushion": cushions})
    (net,) = read_networks([made], ["net"]).values()
    assert net.stage.tolist() == [OUTSIDE, 1, 1, 2, OUTSIDE]
    assert net.within.tolist() == [False, True, False, True, False]
    np.testing.assert_allclose(net.noise_ratio, [0.99, 0.1, 0.1, 0.99, 0.99])


def test_levels_are_read_in_ascending_order_and_norms_by_name():
    made = build_noisy()
    turned = with_noise(made, lambda data: data.isel(level=slice(None, None, -1), norm=[1, 0]))
    one, two = (read_networks([given], ["net"])["net"].weight for given in (made, turned))
    np.testing.assert_array_equal(one.level, two.level)
    np.testing.assert_array_equal(one.log_change, two.log_change)
    np.testing.assert_array_equal(one.change, two.change)


def with_level_0(given):
    """The same network, measured at level 0 as well, which changes nothing."""

    def more(data):
        none = data.isel(level=[0]).assign_coords(level=[0.0])
        for name in data:
            if name.endswith("output_change"):
                none[name] = none[name] * 0
        return xr.concat([none, data], "level", data_vars="minimal")

    given = with_beside(given, "input-noise", more)
    return with_noise(given, more)


def test_level_0_is_left_out():
    made = build_noisy()
    whole, found = analyze([made]), analyze([with_level_0(made)])
    xr.testing.assert_identical(found.dataset, whole.dataset)
    assert found.summary == whole.summary


def test_changes_without_a_logarithm_are_left_out_and_counted():
    def broken(data):
        data = data.copy(deep=True)
        data["weight_noise_output_change"][0, 0, 0, 0, 0] = 0.0
        data["weight_noise_output_change"][0, 1, 0, 0] = np.nan
        return data

    made = build_noisy()
    whole, net = (
        read_networks([given], ["net"])["net"].weight for given in (made, with_noise(made, broken))
    )
    size = made.families[NOISE]["weight_noise_output_change"].size
    assert net.left_out == pytest.approx(4 / size)
    change = made.families[NOISE]["weight_noise_output_change"].values[0, 0, 0, 0, 1:]
    expected = np.log(change.astype(np.float64)).mean()
    assert net.log_change[0, 0, 0, 0] == pytest.approx(expected)
    assert np.isnan(net.log_change[0, 1, 0, 0])
    np.testing.assert_array_equal(net.log_change[1:], whole.log_change[1:])
    assert np.isfinite(analyze([with_noise(made, broken)]).dataset["log_output_change"]).all()


def test_a_network_is_residual_by_its_blocks():
    found = read_networks(
        [build_noisy("a"), build_noisy("b", group="h", residual=False)], ["a", "b"]
    )
    assert [net.residual for net in found.values()] == [True, False]


def test_other_families_are_read_from_the_analyzed_checkpoint_only():
    made = build_noisy(step=20)
    assert "input" in analyze([made]).figures
    later = analyze([replace(made, step=30)])
    assert set(later.figures) == {"response", "prediction"}
    assert later.verdict["findings"]["groups"][0]["networks"][0]["bound"] is None


def test_training_images_are_batches_of_an_epoch_and_unknown_without_the_trainer():
    made = build_noisy(step=20)  # 10 steps an epoch of 50 images
    assert training_images(made) == 500
    assert np.isnan(training_images(replace(made, checkpoint={})))
    foreign = replace(made, tree=xr.DataTree())
    assert np.isnan(training_images(foreign))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "noise-stability needs at least one input"),
        ([build_noisy(group=name) for name in "abc"], "inputs are of 3"),
        ([replace(build_noisy(), families={})], "no family 'layer-cushion'"),
        (
            [with_noise(build_noisy(), lambda data: data.drop_vars("output_norm"))],
            "no variable 'output_norm'",
        ),
        (
            [with_noise(build_noisy(), lambda data: data.drop_vars("norm"))],
            "no coordinate 'norm'",
        ),
        (
            [with_noise(build_noisy(), lambda data: data.sel(norm=["kept"]))],
            "no noise of the norm 'removed'",
        ),
        (
            [with_noise(build_noisy(), lambda data: data.assign_coords(layer=list("vwxyz")))],
            "have different layers",
        ),
        (
            [build_noisy("a"), build_noisy("b", group="h", levels=(0.01, 0.02, 0.1))],
            "a and b were measured under noise of different levels",
        ),
        (
            [with_noise(build_noisy(), lambda data: data.isel(level=[0]).assign_coords(level=[0]))],
            "'weight-noise' has no noise of a level above 0",
        ),
        ([build_noisy("a"), build_noisy("b")], "same seed 0"),
        ([build_noisy("a"), build_noisy("b", group="h", first_sample=1)], "no test image"),
        (
            [with_beside(build_noisy(), "norms", lambda data: data.drop_vars("margin"))],
            "'norms' has no variable 'margin'",
        ),
    ],
)
def test_what_can_not_be_read_is_refused_in_words(inputs, message):
    with pytest.raises(InputError, match=message):
        analyze(inputs)


def test_three_groups_are_not_analyzed_unasked():
    assert at_most_two(two_noisy_groups(2))
    assert not at_most_two([build_noisy(group=name) for name in "abc"])
