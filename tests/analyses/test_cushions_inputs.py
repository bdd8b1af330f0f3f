"""Reading cushions: common images, seeds, checkpoints, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from cushioned import build_cushions
from resprobe_analyses.cushions import analyze
from resprobe_analyses.cushions.networks import read_groups

from resprobe.errors import InputError


def without(given, *names):
    data = given.families["layer-cushion"].drop_vars(names)
    return replace(given, families={"layer-cushion": data})


def test_only_common_images_are_read_and_the_others_counted():
    inputs = [build_cushions("a"), build_cushions("b", group="h", first_sample=30)]
    first, second = (group.networks[0] for group in read_groups(inputs))
    assert first.kept.shape == second.kept.shape == (50, 5)
    assert first.images_left_out == second.images_left_out == 10
    assert np.array_equal(first.classes, second.classes)


def test_interlayer_cushions_are_read_from_the_analyzed_checkpoint_only():
    made = build_cushions(step=20, blocks=(1.0, 2.0, 1.0))
    (group,) = read_groups([made])
    assert group.networks[0].interlayer is not None
    assert group.networks[0].interlayer.values["eval"].shape == (30, 3, 3)
    (group,) = read_groups([replace(made, step=10)])
    assert group.networks[0].interlayer is None


def test_groups_of_one_name_are_told_apart():
    groups = read_groups([build_cushions("net"), build_cushions("net", group="h")])
    assert [group.label for group in groups] == ["net", "net (2)"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "at least one input"),
        ([build_cushions(group=name) for name in "abc"], "inputs are of 3"),
        ([replace(build_cushions(), families={})], "no family 'layer-cushion'"),
        ([without(build_cushions(), "layer_weight_norm")], "no variable 'layer_weight_norm'"),
        ([without(build_cushions(), "layer_kind")], "no coordinate 'layer_kind'"),
        ([build_cushions("a"), build_cushions("b")], "same seed 0"),
        (
            [build_cushions("a"), build_cushions("b", seed=1, layers=("v", "w", "x", "y", "z"))],
            "different layers",
        ),
        ([build_cushions("a"), build_cushions("b", group="h", first_sample=1)], "no test image"),
    ],
)
def test_what_can_not_be_read_is_refused_in_words(inputs, message):
    with pytest.raises(InputError, match=message):
        analyze(inputs)


def test_an_interlayer_family_without_its_errors_is_refused():
    made = build_cushions(blocks=(1.0, 1.0, 1.0))
    data = made.tree["interlayer-cushion"].to_dataset().drop_vars("interlayer_cushion_stderr")
    tree = xr.DataTree.from_dict({"interlayer-cushion": data})
    with pytest.raises(InputError, match="lacks 'interlayer_cushion_stderr'"):
        analyze([replace(made, tree=tree)])
