"""What `resprobe.open` shows in a notebook or a terminal: small, ordered, named, with units."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import user_nets
from torch import nn

import resprobe as package
from resprobe.store.arrange import arranged, arranged_attributes

BLOCKS = 21


class Deep(user_nets.Net):
    """Twenty-one residual blocks on features."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(user_nets.Block(6) for _ in range(BLOCKS)))


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """The file of a network of 21 blocks with what `standard` measures of it but Jacobians."""
    torch.manual_seed(0)
    x, path = torch.randn(30, 4), tmp_path_factory.mktemp("deep") / "deep.h5"
    asked = ["+lesion_error"]
    labels = torch.arange(30) % 3
    return package.measure(Deep(), x, labels, path, preset="economy", quantities=asked)


def visible(html):
    html = re.sub(r"<style.*?</style>|<svg.*?</svg>", " ", html, flags=re.S)
    return re.sub(r"<[^>]*>", " ", html)


def test_the_page_of_a_deep_network_is_small_and_whole(deep):
    html = deep._repr_html_()
    assert len(html) < 200_000
    assert "Too many items" not in visible(html)
    assert "lesion_error" in visible(html)


def test_groups_are_in_the_order_in_which_they_are_measured(deep, collected):
    # One pass forward each comes before the lesions.
    assert list(deep.children) == ["influence", "layer-cushion", "norms", "lesion"]
    tree = package.open(collected)
    assert list(tree.children) == ["training", "step-00000008"]
    assert list(tree["training"].children) == ["step", "epoch"]
    tree.close()


def test_paths_of_all_kinds_have_their_place():
    ordered = [
        "/training/step",
        "/training/epoch",
        "/training/jacobian",
        "/step-00000002/norms",
        "/step-00000002/lesion",
        "/step-00000002/jacobian",
        "/step-00000002/zebra-of-another-package",
        "/step-00000010/norms",
        "/partner/training/step",
        "/partner/step-00000010/norms",
    ]
    mixed = dict.fromkeys(sorted(ordered))
    assert list(arranged(mixed)) == ordered
    assert list(arranged(dict(reversed(mixed.items())))) == ordered


def test_the_first_attributes_say_what_it_is_and_long_texts_come_last(collected):
    tree = package.open(collected)
    names = list(tree.attrs)
    assert names[:2] == ["title", "seed"]
    assert {"recipe", "group"} <= set(names[-6:])
    lengths = [len(str(tree.attrs[name])) for name in names]
    long = next(place for place, length in enumerate(lengths) if place > 6 and length > 100)
    assert lengths[long:] == sorted(lengths[long:])
    assert arranged_attributes(tree.attrs) == dict(tree.attrs)
    tree.close()


def test_attributes_are_plain_values(collected, deep):
    run = package.open(collected)
    for tree in (run, deep):
        assert "_NCProperties" not in tree.attrs
        for node in tree.subtree:
            assert not any(isinstance(v, bytes | np.generic) for v in node.attrs.values())
    run.close()


def test_the_first_lines_of_the_text_show_what_was_recorded(collected):
    tree = package.open(collected)
    lines = repr(tree).splitlines()[:40]
    assert any("title:" in line for line in lines[:6])
    assert any("Group: /training/step" in line for line in lines)
    assert any("* block" in line and "stage1.0" in line for line in lines)
    assert max(map(len, lines)) <= 100
    tree.close()


def test_every_variable_says_what_it_is_in_which_units(collected, deep):
    run = package.open(collected)
    for tree in (run, deep):
        for node in tree.leaves:
            data = node.to_dataset()
            assert set(data.dims) <= set(data.coords), node.path
            for name, variable in data.variables.items():
                told = variable.attrs
                assert told.get("long_name"), (node.path, name)
                if variable.dtype.kind in "iufc":
                    assert "units" in told or "flag_meanings" in told, (node.path, name)
    run.close()


def test_where_a_block_stands_is_a_coordinate_in_every_group(deep):
    for node in deep.leaves:
        assert {"index", "stage", "skip", "transition", "elements"} <= set(node.coords), node.path
