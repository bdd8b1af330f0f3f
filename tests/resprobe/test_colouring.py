"""Patterns contain what truly depends; colourings are few and never mix."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jacobian_cases import dense, sample, settled
from torch import nn

from resprobe.blocks.path import Path
from resprobe.blocks.program import record
from resprobe.linalg.colouring import colour, colourings, conflicts, places_of_colours
from resprobe.linalg.linearise import linearise
from resprobe.linalg.pattern import pattern
from resprobe.linalg.steps import Convolution


def pattern_of(f, x):
    """The pattern of a function at a sample, without the axis of the samples."""
    with torch.no_grad():
        program = record(f, (x.clone(),))
    steps = linearise(Path(program, program.inputs[0], [(program.output.value, 1.0)]))
    found = pattern(steps.steps, steps.input, steps.output, tuple(x.shape), x)
    return found.without(0, 0)


def two_convolutions(mode="zeros", stride=1):
    first = nn.Conv2d(2, 3, 3, stride, 1, padding_mode=mode)
    return settled(nn.Sequential(first, nn.Conv2d(3, 2, 3, 1, 1, padding_mode=mode)))


def counts(found):
    return [axis.count for axis in colourings(found)]


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (11, 13)])
def test_two_3x3_convolutions_need_five_colours_along_each_axis_of_any_grid(size):
    # NUMERICS: period 5 is exact on any grid, period 4 is wrong.
    found = pattern_of(two_convolutions(), sample(2, *size))
    assert counts(found) == [2, 5, 5]
    four = np.arange(size[0]) % 4
    same = four[:, None] == four[None, :]
    np.fill_diagonal(same, val=False)
    assert (same & conflicts(found, 1)).any()


def test_a_grid_smaller_than_the_period_needs_a_colour_for_each_place():
    assert counts(pattern_of(two_convolutions(), sample(2, 3, 6))) == [2, 3, 5]


@pytest.mark.parametrize(
    ("length", "number"), [(10, 5), (12, 6), (8, 8), (16, 6), (15, 5), (11, 6)]
)
def test_circular_padding_needs_no_more_colours_than_a_circle(length, number):
    # Five neighbours each on a circle: the fewest colours are the rounded up n / floor(n / 5).
    found = pattern_of(two_convolutions("circular"), sample(2, length, 10))
    assert counts(found) == [2, number, 5]
    assert number == -(-length // (length // 5))


def test_a_stride_makes_the_outputs_cheaper_to_tell_apart():
    for size in ((16, 16), (15, 13)):
        found = pattern_of(two_convolutions(stride=2), sample(2, *size))
        assert counts(found) == [2, 7, 7]
        assert counts(found.transposed()) == [2, 4, 4]


def test_groups_share_colours():
    assert counts(pattern_of(settled(nn.Conv2d(6, 6, 3, groups=6)), sample(6, 5, 5)))[0] == 1
    assert counts(pattern_of(settled(nn.Conv2d(6, 4, 3, groups=2)), sample(6, 5, 5)))[0] == 3


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 24), st.integers(0, 4), st.booleans(), st.integers(0, 9))
def test_no_two_places_of_a_colour_conflict(size, reach, circle, seed):
    places = np.arange(size)
    distance = np.abs(places[:, None] - places[None, :])
    distance = np.minimum(distance, size - distance) if circle else distance
    graph = distance <= reach
    drawn = np.random.default_rng(seed).random((size, size)) < 0.1
    graph |= drawn | drawn.T
    colours = colour(graph)
    np.fill_diagonal(graph, val=False)
    assert not (graph & (colours[:, None] == colours[None, :])).any()
    assert set(colours) == set(range(colours.max() + 1))


@settings(max_examples=20, deadline=None)
@given(st.integers(6, 24), st.integers(1, 4), st.integers(1, 3))
def test_windows_along_a_line_get_the_fewest_colours_there_can_be(size, kernel, stride):
    found = pattern_of(settled(nn.Conv1d(1, 1, kernel, stride)), sample(1, size))
    # An interval graph: as many colours as the largest window has places, and of the outputs as
    # many as windows lie over one place.
    matrix = found.matrices[1, 1]
    assert counts(found)[1] == matrix.sum(1).max()
    assert counts(found.transposed())[1] == matrix.sum(0).max()


NETS = {
    "strided": two_convolutions(stride=2),
    "circular": two_convolutions("circular"),
    "reflect": two_convolutions("reflect"),
    "groups": settled(nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 2, 2, groups=2))),
    "pooling": settled(nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(2, 2, 3), nn.AvgPool2d(2))),
    "upsampled": settled(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(2, 2, 3, 1, 1))),
    "flattened": settled(nn.Sequential(nn.Conv2d(2, 2, 3, 1, 1), nn.Flatten())),
    "transposed": settled(nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2), nn.Conv2d(2, 2, 3))),
}


@pytest.mark.parametrize("name", NETS)
def test_a_pattern_contains_the_true_dependence(name):
    x = sample(2, 9, 8)
    found = pattern_of(NETS[name], x)
    reference = dense(NETS[name], x) != 0
    reference = reference.reshape(*found.output_shape, *found.input_shape).numpy()
    rank = len(found.output_shape)
    for (a, b), matrix in found.matrices.items():
        others = tuple(d for d in range(reference.ndim) if d not in (b, rank + a))
        truly = reference.any(axis=others)
        assert (truly <= matrix).all()
        # And no wider: each place that it allows is reached by something.
        assert name in ("pooling",) or (truly == matrix).all()


def test_each_output_knows_which_input_of_each_colour_it_reads():
    found = pattern_of(two_convolutions(), sample(2, 7, 6))
    axes = colourings(found)
    table = places_of_colours(found, axes)
    assert table.shape == (25, 1, 7, 6)
    rows, columns = table // 6, table % 6
    for number in range(25):
        there = table[number, 0] >= 0
        p, q = np.nonzero(there)
        assert (np.abs(rows[number, 0][there] - p) <= 2).all()
        assert (np.abs(columns[number, 0][there] - q) <= 2).all()
        assert (axes[1].colours[rows[number, 0][there]] == number // 5).all()


def test_an_axis_too_long_for_a_matrix_counts_as_dense():
    step = Convolution(
        (0,), 1, "", SimpleNamespace(function="conv"), torch.ones(1, 1, 3, 3), (1, 1), (1, 1),
        (1, 1), transposed=False, output_padding=(0, 0), groups=1,
    )  # fmt: skip
    found = pattern([step], 0, 1, (1, 1, 10_000, 7), torch.ones(1))
    assert set(found.matrices) == {(3, 3)}
