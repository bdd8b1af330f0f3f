"""Reading inputs: grouping, shared images, and what is refused in one sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lesioned import build_input
from resprobe_analyses.lesion import analyze
from resprobe_analyses.lesion.networks import group_label, read_groups

from resprobe.errors import InputError


@pytest.mark.parametrize(
    ("labels", "short"),
    [
        (["h1-seed0", "h1-seed1"], "h1"),
        (["h01-seed0", "h01-seed10"], "h01"),
        (["run10", "run11"], "run"),
        (["resnet-56_s1", "resnet-56_s2"], "resnet-56_s"),
        (["alone-seed0"], "alone-seed0"),
        (["a", "b"], "a etc."),
    ],
)
def test_a_group_is_called_what_its_labels_share(labels, short):
    assert group_label(labels) == short


def test_inputs_of_one_recipe_are_one_group_in_order():
    groups = read_groups(
        [
            build_input("b-seed1", group="b", seed=1),
            build_input("a-seed0", group="a", seed=0),
            build_input("b-seed0", group="b", seed=0),
        ]
    )
    assert [group.label for group in groups] == ["b", "a-seed0"]
    assert [net.seed for net in groups[0].networks] == [1, 0]


def test_equal_labels_are_told_apart():
    groups = read_groups([build_input("run", group="a"), build_input("run", group="b")])
    assert [group.label for group in groups] == ["run", "run (2)"]


def test_only_images_that_all_inputs_have_are_used():
    few = build_input("few", group="a", images=100)
    many = build_input("many", group="b", images=300, norm_images=40)
    first, second = (group.networks[0] for group in read_groups([few, many]))
    assert first.whole_wrong.shape == second.whole_wrong.shape == (100,)
    assert (first.images_left_out, second.images_left_out) == (0, 200)
    assert first.ratio.shape[0] == second.ratio.shape[0] == 40
    expected = many.families["lesion"]["lesion_correct"].values[:100] == 0
    assert np.array_equal(second.lesion_wrong, expected)


def test_order_of_samples_and_of_dimensions_does_not_matter():
    made = build_input(effects={2: 0.2})
    shuffled = {
        name: data.isel(
            sample=np.random.default_rng(0).permutation(data.sizes["sample"])
        ).transpose()
        for name, data in made.families.items()
    }
    turned = analyze([replace(made, families=shuffled)])
    assert turned.summary == analyze([made]).summary


def _without(made, family, variable):
    changed = {**made.families, family: made.families[family].drop_vars(variable)}
    return replace(made, families=changed)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one input"),
        ([replace(build_input("x"), families={})], "x has no family 'norms'"),
        ([_without(build_input("x"), "lesion", "lesion_correct")], "no variable 'lesion_correct'"),
        ([_without(build_input("x"), "norms", "weight_norm")], "no variable 'weight_norm'"),
        ([_without(build_input("x"), "lesion", "transition")], "no coordinate 'transition'"),
        (
            [build_input("x", group="a"), build_input("y", group="b", first_sample=1)],
            "no test image is in all of the families lesion of x, y",
        ),
        (
            [build_input("x", group="a"), build_input("y", group="b", stages=(4, 4))],
            "x and y have different blocks",
        ),
        ([build_input("x"), build_input("y")], "same recipe and the same seed 0"),
    ],
)
def test_what_cannot_be_analyzed_is_refused_in_one_sentence(inputs, message):
    with pytest.raises(InputError, match=message) as caught:
        analyze(inputs)
    assert "\n" not in str(caught.value)


def test_other_data_under_equal_sample_numbers_are_noticed():
    first, second = build_input("x", group="a"), build_input("y", group="b")
    lesion = second.families["lesion"]
    changed = lesion.assign_coords(label=("sample", (lesion["label"].values + 1) % 10))
    second = replace(second, families={**second.families, "lesion": changed})
    with pytest.raises(InputError, match="different labels"):
        analyze([first, second])


def test_norms_of_other_images_than_the_lesions_are_refused():
    made = build_input("x")
    other = build_input("x", first_sample=1).families["norms"]
    with pytest.raises(InputError, match="families lesion and norms"):
        analyze([replace(made, families={**made.families, "norms": other})])
