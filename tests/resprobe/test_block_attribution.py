"""The family `attribution`: its batches, what it refuses, and what a collection writes."""

from __future__ import annotations

import json
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import linear_stack, post_activation, trained_looking
from tapped import images, tapped
from torch import nn

import resprobe as package
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError
from resprobe.quantities import attribution as family
from resprobe.quantities.attribution import BlockAttribution
from resprobe.quantities.attribution_methods import (
    gradient_x_activation,
    integrated_gradients,
    layer_conductance,
)

NAMES = tuple(str(number) for number in range(6))


@settings(max_examples=8)
@given(st.integers(1, 3), st.integers(0, 100))
def test_a_sample_has_the_same_attribution_in_every_batch(cut, seed):
    model = trained_looking(post_activation(blocks=2)).double().eval()
    x, target = images(4, seed), torch.tensor([0, 1, 4, 4])
    with torch.no_grad(), mock.patch.object(family, "CONDUCTANCE_STEPS", 3):
        runner = Runner(model, x)
        measurement = BlockAttribution(model, runner.blocks, NAMES)

        def rows(start, stop):
            whole = runner.run(x[start:stop], taps=True, replays=False)
            return measurement.rows(whole, target[start:stop])

        together, apart = rows(0, 4), [rows(0, cut), rows(cut, 4)]
    for name, values in together.items():
        assert values.dtype == torch.float32
        cat = torch.cat([one[name] for one in apart])
        torch.testing.assert_close(cat, values, rtol=1e-6, atol=1e-7, equal_nan=True)


# -- what is refused ------------------------------------------------------------------------------


class Units(nn.Sequential):
    plain_units = ("0", "1")


def test_a_plain_network_is_refused():
    model = Units(*[nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(2)]).eval()
    x = torch.ones(2, 6)
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = BlockAttribution(model, runner.blocks, NAMES)
        with pytest.raises(InputError, match="the network is a plain one"):
            measurement.try_on(runner.run(x, taps=True))


def test_what_draws_random_numbers_is_refused():
    model = nn.Sequential(*linear_stack(), nn.Dropout(0.5)).train()
    x = torch.ones((2, 6), dtype=torch.float64)
    with torch.no_grad():
        runner = Runner(model, x)
        with pytest.raises(InputError, match="draws random numbers"):
            BlockAttribution(model, runner.blocks, NAMES).try_on(runner.run(x, taps=True))


class TwoHeads(nn.Module):
    """Gives what blocks made, and what they had no part in."""

    def __init__(self):
        super().__init__()
        self.blocks, self.head = linear_stack(), nn.Linear(6, 6).double()

    def forward(self, x):
        return {"deep": self.blocks(x), "shallow": self.head(x)}


def test_logits_that_no_branch_leads_to_are_refused():
    x = torch.ones((2, 6), dtype=torch.float64)
    with pytest.raises(InputError, match="depend on no branch"):
        tapped(TwoHeads(), x, select=lambda output: output["shallow"])
    assert len(tapped(TwoHeads(), x, select=lambda output: output["deep"])[1].taps) == 4


def test_several_outputs_without_a_choice_are_refused():
    with pytest.raises(InputError, match="give Runner a `select`"):
        tapped(TwoHeads(), torch.ones((2, 6), dtype=torch.float64))


class Ids(nn.Module):
    """A residual network on token ids with a mask."""

    def __init__(self):
        super().__init__()
        self.embedding, self.linear = nn.Embedding(9, 6), nn.Linear(6, 6)

    def forward(self, ids, mask):
        x = self.embedding(ids)
        x = x + torch.tanh(self.linear(x))
        return (x * mask[..., None]).sum(1)


def test_token_ids_have_no_path_but_the_other_methods():
    torch.manual_seed(0)
    model, ids = Ids().eval(), torch.arange(6).reshape(2, 3)
    mask = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    target = torch.tensor([5, 0])
    with torch.no_grad():
        runner = Runner(model, (ids, mask))
        measurement = BlockAttribution(model, runner.blocks, NAMES)
        measurement.take_input(ids=runner.takes_ids)
        whole = runner.run((ids, mask), taps=True)
        measurement.try_on(whole)
        rows = measurement.rows(whole, target)
        x = model.embedding(ids)
        branch = (torch.tanh(model.linear(x)) * mask[..., None]).sum(1)
    found = rows["block_attribution"]
    assert found[:, :, 0].isnan().all()
    expected = branch.gather(1, target[:, None])
    torch.testing.assert_close(found[:, :, 1], expected)  # the head is linear
    torch.testing.assert_close(found[:, :, 2], expected)
    assert rows["attribution_delta"][:, [0, 2]].isnan().all()
    attributes = measurement.group().variable("block_attribution").attributes
    assert "token ids" in attributes["not_measured"]
    assert "conductance_steps" not in attributes


# -- collected -------------------------------------------------------------------------------------


def test_collected_numbers_are_those_of_the_standardised_images(run, resprobe, monkeypatch):
    """From the files alone; an interrupted collection goes on to the same bits."""
    from resprobe.source import from_run
    from resprobe.store.writer import Writer

    monkeypatch.setattr(family, "CONDUCTANCE_STEPS", 4)
    monkeypatch.setattr(family, "GRADIENT_STEPS", 4)
    monkeypatch.setattr(BlockAttribution, "samples_at_once", 2)
    words = ("--quantity", "block_attribution", "--sample-indices", "7,3,400", "--quiet", "--json")
    append, calls = Writer.append, []

    def append_once(self, group, rows):
        if calls:
            raise KeyboardInterrupt
        calls.append(len(rows["sample"]))
        append(self, group, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "append", append_once)
        assert resprobe("collect", run, *words).exit_code != 0
    assert calls == [2]
    done = resprobe("collect", run, *words)
    assert done.exit_code == 0, done.output
    path = json.loads(done.stdout)["collected"][0]["path"]
    with monkeypatch.context() as patch:
        patch.setattr(family, "CONDUCTANCE_STEPS", 5)
        other = resprobe("collect", run, *words)
    assert other.exit_code == 2
    assert "was measured with other settings" in other.stderr
    with package.open(path) as tree:
        found = tree["attribution"].to_dataset().load()
    assert found["sample"].values.tolist() == [3, 7, 400]
    assert found["method"].values.tolist() == list(family.METHODS)
    assert found["block_attribution"].dims == ("sample", "block", "method")
    assert found["block_attribution"].attrs["conductance_steps"] == 4
    assert found["attribution_delta"].dims == ("sample", "method")

    source, _ = from_run(run, "last")
    images = source.images.images[[3, 7, 400]]
    mean, std = (np.array(one)[:, None, None] for one in (source.mean, source.std))
    x = torch.from_numpy((images / (255.0 if images.dtype == np.uint8 else 1.0) - mean) / std)
    model, target = source.model.double(), torch.from_numpy(found["label"].values)
    whole, taps = tapped(model, x)
    logit = whole.output.gather(1, target[:, None])[:, 0]
    # the run is float32: its network rounds at some ten layers
    np.testing.assert_allclose(found["target_logit"], logit, rtol=0, atol=1e-6)
    for number, expected in enumerate(
        (
            layer_conductance(taps, target, steps=4),
            integrated_gradients(taps, target, steps=4),
            gradient_x_activation(taps, target),
        )
    ):
        own = found["block_attribution"].values[:, :, number]
        largest = float(expected.blocks.abs().max())
        np.testing.assert_allclose(own, expected.blocks, rtol=0, atol=1e-4 * largest)
