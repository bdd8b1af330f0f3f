"""T of Yu and Tomasi (2019), Eq. 1, and its inverse on state dictionaries."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from resprobe.linalg.cushions import id_entries
from resprobe.linalg.transfer import to_plain, to_residual

DTYPES = [torch.float32, torch.float64]
UNIT = 2.0**-53


def test_one_is_added_at_the_id_entries_and_nothing_else_is_touched():
    weight = torch.arange(8.0).reshape(2, 4) / 8
    state = {"weight": weight, "bias": torch.ones(2), "count": torch.tensor(3)}
    before = weight.clone()
    mask = torch.zeros(2, 4, dtype=torch.bool)
    mask[0, 0] = mask[1, 1] = True
    plain = to_plain(state, {"weight": mask})
    expected = [[1.0, 0.125, 0.25, 0.375], [0.5, 1.625, 0.75, 0.875]]
    assert plain["weight"].tolist() == expected
    assert plain["bias"] is state["bias"]
    assert plain["count"] is state["count"]
    assert torch.equal(state["weight"], before)
    assert list(plain) == list(state)
    assert torch.equal(to_residual(plain, {"weight": mask})["weight"], before)


def test_a_weight_that_is_not_there_is_an_error():
    mask = torch.ones(1, 1, dtype=torch.bool)
    with pytest.raises(KeyError, match="missing"):
        to_plain({}, {"missing": mask})


@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3, 5])),
    magnitude=st.sampled_from([1e-12, 1e-3, 1.0, 1e4]),
    seed=st.integers(0, 2**16),
)
def test_there_and_back_is_the_start_up_to_rounding_of_what_was_added_to(
    dtype, shape, magnitude, seed
):
    """Adding 1 rounds by u(1 + |r|) at most, taking it off again by u|r| and what came before."""
    out, into, kernel = shape
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(out, into, kernel, kernel, generator=generator, dtype=torch.float64)
    r = (magnitude * draw).to(dtype)
    mask = id_entries(r)
    there = to_plain({"w": r}, {"w": mask})
    back = to_residual(there, {"w": mask})["w"]
    assert back.dtype == dtype
    assert torch.equal(back[~mask], r[~mask])
    u = torch.finfo(dtype).eps / 2
    difference = (back.double() - r.double()).abs()
    assert bool((difference <= u * (1 + 2 * r.double().abs()) * (1 + 4 * u)).all())


@given(
    channels=st.tuples(st.integers(1, 4), st.integers(0, 4)),
    stride=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**16),
)
def test_outputs_and_gradients_of_the_two_layers_are_equal(channels, stride, seed):
    """A skip that subsamples and adds zero channels behind; float64, one sum of 9·C + 2 terms."""
    into, more = channels
    generator = torch.Generator().manual_seed(seed)
    x, r = (
        torch.randn(size, generator=generator, dtype=torch.float64)
        for size in ((2, into, 5, 6), (into + more, into, 3, 3))
    )
    residual = r.clone().requires_grad_()
    p = to_plain({"w": r}, {"w": id_entries(r)})["w"].requires_grad_()
    s = functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, more))
    first = s + functional.conv2d(x, residual, stride=stride, padding=1)
    second = functional.conv2d(x, p, stride=stride, padding=1)
    terms, places = 9 * into + 2, 2 * 5 * 6
    size = functional.conv2d(x.abs(), p.detach().abs(), stride=stride, padding=1).max()
    assert (first - second).detach().abs().max() <= 2 * terms * UNIT * size
    for output in (first, second):
        output.square().sum().backward()
    # A gradient sums 2·y·x over places: of what y differs by, and rounded once more in each net.
    bound = 2 * places * x.abs().max() * (2 * terms + 2 * (places + 2)) * UNIT * size
    assert (residual.grad - p.grad).abs().max() <= bound
