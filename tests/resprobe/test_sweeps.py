"""Several blocks dropped at once and blocks in another order, against the running model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import LinearBlock
from spanned import Classifier
from staged import CLASSES, images, runner_of, staged
from torch import nn

from resprobe.blocks.chains import chains
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError
from resprobe.quantities.lesion import Lesion
from resprobe.quantities.lesion_multi import MULTI, dropped_sets
from resprobe.quantities.lesion_shuffle import SHUFFLE, moved, shuffle_levels, shuffle_sweep
from resprobe.quantities.outputs import classification
from resprobe.quantities.trials import Trials

COUNT = 40
LABELS = torch.arange(COUNT) % len(CLASSES)
ALL = Trials(levels=6, count=30, transitions=True)


@pytest.fixture(scope="module")
def net():
    return staged()


@pytest.fixture(scope="module")
def whole(net):
    with torch.no_grad():
        return runner_of(net).run((images(COUNT),), functions=True)


def measured(family, net, whole, trials):
    with torch.no_grad():
        measurement = family(net, whole.blocks, CLASSES, trials)
        rows = measurement.rows(whole, LABELS)
    return measurement, rows


def naive(net, *, dropped=(), order=range(6)):
    net.dropped, net.order = tuple(dropped), tuple(order)
    try:
        with torch.no_grad():
            return net(images(COUNT))
    finally:
        net.dropped, net.order = (), tuple(range(6))


def test_sets_of_one_are_the_single_lesions_to_the_bit(net, whole):
    measurement, rows = measured(MULTI, net, whole, ALL)
    with torch.no_grad():
        single = Lesion(net, whole.blocks, CLASSES).rows(whole, LABELS)
    dropped = measurement.drawn["multi_lesion_dropped"][0]
    for trial in range(6):
        (block,) = np.flatnonzero(dropped[trial] == 1)
        for name in ("loss", "correct"):
            one = rows[f"multi_lesion_{name}"][:, 0, trial]
            assert torch.equal(one, single[f"lesion_{name}"][:, block])


def test_all_blocks_at_once_are_the_longest_span_to_the_bit(net, whole):
    _, rows = measured(MULTI, net, whole, ALL)
    with torch.no_grad():
        span = classification(whole.lesion_span(0, 5), LABELS)
    assert torch.equal(rows["multi_lesion_loss"][:, 5, 0], span["test_loss"])
    assert (rows["multi_lesion_correct"][:, 5, 1:] == -1).all()  # there is one such set only
    assert rows["multi_lesion_loss"][:, 5, 1:].isnan().all()


def test_every_set_is_dropped_as_in_the_running_model(net, whole):
    _, rows = measured(MULTI, net, whole, ALL)
    for level, drawn in enumerate(dropped_sets(whole.blocks, ALL)):
        for trial, indices in enumerate(drawn):
            expected = classification(naive(net, dropped=indices), LABELS)
            assert torch.equal(rows["multi_lesion_loss"][:, level, trial], expected["test_loss"])


def test_blocks_that_change_the_shape_stay_unless_asked_for(whole):
    sets = dropped_sets(whole.blocks, Trials(levels=99, count=50))
    assert len(sets) == 5
    assert 3 not in {index for drawn in sets for indices in drawn for index in indices}


def test_larger_numbers_keep_the_draws_of_smaller_ones(whole):
    few, many = (dropped_sets(whole.blocks, replace(ALL, levels=n, count=n)) for n in (2, 5))
    assert [drawn[:2] for drawn in many[:2]] == few
    assert dropped_sets(whole.blocks, replace(ALL, seed=1))[1] != dropped_sets(whole.blocks, ALL)[1]
    small, large = (
        shuffle_sweep(whole.blocks, Trials(levels=n, count=c)).constants["shuffle_order"]
        for n, c in ((1, 2), (4, 3))
    )
    assert np.array_equal(large[: len(small), :2], small)


def test_a_net_of_transitions_only_says_what_to_do():
    net = nn.Sequential(staged().stem.float(), staged().blocks[3].float(), nn.Flatten()).eval()
    blocks = Runner(net, images(2).float()).blocks
    with pytest.raises(InputError, match="give --drop-transitions"):
        dropped_sets(blocks, Trials())
    with pytest.raises(InputError, match=r"no two neighbouring blocks .* lesion-shuffle can't"):
        shuffle_levels(blocks, 1)


def test_chains_are_the_runs_of_equal_shape(whole):
    assert chains(whole.blocks) == [[0, 1, 2], [4, 5]]


def test_a_block_whose_input_is_read_further_on_keeps_its_place():
    class Skipping(Classifier):
        def forward(self, x):
            x = early = self.blocks[0](x)
            for block in list(self.blocks)[1:]:
                x = block(x)
            return self.head(torch.cat([x, early], 1)[:, :6])

    with torch.no_grad():
        assert chains(Runner(Classifier().eval(), torch.randn(3, 6).double()).blocks) == [
            [0, 1, 2, 3]
        ]
        skipping = Runner(Skipping().eval(), torch.randn(3, 6).double()).blocks
    assert chains(skipping) == [[1, 2, 3]]


def test_the_order_of_the_network_changes_nothing_to_the_bit(whole):
    blocks = list(whole.blocks)
    with torch.no_grad():
        assert torch.equal(whole.reorder(blocks[:3], blocks[4:]), whole.output)
        assert torch.equal(whole.reorder(blocks[4:]), whole.output)


def test_every_order_is_that_of_a_model_with_its_modules_exchanged(net, whole):
    measurement, rows = measured(SHUFFLE, net, whole, Trials(levels=4, count=30))
    said = measurement.drawn
    orders = said["shuffle_order"]
    seen = set()
    for level, trial in np.argwhere(orders[:, :, 0] != -1):
        order = tuple(map(int, orders[level, trial]))
        expected = classification(naive(net, order=order), LABELS)
        assert torch.equal(rows["shuffle_loss"][:, level, trial], expected["test_loss"])
        seen.add(order)
    assert len(seen) == 11  # 3! · 2! orders but the first
    assert all(len(o) == 2 for o in moved((1, 0, 2, 3, 5, 4), [[0, 1, 2], [4, 5]]))


class Reading(nn.Module):
    """A block that also reads what the stage before it made."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(10, 4)

    def forward(self, x, early):
        return x + self.linear(torch.cat([x, early], 1))


class Reaching(nn.Module):
    """Two stages; the second, and the head, read the first one's end as well."""

    def __init__(self):
        super().__init__()
        self.first = nn.ModuleList(LinearBlock(6, 0.5) for _ in range(2))
        self.narrow, self.head = nn.Linear(6, 4), nn.Linear(10, 3)
        self.second = nn.ModuleList(Reading() for _ in range(2))
        self.orders = ((0, 1), (0, 1))

    def forward(self, x):
        for place in self.orders[0]:
            x = self.first[place](x)
        z = self.narrow(x)
        for place in self.orders[1]:
            z = self.second[place](z, x)
        return self.head(torch.cat([z, x], 1))


def test_what_an_order_changes_reaches_all_that_reads_it():
    torch.manual_seed(0)
    net = Reaching().double().eval()
    x = torch.randn(5, 6, dtype=torch.float64)
    with torch.no_grad():
        runner = Runner(net, x)
        whole = runner.run(x, functions=True)
        assert chains(whole.blocks) == [[0, 1], [2, 3]]
        a, b, c, d = whole.blocks
        found = [whole.reorder([b, a], [d, c]), whole.reorder([b, a]), whole.reorder([d, c])]
        for output, orders in zip(
            found, (((1, 0), (1, 0)), ((1, 0), (0, 1)), ((0, 1), (1, 0))), strict=True
        ):
            net.orders = orders
            assert torch.equal(output, net(x)), orders


def test_levels_are_swaps_in_all_stages_and_in_each_alone(whole):
    levels = shuffle_levels(whole.blocks, 5)
    assert [(level.swaps, level.stage) for level in levels] == [
        (swaps, stage) for swaps in (1, 2, 3, 5) for stage in (-1, 0, 1)
    ]
    sweep = shuffle_sweep(whole.blocks, Trials(levels=5))
    orders, possible = (
        sweep.constants[name] for name in ("shuffle_order", "kendall_tau_distance_possible")
    )
    for level, one in enumerate(levels):
        drawn = orders[level][orders[level, :, 0] != -1]
        inside = {place for chain in one.chains for place in chain}
        assert all(order[p] == p for order in drawn for p in range(6) if p not in inside)
    # one swap of two blocks is all that the second stage can do, and turns it round
    assert possible[2].tolist()[:1] == [1.0]
    assert np.isnan(possible[2][1:]).all()
    assert np.isnan(possible[5]).all()  # a second swap would undo it


def test_blocks_that_commute_may_stand_in_any_order():
    net = Classifier(blocks=5, classes=len(CLASSES)).eval()
    with torch.no_grad():
        for block in net.blocks:  # x + h·diag(d)·x
            block.linear.weight.copy_(torch.diag(block.linear.weight.diagonal()))
        whole = Runner(net, torch.randn(4, 6).double()).run(
            torch.randn(COUNT, 6).double(), functions=True
        )
        assert len(whole.blocks) == 5
        measurement, rows = measured(SHUFFLE, net, whole, Trials(levels=8, count=10))
        for intervention in shuffle_sweep(whole.blocks, Trials(levels=8)).interventions:
            torch.testing.assert_close(intervention(whole), whole.output, rtol=1e-12, atol=1e-12)
    measurement.add({n: t.numpy() for n, t in rows.items()} | {"label": LABELS.numpy()})
    totals = measurement.totals()
    error = totals["shuffle_error"]
    assert (error[np.isfinite(error)] == totals["test_error"]).all()
    assert np.nanmax(totals["kendall_tau_distance"]) > 0.3


def test_errors_are_counted_over_batches_and_missing_trials_are_left_out(net, whole):
    measurement, rows = measured(MULTI, net, whole, ALL)
    arrays = {name: tensor.numpy() for name, tensor in rows.items()} | {"label": LABELS.numpy()}
    for start, stop in ((0, 15), (15, COUNT)):
        measurement.add({name: values[start:stop] for name, values in arrays.items()})
    totals = measurement.totals()
    correct = arrays["multi_lesion_correct"]
    expected = np.where(correct[0] == -1, np.nan, (correct == 0).mean(axis=0))
    np.testing.assert_array_equal(totals["multi_lesion_error"], expected)
    assert totals["test_error"] == (arrays["correct"] == 0).mean()
    dropped = totals["multi_lesion_dropped"]
    assert (np.isnan(expected) == (dropped[:, :, 0] == -1)).all()
    sizes = (dropped == 1).sum(axis=2)[dropped[:, :, 0] != -1]
    levels = np.broadcast_to(np.arange(1, 7)[:, None], dropped.shape[:2])
    assert (sizes == levels[dropped[:, :, 0] != -1]).all()


def test_equal_draws_are_measured_once(whole):
    sweep = shuffle_sweep(whole.blocks, Trials(levels=8, count=30))
    assert len(sweep.interventions) == 11 < (sweep.place >= 0).sum()
