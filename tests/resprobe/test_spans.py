"""Contiguous spans of blocks: how far they turn what goes in, and what their lesion costs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spanned import Classifier, GivenPass, drawn, naive_mean, turned

from resprobe.collect import chosen_families
from resprobe.linalg import angles
from resprobe.linalg.angles import mean_angles
from resprobe.quantities.angular_distance import AngularDistance, angular_distances
from resprobe.quantities.lesion import Lesion
from resprobe.quantities.lesion_span import LesionSpan
from resprobe.quantities.quantity import all_quantities, of_family
from resprobe.quantities.spans import inside, spans

SHAPES = [((3, 7), 1), ((3, 5, 7), -1), ((3, 5, 7), 1), ((2, 6, 3, 4), 1)]


def naive(x, y, axis):
    return naive_mean(x, y, axis, lambda c: math.acos(c) / math.pi)


def distances(states, axis):
    return angular_distances(states[:-1], states[1:], [axis] * (len(states) - 1))


def test_every_span_is_listed_once_and_ends_in_the_network():
    listed = list(spans(4))
    assert len(listed) == len(set(listed)) == 4 * 5 // 2
    assert listed[:5] == [(0, 0), (1, 1), (2, 2), (3, 3), (0, 1)]
    cells = {(first, last - first) for first, last in listed}
    assert cells == {(int(a), int(b)) for a, b in np.argwhere(inside(4))}


# ---- angular distance


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_a_distance_is_the_mean_angle_over_positions(shape, axis, dtype):
    states = [drawn(shape, seed, dtype) for seed in range(4)]
    found, _ = distances(states, axis)
    for first, last in spans(3):
        expected = naive(states[first], states[last + 1], axis)
        torch.testing.assert_close(found[:, first, last - first], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-3, 0.1, 0.5])
def test_blocks_that_rotate_by_an_angle_are_that_far_apart(angle):
    """Rotations in one plane add: a span of n blocks turns by n times the angle."""
    x = torch.zeros(2, 3, 5, dtype=torch.float64)
    x[..., :2] = drawn((2, 3, 2), 0)
    states = [x]
    for _ in range(5):
        states.append(turned(states[-1], angle))
    found, last = distances(states, -1)
    for first, end in spans(5):
        length = end - first + 1
        expected = torch.full((2,), length * angle / math.pi, dtype=torch.float64)
        # arccos near 1 turns a rounding of 1e-16 into 1e-8
        torch.testing.assert_close(found[:, first, length - 1], expected, rtol=0, atol=1e-8)
        torch.testing.assert_close(last[:, first, length - 1], expected, rtol=0, atol=1e-8)


def test_opposite_and_orthogonal_vectors():
    x = torch.tensor([[3.0, 0.0]])
    found, _ = distances([x, -x, x.flip(1)], 1)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([1.0, 0.5], dtype=torch.float64))
    torch.testing.assert_close(found[0, 0, 1], torch.tensor(0.5, dtype=torch.float64))


def test_the_last_token_stands_alone_for_positions_with_features_last():
    states = [drawn((2, 4, 5), seed) for seed in range(3)]
    found, last = distances(states, -1)
    torch.testing.assert_close(last[:, 0, 1], naive(states[0][:, -1:], states[2][:, -1:], -1))
    assert not torch.allclose(last[:, 0, 1], found[:, 0, 1])
    for shape, axis in (((2, 4, 5), 1), ((2, 5), 1), ((2, 5, 3, 3), 1)):
        _, last = distances([drawn(shape, seed) for seed in range(3)], axis)
        assert last.isnan().all()


def test_spans_past_the_end_or_across_shapes_have_no_distance():
    states = [drawn((2, 4, 3), seed) for seed in range(3)]
    states += [drawn((2, 6, 3), seed) for seed in range(2)]  # block 2 changes the shape
    found, _ = distances(states, -1)
    known = {(0, 0), (0, 1), (1, 0), (3, 0)}
    for first in range(4):
        for length in range(4):
            assert bool(found[:, first, length].isfinite().all()) == ((first, length) in known)


def test_a_shape_that_comes_back_is_compared_again():
    states = [drawn((2, 4), 0), drawn((2, 6), 1), drawn((2, 4), 2)]
    found, _ = distances(states, 1)
    torch.testing.assert_close(found[:, 0, 1], naive(states[0], states[2], 1))
    assert found[:, 0, 0].isnan().all()
    assert found[:, 1].isnan().all()


def test_an_output_need_not_be_the_next_input():
    inputs = [drawn((2, 5), 0), drawn((2, 5), 1)]
    outputs = [drawn((2, 5), 2), drawn((2, 5), 3)]
    found, _ = angular_distances(inputs, outputs, [1, -1])
    torch.testing.assert_close(found[:, 0, 0], naive(inputs[0], outputs[0], 1))
    torch.testing.assert_close(found[:, 0, 1], naive(inputs[0], outputs[1], 1))
    torch.testing.assert_close(found[:, 1, 0], naive(inputs[1], outputs[1], 1))


def test_nearly_parallel_float32_vectors_keep_their_digits():
    x, other = drawn((4, 768), 0, torch.float32), drawn((4, 768), 1, torch.float32)
    other -= (x * other).sum(1, keepdim=True) / (x * x).sum(1, keepdim=True) * x
    other *= (x.norm(dim=1) / other.norm(dim=1)).unsqueeze(1)
    y = x + math.sqrt(2e-9) * other  # cos = 1 - 1e-9
    expected = math.sqrt(2e-9) / math.pi
    found, _ = distances([x, y], 1)
    # an error of 2e-16 in the cosine is one of 1e-7 in so small an angle; y itself is rounded to
    # float32, at random in each of 768 features: 1e-3 / √768
    torch.testing.assert_close(found[:, 0, 0], naive(x, y, 1), rtol=1e-6, atol=0)
    np.testing.assert_allclose(found[:, 0, 0].numpy(), expected, rtol=1e-3)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_it_is_a_metric_that_knows_no_lengths(seed, factor):
    x, y, z = (drawn((2, 3, 5), seed + i) for i in range(3))
    pairs = [(0, 1), (1, 0), (1, 2), (0, 2), (0, 0)]
    found = mean_angles([x, y, z], pairs, -1)
    scaled = mean_angles([factor * x, y, z], pairs, -1)
    torch.testing.assert_close(scaled[:, :4], found[:, :4], rtol=1e-9, atol=0)
    torch.testing.assert_close(found[:, 0], found[:, 1], rtol=1e-14, atol=0)
    assert (found[:, 3] <= found[:, 0] + found[:, 2] + 1e-12).all()
    assert (found[:, 4] < 1e-8).all()


@pytest.mark.parametrize("piece", [1, 20, 100])
def test_the_pieces_it_is_computed_in_do_not_matter(monkeypatch, piece):
    states = [drawn((3, 4, 2, 2), seed) for seed in range(3)]
    whole, _ = distances(states, 1)
    monkeypatch.setattr(angles, "_PIECE", piece)
    torch.testing.assert_close(distances(states, 1)[0], whole, rtol=1e-13, atol=0, equal_nan=True)


def test_zero_positions_are_left_out_of_their_pairs_only():
    x, y, z = (drawn((1, 3, 5), seed) for seed in range(3))
    y[0, 0] = 0
    found = mean_angles([x, y, z], [(0, 1), (0, 2)], -1)
    torch.testing.assert_close(found[:, 0], naive(x[:, 1:], y[:, 1:], -1))
    torch.testing.assert_close(found[:, 1], naive(x, z, -1))


def measured(rows_of_batches, blocks=3):
    measurement = AngularDistance(None, [None] * blocks, ("a",))
    for rows in rows_of_batches:
        measurement.add(rows)
    return measurement.totals()


def rows_of(states, axis=1):
    whole = GivenPass(states, axis)
    measurement = AngularDistance(None, whole.blocks, ("a",))
    rows = measurement.rows(whole, torch.zeros(len(states[0]), dtype=torch.long))
    return {name: tensor.numpy() for name, tensor in rows.items()}


def test_mean_and_standard_error_are_those_of_the_stored_rows():
    rows = rows_of([drawn((40, 5), seed) for seed in range(4)])
    assert rows["angular_distance"].dtype == np.float32
    totals = measured([rows])
    stored = rows["angular_distance"].astype(np.float64)
    error = stored.std(axis=0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(totals["mean_angular_distance"], stored.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(totals["mean_angular_distance_stderr"], error, rtol=1e-12)
    assert np.isnan(totals["mean_angular_distance"][~inside(3)]).all()


def test_totals_are_the_same_bits_however_the_batches_were_cut():
    rows = rows_of([drawn((40, 5), seed) for seed in range(4)])
    cuts = [[0, 40], [0, 1, 25, 40], [0, 39, 40]]
    found = []
    for cut in cuts:
        batches = [
            {name: values[start:stop] for name, values in rows.items()}
            for start, stop in itertools.pairwise(cut)
        ]
        found.append(measured(batches))
    for other in found[1:]:
        for name, values in other.items():
            assert values.tobytes() == found[0][name].tobytes()


def test_one_sample_has_no_standard_error():
    totals = measured([rows_of([drawn((1, 5), seed) for seed in range(4)])])
    assert np.isfinite(totals["mean_angular_distance"][inside(3)]).all()
    assert np.isnan(totals["mean_angular_distance_stderr"]).all()


# ---- lesions of spans


def lesioned(model, images=50):
    x = drawn((images, 6), 0)
    labels = torch.arange(images) % 3

    def span(first, last):
        return model(x, dropped=range(first, last + 1))

    with torch.no_grad():
        whole = GivenPass(output=model(x), lesion_span=span)
        measurement = LesionSpan(model, [None] * len(model.blocks), ("a", "b", "c"))
        rows = measurement.rows(whole, labels)
        expected = {
            (first, last): model(x, dropped=range(first, last + 1))
            for first, last in spans(len(model.blocks))
        }
    return measurement, rows, expected, labels


def test_every_span_is_dropped_with_its_skips_kept():
    _, rows, expected, labels = lesioned(Classifier())
    for (first, last), outputs in expected.items():
        cell = (slice(None), first, last - first)
        loss = torch.nn.functional.cross_entropy(outputs, labels, reduction="none")
        torch.testing.assert_close(rows["span_lesion_loss"][cell], loss.float(), rtol=0, atol=0)
        right = (outputs.argmax(dim=1) == labels).to(torch.int8)
        assert torch.equal(rows["span_lesion_correct"][cell], right)


def test_spans_past_the_end_are_flagged():
    _, rows, _, _ = lesioned(Classifier())
    outside = torch.from_numpy(~inside(4))
    assert (rows["span_lesion_correct"][:, outside] == -1).all()
    assert rows["span_lesion_loss"][:, outside].isnan().all()
    assert rows["span_lesion_loss"][:, ~outside].isfinite().all()


def test_errors_are_counted_over_batches_and_leave_out_the_end():
    measurement, rows, expected, labels = lesioned(Classifier())
    batch = {name: tensor.numpy() for name, tensor in rows.items()} | {"label": labels.numpy()}
    for start, stop in ((0, 20), (20, 50)):
        measurement.add({name: values[start:stop] for name, values in batch.items()})
    error = measurement.totals()["span_lesion_error"]
    assert np.isnan(error[~inside(4)]).all()
    for (first, last), outputs in expected.items():
        wrong = float((outputs.argmax(dim=1) != labels).double().mean())
        assert error[first, last - first] == pytest.approx(wrong, abs=1e-15)
    assert measurement.totals()["test_error"] == (batch["correct"] == 0).mean()


def test_the_span_families_are_measured_on_request_only():
    spanning = {"lesion-span", "angular-distance"}
    for preset in ("economy", "standard"):
        assert not spanning & set(chosen_families(preset, ()))
        assert "influence" in chosen_families(preset, ())
    assert spanning <= set(chosen_families("full", ()))
    assert set(chosen_families("standard", ("span_lesion_error",))) == {"lesion-span"}
    added = chosen_families("economy", ("+mean_angular_distance",))
    assert set(added) == {"influence", "norms", "layer-cushion", "angular-distance"}
    for family in spanning:
        assert not any(quantity.standard for quantity in of_family(family))


def test_every_family_says_what_its_totals_are_made_of():
    for quantity in all_quantities().values():
        if quantity.measured_by:
            module, _, name = quantity.measured_by.partition(":")
            measurement = getattr(__import__(module, fromlist=[name]), name)
            assert isinstance(measurement.needs_states, bool)
            assert isinstance(measurement.sees_outputs, bool)
            assert "label" not in measurement.counted
    assert Lesion.counted == ("correct", "lesion_correct")
