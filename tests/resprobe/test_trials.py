"""What is drawn at random: sets, orders, and how far an order is from the first one."""

from __future__ import annotations

import math
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from resprobe.errors import InputError
from resprobe.quantities.trials import (
    Trials,
    direction,
    discordant,
    random_orders,
    random_sets,
)


def rng(*seed):
    return np.random.default_rng(seed)


@given(st.integers(1, 9), st.data())
@settings(max_examples=60)
def test_sets_are_different_and_a_larger_count_keeps_the_first(size, data):
    items = data.draw(st.lists(st.integers(0, 50), min_size=size, max_size=12, unique=True))
    few, many = (random_sets(items, size, count, rng(3)) for count in (2, 20))
    assert many[: len(few)] == few
    assert len(set(many)) == len(many) == min(20, math.comb(len(items), size))
    for drawn in many:
        assert list(drawn) == sorted(set(drawn))
        assert len(drawn) == size
        assert set(drawn) <= set(items)


def test_every_set_is_drawn_where_there_are_few_and_none_is_preferred():
    assert set(random_sets(range(4), 2, 99, rng(0))) == set(combinations(range(4), 2))
    first = [random_sets(range(5), 2, 1, rng(seed))[0] for seed in range(2000)]
    counts = [first.count(one) for one in combinations(range(5), 2)]
    assert min(counts) > 140  # 200 each, standard deviation 13
    assert sum(counts) == 2000


def test_all_orders_but_the_first_are_found_in_a_small_chain():
    found = random_orders(5, [[1, 2, 3]], 2, 99, rng(0))
    even = {(0, 2, 3, 1, 4), (0, 3, 1, 2, 4)}  # two swaps make even orders; the whole is left out
    assert set(found) == even
    odd = set(random_orders(5, [[1, 2, 3]], 1, 99, rng(0)))
    inside = {(0, *order, 4) for order in permutations((1, 2, 3))}
    assert odd == inside - even - {(0, 1, 2, 3, 4)}
    assert random_orders(3, [[0, 1]], 2, 99, rng(0)) == []  # two swaps of two undo each other


@given(st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=40)
def test_orders_stay_within_their_chains_and_are_nested(swaps, seed):
    chains = [[0, 1, 2, 3], [5, 6, 7]]
    few, many = (random_orders(8, chains, swaps, count, rng(seed)) for count in (3, 9))
    assert many[: len(few)] == few
    for order in many:
        assert order[4] == 4
        assert {*order[:4]} == {0, 1, 2, 3}
        assert order != tuple(range(8))


def test_the_distance_of_known_orders():
    assert discordant(range(6)) == 0
    assert discordant((5, 4, 3, 2, 1, 0)) == 15
    assert discordant((1, 0, 2, 3)) == 1
    assert discordant((3, 1, 2, 0)) == 5  # the ends exchanged: 2(n - 2) + 1


@given(st.permutations(range(9)))
@settings(max_examples=60)
def test_one_minus_twice_the_share_is_kendalls_tau(order):
    share = discordant(order) / math.comb(9, 2)
    assert 1 - 2 * share == pytest.approx(kendalltau(range(9), order).statistic, abs=1e-12)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"levels": 0}, "--levels 0: give a number from 1 to 1000"),
        ({"count": 10**9}, "--trials 1000000000: give a number from 1 to 1000"),
        ({"seed": -1}, "--trial-seed -1"),
        ({"training_samples": 1}, "--training-samples 1: give 2 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(given_, words):
    with pytest.raises(InputError, match=words):
        Trials(**given_)


def test_what_decides_lesions_is_as_files_of_before_there_was_noise_have_it():
    """A key more would make every file that is there one of other settings."""
    drawn = {"levels": 10, "count": 10, "seed": 0, "transitions": False}
    assert Trials(noise_levels=(0.5,), training_samples=50).of_draws() == drawn
    assert Trials(levels=3, transitions=True).of_noise() == Trials().of_noise()


@given(st.lists(st.integers(1, 5), max_size=4), st.integers(0, 2**40), st.integers(0, 99))
@settings(max_examples=40)
def test_directions_have_norm_one_and_follow_from_their_key(shape, seed, number):
    drawn = direction(shape, "input-noise", seed, number)
    assert drawn.shape == tuple(shape)
    assert np.linalg.norm(drawn) == pytest.approx(1, abs=1e-14)
    assert (drawn == direction(shape, "input-noise", seed, number)).all()


def test_directions_are_gaussian_and_those_of_different_keys_independent():
    drawn = np.stack([direction((50, 40), "input-noise", 3, key).ravel() for key in range(20)])
    cosines = (drawn @ drawn.T)[np.triu_indices(20, 1)]
    assert np.abs(cosines).max() < 4.5 / math.sqrt(2000)  # of 190, standard deviation 1/√2000
    kurtosis = 2000 * (drawn**4).sum(axis=1).mean()
    assert kurtosis == pytest.approx(3, abs=0.15)  # 4 standard errors √(24/40000), and the norm's


def test_directions_of_weight_noise_are_as_recorded_runs_have_them():
    drawn = np.random.default_rng([7, 3, 5]).standard_normal((2, 3))
    unit = drawn / np.linalg.norm(drawn)
    assert direction((2, 3), "weight-noise", 7, 3, 5).tolist() == unit.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**70])
def test_no_two_families_have_a_direction_in_common(seed):
    """Of every key of small numbers: zeros at the end of a key count."""
    lengths = {"weight-noise": 2, "input-noise": 2, "interlayer-smoothness": 3}
    drawn = [
        tuple(direction((2,), family, seed, *key))
        for family, length in lengths.items()
        for key in product(range(4), repeat=length)
    ]
    assert len(set(drawn)) == len(drawn) == 16 + 16 + 64
