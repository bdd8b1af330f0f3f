"""Block influence: one minus the cosine of what goes into a block and what comes out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import post_activation, trained_looking
from spanned import Classifier, GivenPass, drawn, naive_mean, turned

import resprobe as package
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError
from resprobe.linalg import angles
from resprobe.linalg.angles import mean_cosine_gap
from resprobe.quantities.influence import BLOCK_INFLUENCE, Influence, block_influence

SHAPES = [((3, 7), 1), ((3, 5, 7), -1), ((3, 5, 7), 1), ((2, 6, 3, 4), 1), ((2, 3, 4, 6), -1)]
seeds = st.integers(0, 1000)


def naive(x, y, axis):
    return naive_mean(x, y, axis, lambda c: 1 - c)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_is_the_mean_over_positions_of_one_minus_the_cosine(shape, axis, dtype):
    x, y = drawn(shape, 0, dtype), drawn(shape, 1, dtype)
    # both sum the same numbers in float64, in other orders
    torch.testing.assert_close(block_influence(x, y, axis), naive(x, y, axis), rtol=1e-13, atol=0)


@pytest.mark.parametrize("piece", [1, 7, 30, 1 << 18])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_the_pieces_it_is_computed_in_do_not_matter(monkeypatch, piece, shape, axis):
    x, y = drawn(shape, 0), drawn(shape, 1)
    monkeypatch.setattr(angles, "_PIECE", piece)
    torch.testing.assert_close(mean_cosine_gap(x, y, axis), naive(x, y, axis), rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("angle", "expected"), [(0, 0), (math.pi / 3, 0.5), (math.pi / 2, 1), (math.pi, 2)]
)
def test_a_rotation_by_a_known_angle(angle, expected):
    x = torch.zeros(2, 3, 4, dtype=torch.float64)
    x[..., :2] = drawn((2, 3, 2), 0)
    found = block_influence(x, turned(x, angle), -1)
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0, atol=1e-15)


def test_nearly_parallel_float32_vectors_keep_their_digits():
    # 1 - cos = 1e-9 is far below what float32 can hold beside 1
    x = drawn((4, 768), 0, torch.float32)
    other = drawn((4, 768), 1, torch.float32)
    other -= (x * other).sum(1, keepdim=True) / (x * x).sum(1, keepdim=True) * x
    other *= (x.norm(dim=1) / other.norm(dim=1)).unsqueeze(1)
    y = x + math.sqrt(2e-9) * other
    exact = naive(x, y, 1)
    assert exact.min() > 0.9e-9
    assert exact.max() < 1.1e-9
    # rounding of 1 - cos is a few 1e-16, on either side
    torch.testing.assert_close(block_influence(x, y, 1), exact, rtol=0, atol=2e-15)


def test_a_position_without_a_direction_is_left_out():
    x, y = drawn((2, 3, 4), 0), drawn((2, 3, 4), 1)
    x[0, 1], y[0, 2], x[1] = 0, 0, 0
    found = block_influence(x, y, -1)
    torch.testing.assert_close(found[:1], naive(x[:1, :1], y[:1, :1], -1))
    assert found[1].isnan()


def test_what_is_not_finite_is_not_hidden():
    x, y = drawn((2, 3, 4), 0), drawn((2, 3, 4), 1)
    y[0, 0, 0] = math.nan
    y[1, 2, 3] = math.inf
    assert block_influence(x, y, -1).isnan().all()


def test_a_change_of_shape_has_no_influence():
    found = block_influence(torch.ones(2, 4, 8), torch.ones(2, 8, 4), 1)
    assert found.shape == (2,)
    assert found.isnan().all()


@given(seeds, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_lengths_do_not_matter(seed, first, second):
    x, y = drawn((2, 3, 5), seed), drawn((2, 3, 5), seed + 1)
    torch.testing.assert_close(
        mean_cosine_gap(first * x, second * y, -1), mean_cosine_gap(x, y, -1), rtol=0, atol=1e-14
    )


@given(seeds)
def test_the_order_of_positions_and_features_does_not_matter(seed):
    x, y = drawn((2, 3, 5), seed), drawn((2, 3, 5), seed + 1)
    generator = torch.Generator().manual_seed(seed)
    places, features = (
        torch.randperm(3, generator=generator),
        torch.randperm(5, generator=generator),
    )
    expected = mean_cosine_gap(x, y, -1)
    shuffled = mean_cosine_gap(x[:, places][..., features], y[:, places][..., features], -1)
    torch.testing.assert_close(shuffled, expected, rtol=1e-13, atol=0)
    first = mean_cosine_gap(x.movedim(-1, 1), y.movedim(-1, 1), 1)
    torch.testing.assert_close(first, expected, rtol=1e-13, atol=0)


@given(seeds)
def test_opposite_directions_add_up_to_two_and_a_sample_stands_alone(seed):
    x, y = drawn((3, 4, 5), seed), drawn((3, 4, 5), seed + 1)
    there, back = mean_cosine_gap(x, y, -1), mean_cosine_gap(x, -y, -1)
    torch.testing.assert_close(there + back, torch.full_like(there, 2), rtol=1e-14, atol=0)
    assert torch.equal(mean_cosine_gap(y, x, -1), there)
    torch.testing.assert_close(mean_cosine_gap(x[1:2], y[1:2], -1), there[1:2], rtol=1e-14, atol=0)


def test_the_family_gives_every_block_of_every_sample():
    states = [drawn((4, 3, 5), seed) for seed in range(3)]
    states.append(drawn((4, 2, 5), 3))  # the last block changes the shape
    whole = GivenPass(states, axis=-1)
    measurement = Influence(None, whole.blocks, ("a",))
    for block in whole.blocks:
        measurement.see_output(block, whole.input(block), whole.block_output(block))
    found = measurement.rows(whole, torch.zeros(4, dtype=torch.long))["block_influence"]
    assert found.shape == (4, 3)
    for block in range(2):
        torch.testing.assert_close(found[:, block], naive(states[block], states[block + 1], -1))
    assert found[:, 2].isnan().all()
    assert measurement.totals() == {}


def test_it_is_measured_by_default():
    assert BLOCK_INFLUENCE.standard
    assert BLOCK_INFLUENCE.cost == "hook"
    assert Influence.sees_outputs
    assert not any((Influence.sees_blocks, Influence.needs_replays, Influence.needs_states))


def test_of_a_recorded_pass_it_is_that_of_the_blocks_own_inputs_and_outputs():
    model, x = Classifier(), drawn((5, 6), 3)
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = Influence(model, runner.blocks, ("a", "b", "c"))
        whole = runner.run(x, see_output=measurement.see_output, replays=False)
        found = measurement.rows(whole, torch.zeros(5, dtype=torch.long))["block_influence"]
        states = [x]
        for block in model.blocks:
            states.append(block(states[-1]))
    for block in range(4):
        expected = naive(states[block], states[block + 1], 1)
        torch.testing.assert_close(found[:, block], expected, rtol=1e-12, atol=0)


def test_after_the_blocks_own_activation_the_features_are_channels():
    model, x = trained_looking(post_activation()).eval(), drawn((2, 3, 5, 5), 0, torch.float32)
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = Influence(model, runner.blocks, tuple("abcde"))
        whole = runner.run(x, see_output=measurement.see_output, replays=False)
        found = measurement.rows(whole, torch.zeros(2, dtype=torch.long))["block_influence"]
        state = model[0](x)
        for block in range(3):
            out = model[block + 1](state)
            expected = naive(state, out, 1)
            torch.testing.assert_close(found[:, block], expected, rtol=1e-12, atol=0)
            state = out


def test_a_run_holds_it_for_every_sample_and_block(collected):
    (path,) = collected.glob("collected/*/influence.h5")
    with package.open(path) as tree:
        data = tree["influence"].to_dataset().load()
    found = data["block_influence"]
    assert found.dims == ("sample", "block")
    assert found.dtype == np.float32
    assert data.sizes["sample"] == 500
    transition = data["transition"].values.astype(bool)
    assert transition.tolist() == [False, True, True]
    assert np.isnan(found.values[:, transition]).all()
    assert (found.values[:, ~transition] > 0).all()
    assert (found.values[:, ~transition] < 2).all()


def test_an_answer_that_is_no_number_is_wrong_and_a_network_of_them_is_refused():
    from resprobe.quantities.outputs import classification, refuse_no_logits

    nan = float("nan")
    outputs = torch.tensor([[2.0, 1.0], [nan, nan], [nan, 1.0]])
    assert classification(outputs, torch.tensor([0, 0, 0]))["correct"].tolist() == [1, 0, 0]
    with pytest.raises(InputError, match=r"NaN.* for 2 of 3 samples"):
        refuse_no_logits(outputs, 3, 2)
