"""Reading what was collected: absent families, odd values, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from resprobe_analyses.stability import analyze
from resprobe_analyses.stability.networks import read_groups
from stability_data import build, changed, leaf, without_figures

from resprobe.errors import InputError


def test_norms_alone_are_enough_and_the_rest_is_asked_for():
    found = without_figures([build("n", spectrum=False, lyapunov=False).input])
    assert "--quantity +jacobian_eigenvalues" in found.summary
    assert "--quantity +lyapunov_exponents" in found.summary
    assert found.verdict["outcome"] == "not tested"
    assert "RA Eq. 5 (every" not in found.summary
    assert "log norm is positive beyond its error" in found.summary
    assert "eigenvalue_real" not in found.dataset


def test_families_of_another_checkpoint_are_not_read():
    made = build(step=20)
    (group,) = read_groups([replace(made.input, step=10)])
    assert group.first.spectrum is None
    assert group.first.lyapunov is None


def test_order_of_samples_and_of_dimensions_does_not_matter():
    made = build("o", stages=(2, 2), images=5)
    order = np.random.default_rng(0).permutation(5)
    turned = made
    for family in ("jacobian", "spectrum", "lyapunov"):
        data = leaf(made, family).isel(sample=order).transpose()
        if "part" in data.dims:
            data = data.isel(part=[1, 0])
        turned = replace(turned, input=changed(turned, family, data))
    assert without_figures([turned.input]).summary == without_figures([made.input]).summary


def test_eigenvalues_use_the_images_that_have_a_norm():
    made = build(images=6)
    given = changed(made, "spectrum", leaf(made, "spectrum").isel(sample=[4, 1, 2]))
    (group,) = read_groups([given])
    assert group.first.spectrum.eigenvalues.shape[0] == 3
    expected = leaf(made, "jacobian")["jacobian_spectral_norm"].values[[1, 2, 4]]
    assert group.first.spectrum.norm == pytest.approx(expected)
    assert group.first.norms.log_norm.shape[0] == 6


def test_one_image_has_values_and_no_interval():
    inputs = [build("a", group="a", images=1).input, build("b", group="b", images=1).input]
    found = without_figures(inputs)
    assert "this network, no interval" in found.summary
    assert "no interval on a single image" in found.summary
    assert np.isnan(found.dataset["stage_interval"].values).all()
    assert "[0.00, 0.97]" in found.summary  # 0 of 1: Clopper and Pearson


def test_only_transitions_leave_nothing_but_norms():
    found = analyze([build("t", stages=(1, 1), images=3).input])
    assert found.dataset["stage"].values.tolist() == [1]
    made = build("t", stages=(1, 1), images=3)
    for family in ("jacobian", "spectrum", "lyapunov"):
        data = leaf(made, family).isel(block=[1])
        made = replace(made, input=changed(made, family, data))
    found = analyze([made.input])
    assert found.verdict["outcome"] == "not tested"
    assert "no block with an identity skip has eigenvalues" in found.summary
    assert "no Lyapunov exponent is known" in found.summary
    assert "transitions" in found.summary
    assert list(found.figures) == ["norms"]


def test_values_that_are_all_missing_are_said_and_drawn_empty():
    made = build("m", stages=(3,), images=3, training=(0, 4))
    for family in ("jacobian", "spectrum", "lyapunov", "training/jacobian"):
        data = leaf(made, family)
        for name, one in data.data_vars.items():
            if one.dtype.kind in "fc":
                data[name] = one * np.nan
        made = replace(made, input=changed(made, family, data))
    found = analyze([made.input])
    assert "18 of 18 Jacobians have no finite norm and are left out" in found.summary
    assert "no log norm of the branch is known" in found.summary
    assert "no Jacobian was checked" in found.summary
    assert list(found.figures) == ["norms", "training"]


def test_a_block_that_keeps_its_shape_without_a_log_norm_is_not_called_rectangular():
    made = build("w", stages=(2, 2), images=3)
    data = leaf(made, "jacobian")
    data["jacobian_log_norm"][:, 1] = np.nan
    found = without_figures([changed(made, "jacobian", data)])
    assert "no log norm is finite in stage1.1" in found.summary
    assert "stage2.0 has no eigenvalues and no log norm" in found.summary


def test_a_norm_that_is_missing_is_replaced_by_the_frobenius_norm_in_the_discs():
    made = build(stages=(2,), images=2)
    data = leaf(made, "jacobian")
    data["jacobian_spectral_norm"][0, 0] = np.nan
    (group,) = read_groups([changed(made, "jacobian", data)])
    expected = data["jacobian_frobenius_norm"].values[0, 0]
    assert group.first.spectrum.norm[0, 0] == pytest.approx(expected)


def test_unknown_conditions_are_said():
    found = without_figures([build("c", condition=False).input])
    assert "for 112 spectral abscissas the condition number was not computed" in found.summary


def _without(family: str, name: str):
    made = build("x")
    return changed(made, family, leaf(made, family).drop_vars(name))


def _renamed(family: str):
    made = build("x", training=(0, 5))
    data = leaf(made, family)
    return changed(
        made, family, data.assign_coords(block=[f"b{i}" for i in range(data.sizes["block"])])
    )


def _other_part():
    made = build("x")
    return changed(made, "jacobian", leaf(made, "jacobian").isel(part=[0]))


def _training_without(name: str):
    made = build("x", training=(0, 5))
    return changed(made, "training/jacobian", leaf(made, "training/jacobian").drop_vars(name))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda: [], "at least one input"),
        (lambda: [changed(build("x"), "jacobian", None)], "x has no family 'jacobian'"),
        (
            lambda: [_without("jacobian", "jacobian_log_norm")],
            "no variable 'jacobian_log_norm' with the dimensions sample, block, part",
        ),
        (
            lambda: [_without("spectrum", "jacobian_eigenvalue_residual")],
            "the family 'spectrum' has no variable 'jacobian_eigenvalue_residual'",
        ),
        (lambda: [_without("spectrum", "which")], "no coordinate 'which'"),
        (lambda: [_without("jacobian", "part")], "does not tell the parts branch and block apart"),
        (lambda: [_other_part()], "does not tell the parts branch and block apart"),
        (lambda: [_without("lyapunov", "transition")], "no coordinate 'transition'"),
        (lambda: [_renamed("spectrum")], "jacobian and spectrum have different blocks"),
        (lambda: [_renamed("training/jacobian")], "/training/jacobian and the family 'jacobian'"),
        (
            lambda: [_training_without("jacobian_log_norm")],
            "/training/jacobian has no variable 'jacobian_log_norm'",
        ),
        (lambda: [_training_without("part")], "/training/jacobian has no coordinate 'part'"),
        (lambda: [build("x").input, build("y").input], "same seed 0"),
        (
            lambda: [build("x").input, build("y", seed=1, stages=(4, 4)).input],
            "x and y have one recipe but different blocks",
        ),
        (
            lambda: [build("x").input, build("y", seed=1, first_sample=1).input],
            "no test image is in all of the families jacobian of x, y",
        ),
    ],
)
def test_what_cannot_be_analyzed_is_refused_in_one_sentence(inputs, message):
    with pytest.raises(InputError, match=message) as caught:
        without_figures(inputs())
    assert "\n" not in str(caught.value)


def test_a_recording_without_rows_is_no_training():
    made = build("x", training=(0, 5))
    data = leaf(made, "training/jacobian").isel(step=slice(0, 0))
    found = analyze([changed(made, "training/jacobian", data)])
    assert "training" not in found.figures
    assert "step" not in found.dataset.dims


def test_labels_that_differ_on_one_image_are_refused():
    one, two = build("x", group="a"), build("y", group="b")
    data = leaf(two, "jacobian")
    data = data.assign_coords(label=("sample", (data["label"].values + 1) % 10))
    with pytest.raises(InputError, match="different labels"):
        without_figures([one.input, changed(two, "jacobian", data)])


def test_the_tree_may_be_a_lone_file():
    made = build("x")
    assert isinstance(made.input.tree, xr.DataTree)
    assert made.input.step is None
    (group,) = read_groups([made.input])
    assert group.first.spectrum is not None
