"""BatchNorm on statistics estimated anew, against torch's own loop in training mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from staged import CLASSES, images, runner_of, slow_statistics, staged
from torch import nn

from resprobe.blocks.batch_norm import BatchStatistics, GivenStatistics
from resprobe.errors import InputError
from resprobe.quantities import lesion_multi, lesion_shuffle, reestimated
from resprobe.quantities.lesion import Lesion
from resprobe.quantities.norms_reestimated import NormsReestimated
from resprobe.quantities.outputs import classification
from resprobe.quantities.trials import Trials

COUNT = 30
LABELS = torch.arange(COUNT) % len(CLASSES)
BATCHES = [images(7, seed=seed) for seed in (1, 2, 3)]
TRIALS = Trials(levels=4, count=4, transitions=True)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def slow_output(net, *, dropped=(), order=range(6)):
    """Put torch's statistics of the changed network in place, run it, and put all back."""
    net.dropped, net.order = tuple(dropped), tuple(order)
    saved = {name: value.clone() for name, value in net.state_dict().items()}
    try:
        for name, (mean, variance) in slow_statistics(net, BATCHES).items():
            module = net.get_submodule(name)
            module.running_mean.copy_(mean)
            module.running_var.copy_(variance)
        with torch.no_grad():
            return net(images(COUNT))
    finally:
        net.load_state_dict(saved)
        net.dropped, net.order = (), tuple(range(6))


def measured(family, net, trials=TRIALS):
    runner = runner_of(net)
    runner.find_samples()
    measurement = family(net, runner.blocks, CLASSES, trials)
    with torch.no_grad():
        measurement.reestimate(
            lambda batch=batch: runner.run(batch, functions=True) for batch in BATCHES
        )
        with measurement.running():
            whole = runner.run(images(COUNT), functions=True)
        return measurement, measurement.rows(whole, LABELS)


def loss(output):
    return classification(output, LABELS)["test_loss"]


def test_without_an_intervention_they_are_torchs_cumulative_averages():
    net = staged()
    with torch.no_grad(), BatchStatistics() as statistics:
        for batch in BATCHES:
            net(batch)
    found = statistics.average()
    expected = slow_statistics(net, BATCHES)
    assert len(found) == len(expected) == 12
    for name, (mean, variance) in expected.items():
        own = found[net.get_submodule(name).running_mean.data_ptr()]
        close(own.mean, mean)
        close(own.variance, variance)


def test_one_batch_gives_its_plain_mean_and_unbiased_variance():
    norm = nn.BatchNorm2d(3).double().eval()
    x = images(11)
    with torch.no_grad(), BatchStatistics() as statistics:
        y = norm(x)
    (own,) = statistics.average().values()
    flat = x.transpose(0, 1).reshape(3, -1)
    close(own.mean, flat.mean(1))
    close(own.variance, flat.var(1, unbiased=True))
    whitened = y.transpose(0, 1).reshape(3, -1)  # normalised by the batch itself, as in training
    close(whitened.mean(1), torch.zeros(3, dtype=torch.float64))
    with torch.no_grad(), GivenStatistics(statistics.average()):
        again = norm(x)
    expected = (flat - own.mean[:, None]) / (own.variance + norm.eps).sqrt()[:, None]
    close(again.transpose(0, 1).reshape(3, -1), expected)


def test_single_lesions_and_the_whole_network():
    net = staged()
    _, rows = measured(reestimated.LESION, net)
    close(rows["reestimated_test_loss"], loss(slow_output(net)))
    for block in range(6):
        close(rows["reestimated_lesion_loss"][:, block], loss(slow_output(net, dropped=[block])))
    with torch.no_grad():
        plain = Lesion(net, runner_of(net).blocks, CLASSES).rows(
            runner_of(net).run(images(COUNT)), LABELS
        )
    assert not torch.allclose(rows["reestimated_lesion_loss"], plain["lesion_loss"], atol=1e-3)


def test_several_blocks_dropped():
    net = staged()
    measurement, rows = measured(lesion_multi.REESTIMATED, net)
    dropped = measurement.drawn["multi_lesion_dropped"]
    for level, trial in np.argwhere(dropped[:, :, 0] != -1):
        indices = np.flatnonzero(dropped[level, trial] == 1)
        found = rows["reestimated_multi_lesion_loss"][:, level, trial]
        close(found, loss(slow_output(net, dropped=indices)))


def test_blocks_in_another_order():
    net = staged()
    measurement, rows = measured(lesion_shuffle.REESTIMATED, net)
    orders = measurement.drawn["shuffle_order"]
    for level, trial in np.argwhere(orders[:, :, 0] != -1):
        found = rows["reestimated_shuffle_loss"][:, level, trial]
        close(found, loss(slow_output(net, order=map(int, orders[level, trial]))))


def test_the_network_is_left_as_it_was_to_the_bit_also_after_an_exception():
    net = staged()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    measured(lesion_multi.REESTIMATED, net)

    def broken():
        raise RuntimeError("in the middle")

    measurement = reestimated.LESION(net, runner_of(net).blocks, CLASSES)
    runner = runner_of(net)
    with torch.no_grad(), pytest.raises(RuntimeError, match="in the middle"):
        measurement.reestimate([lambda: runner.run(BATCHES[0]), broken])
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert modes == [module.training for module in net.modules()]
    with torch.no_grad():
        first = net(images(COUNT))
        assert torch.equal(first, net(images(COUNT)))  # no mode is left on


def test_every_number_says_how_batch_norm_ran():
    net = staged()
    group = lesion_multi.REESTIMATED(net, runner_of(net).blocks, CLASSES).group()
    assert "batch_norm_mode" in group.variable("reestimated_multi_lesion_loss").attributes
    assert "batch_norm_mode" in group.variable("reestimated_test_error").attributes
    assert "batch_norm_mode" not in group.variable("multi_lesion_dropped").attributes


def test_only_running_statistics_count():
    assert runner_of(staged()).has_batch_norm
    net = staged()
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            owner = net.get_submodule(name.rpartition(".")[0])
            kept = nn.BatchNorm2d(module.num_features, track_running_stats=False).double()
            setattr(owner, name.rpartition(".")[2], kept)
    assert not runner_of(net.eval()).has_batch_norm


def test_a_channel_of_one_value_has_no_variance():
    norm = nn.BatchNorm2d(3).eval()
    refused = pytest.raises(InputError, match="give more --training-samples")
    with torch.no_grad(), refused, BatchStatistics():
        norm(torch.randn(1, 3, 1, 1))


def test_the_norms_of_the_whole_network():
    net = staged()
    runner = runner_of(net)
    runner.find_samples()
    measurement = NormsReestimated(net, runner.blocks, CLASSES)
    with torch.no_grad():
        measurement.reestimate(
            lambda batch=batch: runner.run(batch, see=measurement.see, replays=False)
            for batch in BATCHES
        )
        with measurement.running():
            whole = runner.run(images(COUNT), see=measurement.see, replays=False)
        found = measurement.rows(whole, LABELS)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        for name, (mean, variance) in slow_statistics(net, BATCHES).items():
            net.get_submodule(name).running_mean.copy_(mean)
            net.get_submodule(name).running_var.copy_(variance)
        expected = runner.run(images(COUNT), branches=True, replays=False)
        tensors = [expected.tensors(block) for block in runner.blocks]
        net.load_state_dict(before)
    for column, (x, _, branch) in enumerate(tensors):
        close(found["reestimated_input_norm"][:, column], x.flatten(1).norm(dim=1))
        close(found["reestimated_branch_norm"][:, column], branch.flatten(1).norm(dim=1))
