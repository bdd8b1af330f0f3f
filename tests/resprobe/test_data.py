"""Stratified draws, fingerprints and standardisation of labelled images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from resprobe.data import Images, stratified
from resprobe.errors import InputError

LABELS = nps.arrays(np.int64, st.integers(1, 120), elements=st.integers(0, 6))
SEEDS = st.integers(0, 2**32 - 1)


@given(LABELS, SEEDS, st.data())
def test_a_draw_has_the_count_asked_ascending_and_without_repeats(labels, seed, data):
    count = data.draw(st.integers(1, len(labels)))
    drawn = stratified(labels, count, seed)
    assert drawn.shape == (count,)
    assert drawn.dtype == np.int64
    assert (np.diff(drawn) > 0).all()
    assert drawn[0] >= 0
    assert drawn[-1] < len(labels)


@given(LABELS, SEEDS, st.data())
def test_a_smaller_draw_lies_within_a_larger_one(labels, seed, data):
    larger = data.draw(st.integers(1, len(labels)))
    smaller = data.draw(st.integers(1, larger))
    assert np.isin(stratified(labels, smaller, seed), stratified(labels, larger, seed)).all()


@given(LABELS, SEEDS, st.data())
def test_every_class_has_its_share_within_one_sample(labels, seed, data):
    count = data.draw(st.integers(1, len(labels)))
    drawn = labels[stratified(labels, count, seed)]
    for label in np.unique(labels):
        share = count * (labels == label).sum() / len(labels)
        assert abs((drawn == label).sum() - share) < 1 + 1e-9


@given(LABELS, SEEDS)
def test_the_whole_set_is_drawn_whole(labels, seed):
    assert np.array_equal(stratified(labels, len(labels), seed), np.arange(len(labels)))


def test_draws_follow_the_seed():
    labels = np.repeat(np.arange(10), 50)
    assert np.array_equal(stratified(labels, 100, 3), stratified(labels, 100, 3))
    assert not np.array_equal(stratified(labels, 100, 3), stratified(labels, 100, 4))


@pytest.mark.parametrize("count", [-1, 0, 11])
def test_a_count_that_the_set_does_not_have_is_refused(count):
    with pytest.raises(InputError, match=f"{count} samples asked of a set of 10"):
        stratified(np.zeros(10, np.int64), count, 0)


def images(seed=0, dtype=np.uint8, count=7):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (count, 3, 5, 4))
    pixels = pixels.astype(np.uint8) if dtype == np.uint8 else (pixels / 255).astype(np.float32)
    return Images(pixels, generator.integers(0, 3, count), ("a", "b", "c"))


def test_equal_data_have_equal_fingerprints_whatever_their_memory_order():
    first = images()
    second = Images(np.asfortranarray(first.images), first.labels.copy(), first.classes)
    assert first.fingerprint() == second.fingerprint()


def test_a_fingerprint_sees_a_pixel_a_label_the_order_the_shape_and_the_dtype():
    first = images()
    pixel, label = first.images.copy(), first.labels.copy()
    pixel[3, 1, 2, 2] ^= 1
    label[3] = (label[3] + 1) % 3
    order = np.arange(7)[::-1].copy()
    others = [
        Images(pixel, first.labels, first.classes),
        Images(first.images, label, first.classes),
        first.take(order),
        Images(first.images.reshape(7, 3, 4, 5), first.labels, first.classes),
        Images(first.images.astype(np.float32), first.labels, first.classes),
    ]
    assert len({first.fingerprint(), *(other.fingerprint() for other in others)}) == 6


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_standardisation_equals_a_float64_mean_and_deviation_by_channel(dtype):
    data = images(dtype=dtype, count=400)
    mean, std = data.standardisation()
    exact = data.images.astype(np.float64) / (255.0 if dtype == np.uint8 else 1.0)
    # 8,000 values of float64 at most differ by the order of summation
    assert np.allclose(mean, exact.mean(axis=(0, 2, 3)), rtol=1e-13, atol=0)
    assert np.allclose(std, exact.std(axis=(0, 2, 3)), rtol=1e-13, atol=0)


def test_a_constant_channel_is_left_at_its_scale():
    data = Images(np.full((4, 1, 2, 2), 51, np.uint8), np.zeros(4, np.int64), ("a",))
    assert data.standardisation() == ([pytest.approx(0.2)], [1.0])


def test_take_gives_samples_in_the_order_asked():
    data = images()
    taken = data.take(np.array([5, 1]))
    assert np.array_equal(taken.images, data.images[[5, 1]])
    assert np.array_equal(taken.labels, data.labels[[5, 1]])
    assert len(taken) == 2
