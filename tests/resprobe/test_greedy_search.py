"""The greedy search alone: it gives what trying every block on every image gives, in fewer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resprobe.data import stratified
from resprobe.quantities.greedy_search import Answers, halfway_to_chance, search
from resprobe.quantities.halves import TEST, VALIDATION, halves


class Network:
    """How sure a network is of each image, without any set of blocks: blocks interact."""

    def __init__(self, blocks, images, seed, harm=0.6):
        generator = np.random.default_rng(seed)
        self.blocks, self.images = blocks, images
        self.sure = generator.normal(2, 1, images)
        self.harm = generator.gamma(1, harm, (blocks, images))
        self.together = generator.normal(0, 0.2, (blocks, blocks, images))
        self.labels = generator.integers(0, 4, images)
        self.measured = 0

    def margin(self, dropped):
        rows = sorted(dropped)
        pairs = self.together[np.ix_(rows, rows)].sum(axis=(0, 1))
        return self.sure - self.harm[rows].sum(axis=0) + pairs

    def answers(self, dropped):
        margin = self.margin(dropped)
        return margin < 0, np.logaddexp(0, -margin)

    def measure(self, images, dropped, candidates):
        sets = [(*dropped, one) for one in candidates] or [tuple(dropped)]
        assert all(len(set(one)) == len(one) for one in sets)
        found = [self.answers(one) for one in sets]
        self.measured += len(images) * len(sets)
        return Answers(
            np.stack([wrong[images] for wrong, _ in found]),
            np.stack([loss[images] for _, loss in found]),
        )


def exhaustive(net):
    """Try every block on every image at every step."""
    limit = halfway_to_chance(net.answers(())[0].mean(), net.labels)
    dropped = ()
    while len(dropped) < net.blocks and net.answers(dropped)[0].mean() < limit:
        keys = {}
        for block in set(range(net.blocks)) - set(dropped):
            wrong, loss = net.answers((*dropped, block))
            keys[block] = (wrong.sum(), loss.mean(), block)
        dropped = (*dropped, min(keys, key=keys.get))
    return dropped


def found(net, size, dropped=()):
    told = list(search(net.measure, net.blocks, net.labels, size, dropped))
    *steps, end = told
    assert end.ended
    assert end.error == net.answers(end.dropped)[0].mean()
    for drop in range(len(dropped) + 1, len(end.dropped) + 1):
        done = [one.done for one in steps if one.drop == drop]
        assert done == sorted(done)
        assert len(set(done)) > len(done) / 2 - 1  # of two images one counts at least
        assert done.count(net.images) == 1
        assert done[-1] == net.images
    return end.dropped


@given(st.integers(1, 6), st.integers(4, 60), st.integers(1, 70), st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_search_gives_what_trying_everything_gives(blocks, images, size, seed):
    net = Network(blocks, images, seed)
    assert found(net, size) == exhaustive(net)


@given(st.integers(3, 6), st.integers(0, 10**6), st.integers(0, 6))
@settings(max_examples=10, deadline=None)
def test_a_search_goes_on_to_what_it_would_have_found(blocks, seed, after):
    net = Network(blocks, 40, seed)
    whole = found(net, 8)
    assert found(net, 8, whole[:after]) == whole


def test_blocks_that_are_missed_more_are_given_up_early():
    net = Network(8, 2000, 3)
    net.together[:], net.harm[:] = 0, 10.0
    net.harm[5] = 0.0
    steps = search(net.measure, net.blocks, net.labels, 50)
    assert next(told for told in steps if told.dropped).dropped == (5,)
    # all blocks on the least sure images, twice as many as are wrong; then the one on the rest
    unsure = 50 * -(-2 * int((net.sure < 0).sum()) // 50)
    assert net.measured == 2000 + 8 * unsure + (2000 - unsure)


def test_equal_errors_are_told_apart_by_loss_then_by_place():
    net = Network(3, 30, 0)
    net.harm[:] = np.array([0.3, 0.1, 0.1])[:, None]
    net.together[:] = 0
    net.sure[:] = 2.0
    # no drop makes any image wrong: the loss alone tells, and of two equal blocks the first goes
    assert found(net, 7) == (1, 2, 0)


def test_a_loss_that_is_no_number_is_the_worst():
    net = Network(2, 10, 0)
    net.together[:], net.sure[:] = 0, 2.0
    net.harm[:] = np.array([0.1, 0.2])[:, None]

    def measure(images, dropped, candidates):
        answers = net.measure(images, dropped, candidates)
        broken = [[0 in (*dropped, one)] for one in candidates] or [[0 in dropped]]
        return Answers(answers.wrong, np.where(broken, np.nan, answers.loss))

    *_, last = search(measure, 2, net.labels, 4)
    assert last.dropped == (1, 0)


def test_the_search_ends_halfway_to_chance():
    assert halfway_to_chance(0.1, np.array([0, 0, 1, 2])) == pytest.approx((0.1 + 0.5) / 2)
    net = Network(6, 200, 1, harm=1.0)
    order, limit = found(net, 50), halfway_to_chance(net.answers(())[0].mean(), net.labels)
    assert 1 < len(order) < 6
    assert net.answers(order)[0].mean() >= limit > net.answers(order[:-1])[0].mean()
    lost = Network(3, 50, 1)
    lost.sure[:] = -1  # no better than chance: nothing is dropped
    assert found(lost, 10) == ()


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=80),
    st.integers(0, 10**6),
    st.data(),
)
@settings(max_examples=20, deadline=None)
def test_halves_are_stratified_and_do_not_change_with_more_samples(labels, seed, data):
    labels = np.array(labels)
    few, more = (
        stratified(labels, data.draw(st.integers(1, len(labels)), label=name), 0)
        for name in ("few", "more")
    )
    few, more = sorted((few, more), key=len)
    where = dict(zip(more.tolist(), halves(labels, more).tolist(), strict=True))
    assert [where[index] for index in few.tolist()] == halves(labels, few).tolist()
    shuffled = np.random.default_rng(seed).permutation(more)
    assert halves(labels, shuffled).tolist() == [where[index] for index in shuffled.tolist()]
    any_indices = np.random.default_rng(seed).choice(len(labels), len(few), replace=False)
    half = halves(labels, any_indices)
    for label in range(5):
        own = half[labels[any_indices] == label]
        assert abs(int((own == VALIDATION).sum()) - int((own == TEST).sum())) <= 1
