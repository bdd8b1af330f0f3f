"""Interlayer smoothness of spans, against dense Jacobians in float64 and in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import linear_stack, post_activation, trained_looking
from torch import nn

import resprobe as package
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError
from resprobe.quantities.interlayer_smoothness import LEVEL, InterlayerSmoothness
from resprobe.quantities.trials import Trials

# float32 as stored
STORED = {"rtol": 3e-7, "atol": 0}


def drawn(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(model, x, *, trials=3, seed=0, batches=None, samples=None):
    """Give the smoothness of a model on samples of these indices, `(sample, block, length, …)`."""
    samples = np.arange(len(x)) if samples is None else np.array(samples)
    with torch.no_grad():
        runner = Runner(model, x)
        drawn_by = Trials(count=trials, seed=seed)
        measurement = InterlayerSmoothness(model, runner.blocks, ("a",), drawn_by)
        parts, size = [], batches or len(x)
        for start in range(0, len(x), size):
            batch = x[start : start + size]
            measurement.take_samples(samples[start : start + size])
            whole = runner.run(batch, replays=False, functions=True)
            labels = torch.zeros(len(batch), dtype=torch.int64)
            parts.append(measurement.rows(whole, labels))
            measurement.add({"label": labels.numpy()})
    return torch.cat([part["interlayer_smoothness"] for part in parts])


def unit_noise(x, seed, *key):
    drawn = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, *key)))
    values = drawn.standard_normal(tuple(x.shape))
    return values / np.linalg.norm(values)


def exact(function, x, eta):
    """Give ρ of one sample from the dense Jacobian."""
    flat = lambda one: function(one[None])[0].flatten()  # noqa: E731
    matrix = torch.func.jacrev(flat)(x).flatten(1)
    apart = flat(x + eta) - matrix @ (x + eta).flatten()
    return float((eta.norm() * flat(x).norm() / (x.norm() * apart.norm())).detach())


def require_spans(found, model, blocks, x, seed):
    """Compare every span, sample and trial with the dense Jacobian of its blocks."""
    for sample in range(len(x)):
        with torch.no_grad():
            states = [x[sample : sample + 1]]
            for part in model:
                states.append(part(states[-1]))
        for first in range(len(blocks)):
            start = states[blocks[first]][0]
            assert found[sample, first, len(blocks) - first :].isnan().all()
            for length in range(len(blocks) - first):
                span = model[blocks[first] : blocks[first + length] + 1]
                for trial in range(found.shape[-1]):
                    unit = torch.from_numpy(unit_noise(start, seed, sample, first, trial))
                    eta = LEVEL * start.norm() * unit
                    value = float(found[sample, first, length, trial])
                    assert value == pytest.approx(exact(span, start, eta), rel=3e-7)


def test_every_span_is_that_of_its_dense_jacobian():
    model, x = trained_looking(post_activation()).eval().double(), drawn((2, 3, 5, 4))
    found = measured(model, x, trials=2, seed=5)
    assert found.dtype == torch.float32
    require_spans(found, model, [1, 2, 3], x, 5)


class Over(nn.Module):
    """Two blocks with a skip over both, so that spans are more than their blocks in turn."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        y = x + torch.tanh(self.first(x))
        return y + torch.relu(self.second(y) + self.third(x))


def test_a_span_beyond_its_single_blocks_is_taken_whole():
    model, x = Over().double(), drawn((3, 4))
    found = measured(model, x, trials=1)
    if found.shape[1] != 2 or found[:, 0, 1].isnan().all():
        pytest.fail("the network is no longer one of two joined blocks")
    for sample in range(3):
        unit = torch.from_numpy(unit_noise(x[sample], 0, sample, 0, 0))
        expected = exact(model, x[sample], LEVEL * x[sample].norm() * unit)
        assert float(found[sample, 0, 1, 0]) == pytest.approx(expected, rel=3e-7)


class Affine(nn.Module):
    """x + W x + b, so that M(x + η) - J (x + η) is b."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + self.linear(x)


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_an_affine_block_has_its_noise_and_output_over_its_bias(seed):
    torch.manual_seed(seed)
    model, x = nn.Sequential(Affine(5)).double(), drawn((4, 5), seed)
    found = measured(model, x, trials=2)[:, 0, 0].double()
    with torch.no_grad():
        expected = LEVEL * model(x).norm(dim=1) / model[0].linear.bias.norm()
    torch.testing.assert_close(found, expected[:, None].expand(4, 2), rtol=1e-6, atol=0)


def test_a_linear_network_is_smooth_but_for_rounding_and_the_identity_without_end():
    model, x = linear_stack(width=6, blocks=3), drawn((4, 6))
    inside = np.add.outer(np.arange(3), np.arange(3)) < 3
    found = measured(model, x).numpy()
    # a few units of float64 in a sum of six products, three blocks on
    assert (found[:, inside] > LEVEL / 1e-14).all()
    with torch.no_grad():
        for block in model:
            block.linear.weight.zero_()
    found = measured(model, x).numpy()
    assert (found[:, inside] == math.inf).all()
    assert np.isnan(found[:, ~inside]).all()


def without_biases(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.zero_()
    return model


def test_without_biases_the_scale_does_not_matter_and_with_them_it_does():
    model, x = trained_looking(post_activation()).eval().double(), drawn((3, 3, 5, 4))
    assert not torch.allclose(measured(model, 4 * x), measured(model, x), rtol=0.1, equal_nan=True)
    without_biases(model)
    torch.testing.assert_close(
        measured(model, 4 * x), measured(model, x), rtol=1e-5, atol=0, equal_nan=True
    )


def test_a_zero_input_has_none():
    model, x = nn.Sequential(Affine(3)).double(), drawn((2, 3))
    x[1] = 0
    found = measured(model, x)
    assert found[0].isfinite().all()
    assert found[1].isnan().all()


@pytest.mark.parametrize("batches", [1, 3])
def test_the_numbers_of_a_sample_do_not_depend_on_its_batch(batches):
    model, x = trained_looking(post_activation()).eval().double(), drawn((4, 3, 5, 4))
    torch.testing.assert_close(
        measured(model, x, batches=batches), measured(model, x), **STORED, equal_nan=True
    )


def test_the_numbers_of_a_sample_do_not_depend_on_which_others_are_collected():
    model, x = trained_looking(post_activation()).eval().double(), drawn((6, 3, 5, 4))
    every, some = measured(model, x), [1, 4, 5]
    torch.testing.assert_close(
        measured(model, x[some], samples=some), every[some], **STORED, equal_nan=True
    )


def test_more_trials_keep_those_of_fewer_and_another_seed_keeps_none():
    model, x = trained_looking(post_activation(blocks=1)).eval().double(), drawn((2, 3, 5, 4))
    more, fewer = measured(model, x, trials=4), measured(model, x, trials=2)
    assert torch.equal(more[..., :2], fewer)
    assert (measured(model, x, trials=2, seed=1) != fewer).all()
    assert len(more[0, 0, 0].unique()) == 4


class Mixed(Affine):
    """Adds a function of all samples together."""

    def forward(self, x):
        return x + self.linear(x - x.mean(0, keepdim=True))


def test_a_block_that_mixes_samples_is_refused():
    model, x = nn.Sequential(Mixed(4), nn.Linear(4, 2)).double(), drawn((2, 4))
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = InterlayerSmoothness(model, runner.blocks, ("a",))
        with pytest.raises(InputError, match="mixes the samples"):
            measurement.try_on(runner.run(x, replays=False, functions=True))


def test_a_run_holds_it_by_trials_and_says_how_large_the_noise_is(run, resprobe):
    asked = ("--quantity", "interlayer_smoothness", "--samples", "3", "--trials", "2", "--quiet")
    done = resprobe("collect", run, *asked)
    assert done.exit_code == 0, done.output
    (path,) = run.glob("collected/*/interlayer-smoothness.h5")
    with package.open(path) as tree:
        data = tree["interlayer-smoothness"].to_dataset().load()
    values = data["interlayer_smoothness"]
    assert values.dims == ("sample", "block", "length", "trial")
    assert (values.shape[0], values.shape[3]) == (3, 2)
    assert values.attrs["noise_level"] == LEVEL
    assert values.attrs["batch_norm_mode"] == "eval"
    assert (values.values[:, 0, 0] > 0).all()
    other = resprobe("collect", run, *asked, "--trial-seed", "1")
    assert other.exit_code == 2
    assert "other settings" in other.stderr
    assert resprobe("collect", run, *asked, "--levels", "4").exit_code == 0  # of lesions
    assert resprobe("check", run).exit_code == 0


def test_a_collected_image_has_the_same_noise_whatever_else_is_collected(run, resprobe):
    found = []
    for indices in ("3,7,400", "400"):
        asked = ("--sample-indices", indices, "--trials", "2", "--overwrite", "--quiet")
        done = resprobe("collect", run, "--quantity", "interlayer_smoothness", *asked)
        assert done.exit_code == 0, done.output
        (path,) = run.glob("collected/*/interlayer-smoothness.h5")
        with package.open(path) as tree:
            found.append(tree["interlayer-smoothness"]["interlayer_smoothness"].values[-1])
    # float32: a batch of another size rounds otherwise, and most of M(x + η) is taken off
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)
