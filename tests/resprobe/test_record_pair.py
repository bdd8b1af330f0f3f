"""A second network beside the recorded one: rows of anybody's comparison, and what is refused."""

import h5py
import numpy as np
import pytest
import torch
from nets import post_activation

import resprobe
from resprobe import Recorder
from resprobe.errors import InputError
from resprobe.quantities.quantity import of_family
from resprobe.store.check import check

NAMES = [quantity.name for quantity in of_family("pair")]


def train(out, steps, told, **options):
    """Take steps; each figure of step k is k and a number of its own, once it is asked for."""
    torch.manual_seed(0)
    net = post_activation().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with Recorder(net, out, optimizer=optimizer, **options) as recorder:
        for step in range(1, steps + 1):

            def figures(step=step):
                told.append(step)
                return {
                    name: torch.tensor(step + place / 10, dtype=torch.float64)
                    for place, name in enumerate(NAMES)
                }

            optimizer.zero_grad()
            loss = net(torch.ones(2, 3, 8, 8)).square().mean()
            loss.backward()
            optimizer.step()
            recorder.step(loss, pair=figures if options.get("pair") else None)


def test_every_recorded_step_has_its_row_and_no_other_is_compared(tmp_path):
    told = []
    train(tmp_path / "run.h5", 150, told, pair=True, every=2)
    assert told == list(range(1, 151, 2))
    found = resprobe.open(tmp_path / "run.h5")["training/pair"].to_dataset().load()
    assert found["step"].values.tolist() == told
    for place, name in enumerate(NAMES):
        assert found[name].dtype == np.float64
        np.testing.assert_array_equal(found[name].values, np.array(told) + place / 10)
    assert found["pair_loss_distance"].attrs["units"] == "nat"
    assert not check(tmp_path / "run.h5").violations


def test_a_comparison_that_was_not_announced_or_is_missing_is_refused(tmp_path):
    torch.manual_seed(0)
    net = post_activation().train()
    for announced, given in ((True, None), (False, dict)):
        with Recorder(net, tmp_path / f"{announced}.h5", pair=announced) as recorder:
            loss = net(torch.ones(2, 3, 8, 8)).square().mean()
            with pytest.raises(InputError, match="belong together; give both or neither"):
                recorder.step(loss, pair=given)


def test_a_variable_that_is_missing_is_named(tmp_path):
    train(tmp_path / "run.h5", 2, [], pair=True)
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        del file["training/pair/pair_output_scale"]
    found = "\n".join(check(tmp_path / "run.h5").violations)
    assert "/training/pair: the variable pair_output_scale is missing" in found
