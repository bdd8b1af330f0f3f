"""Reading spans: halves of the images, transitions inside, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from resprobe_analyses.reading import every_second
from resprobe_analyses.spans import analyze
from resprobe_analyses.spans.networks import (
    read_groups,
    with_transition,
    within_network,
)
from spanned_lesions import build_spans

from resprobe.errors import InputError


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60))
def test_halves_are_of_one_size_and_share_every_class(labels):
    classes = np.array(labels, dtype=np.int64)
    chosen = every_second(classes)
    assert 0 <= chosen.sum() - (~chosen).sum() <= 1
    for label in np.unique(classes):
        inside = classes == label
        assert abs(int((chosen & inside).sum()) - int((~chosen & inside).sum())) <= 1


def test_halves_are_the_same_every_time_and_alternate_within_a_class():
    assert every_second(np.array([7, 7, 7, 7, 1, 1, 1])).tolist() == [
        *(False, True, False, True),
        *(True, False, True),
    ]


def test_spans_that_hold_a_transition_are_told():
    (net,) = read_groups([build_spans(stages=(2, 3))])[0].networks
    found, inside = with_transition(net.layout), within_network(5)
    for first in range(5):
        for length in range(1, 6):
            holds = first <= 2 < first + length and first + length <= 5
            assert found[first, length - 1] == holds
            assert inside[first, length - 1] == (first + length <= 5)


def test_angles_are_read_from_the_analyzed_checkpoint_only():
    made = build_spans(step=20, influence=[0.1] * 8, angles=True)
    (net,) = read_groups([made])[0].networks
    assert net.influence == pytest.approx([0.1] * 8)
    assert net.distance is not None
    elsewhere = replace(made, step=10)
    (net,) = read_groups([elsewhere])[0].networks
    assert net.influence is None
    assert net.distance is None


def test_influence_is_the_mean_over_samples_that_have_one():
    made = build_spans(stages=(2, 2), influence=[0.1, 0.2, 0.3, 0.4])
    data = made.tree["influence"].to_dataset().copy(deep=True)
    data["block_influence"][0, 0] = np.nan
    data["block_influence"][1, 0] = 0.5
    tree = xr.DataTree.from_dict({"/lesion-span": made.families["lesion-span"], "/influence": data})
    (net,) = read_groups([replace(made, tree=tree)])[0].networks
    expected = (0.1 * 398 + 0.5) / 399
    assert net.influence[0] == pytest.approx(expected, rel=1e-6)
    assert np.isnan(net.influence[2])  # a transition


def test_order_of_samples_and_of_dimensions_does_not_matter():
    made = build_spans(harm=np.linspace(0.2, 0, 8), influence=np.linspace(0.3, 0.1, 8), angles=True)
    data = made.families["lesion-span"]
    order = np.random.default_rng(0).permutation(data.sizes["sample"])
    turned = replace(made, families={"lesion-span": data.isel(sample=order).transpose()})
    assert analyze([turned]).summary == analyze([made]).summary


def _with(made, change):
    data = change(made.families["lesion-span"])
    return replace(made, families={"lesion-span": data})


def _other_angles(made):
    data = made.tree["influence"].to_dataset()
    other = data.assign_coords(block=[f"b{i}" for i in range(data.sizes["block"])])
    return replace(made, tree=xr.DataTree.from_dict({"/influence": other}))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one input"),
        (
            [build_spans(name, group=name) for name in ("x", "y", "z")],
            "compares two groups, but 3 were given",
        ),
        ([replace(build_spans("x"), families={})], "x has no family 'lesion-span'"),
        (
            [_with(build_spans("x"), lambda d: d.drop_vars("span_lesion_loss"))],
            "no variable 'span_lesion_loss' with the dimensions sample, block, length",
        ),
        (
            [_with(build_spans("x"), lambda d: d.assign_coords(length=d["length"] + 1))],
            "lengths of the family 'lesion-span' are not 1 to the number of blocks",
        ),
        ([_with(build_spans("x"), lambda d: d.isel(sample=[3]))], "more --samples"),
        ([build_spans("x"), build_spans("y")], "same seed 0"),
        (
            [build_spans("x"), build_spans("y", seed=1, stages=(4, 4))],
            "x and y have different blocks",
        ),
        (
            [build_spans("x", group="a"), build_spans("y", group="b", stages=(4,))],
            "x and y have different blocks",
        ),
        ([build_spans("x"), build_spans("y", seed=1, first_sample=1)], "no test image"),
        ([_other_angles(build_spans("x", influence=[0.1] * 8))], "lesion-span and influence"),
    ],
)
def test_what_cannot_be_analyzed_is_refused_in_one_sentence(inputs, message):
    with pytest.raises(InputError, match=message) as caught:
        analyze(inputs)
    assert "\n" not in str(caught.value)
