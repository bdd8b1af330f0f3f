"""Noise on the input, against the model run on inputs that are really noisy, in float64."""

from __future__ import annotations

import itertools
import json

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
from resprobe.quantities.input_noise import InputNoise
from resprobe.quantities.trials import Trials

# The stored changes are float32.
STORED = {"rtol": 2e-7, "atol": 0}
NAMES = tuple(str(number) for number in range(6))
CHANGE = "input_noise_output_change"


def measured(model, x, labels, trials, samples, *, cuts=()):
    """Give what is stored of samples of these indices, in batches cut at these places."""
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = InputNoise(model, runner.blocks, NAMES, trials)
        found = []
        for start, stop in itertools.pairwise([0, *cuts, len(x)]):
            measurement.take_samples(np.array(samples[start:stop]))
            whole = runner.run(x[start:stop], replays=False, inputs=True)
            rows = {n: t.numpy() for n, t in measurement.rows(whole, labels[start:stop]).items()}
            measurement.add({**rows, "label": labels[start:stop].numpy()})
            found.append(rows)
    rows = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    return {**rows, **measurement.totals()}


def noise(x, sample, trial, level, seed=0):
    key = np.random.SeedSequence(seed, spawn_key=(1, sample, trial))
    drawn = np.random.default_rng(key).standard_normal(x.shape)
    return torch.from_numpy(level * float(x.norm()) * drawn / np.linalg.norm(drawn))


def net_and_images(samples=6):
    model = trained_looking(post_activation(blocks=2)).double().eval()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((samples, 3, 5, 5), generator=generator, dtype=torch.float64)
    return model, x, torch.arange(samples) % 5


def test_every_number_is_that_of_the_model_on_a_noisy_input():
    model, x, labels = net_and_images()
    samples, levels = [3, 4, 9, 11, 20, 100], (0.2, 1.0)
    found = measured(model, x, labels, Trials(count=2, seed=5, noise_levels=levels), samples)
    whole = model(x).detach()
    assert found["test_error"] == (whole.argmax(1) != labels).double().mean()
    np.testing.assert_allclose(found["output_norm"], whole.norm(dim=1), **STORED)
    for level, trial in itertools.product(range(2), range(2)):
        drawn = [noise(one, n, trial, levels[level], 5) for n, one in zip(samples, x, strict=True)]
        noisy = model(x + torch.stack(drawn)).detach()
        expected = (noisy - whole).norm(dim=1) / whole.norm(dim=1)
        np.testing.assert_allclose(found[CHANGE][:, level, trial], expected, **STORED)
        right = noisy.argmax(1) == labels
        np.testing.assert_array_equal(found["input_noise_correct"][:, level, trial], right)
        wrong = 1 - float(right.double().mean())
        assert found["input_noise_error"][level, trial] == pytest.approx(wrong, abs=1e-15)


def test_a_linear_stack_answers_by_its_matrix_in_proportion_to_the_level():
    """f = Π(I + hWᵢ) x: the change is level ‖x‖ ‖P z‖/‖P x‖, z of norm 1, at any level."""
    model, levels = linear_stack(), (1e-3, 1.0, 50.0)
    x = torch.randn((4, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = measured(model, x, torch.arange(4), Trials(count=3, noise_levels=levels), range(4))
    product = np.eye(6)
    for block in model:
        product = (np.eye(6) + block.h * block.linear.weight.detach().numpy()) @ product
    for sample, trial in itertools.product(range(4), range(3)):
        moved = product @ noise(x[sample], sample, trial, 1.0).numpy()
        slope = np.linalg.norm(moved) / np.linalg.norm(product @ x[sample].numpy())
        expected = slope * np.array(levels)
        np.testing.assert_allclose(found[CHANGE][sample, :, trial], expected, **STORED)


def test_the_noise_has_the_norm_that_was_asked_for_exactly():
    """Of a network that gives its input back, the change is the level."""
    model, levels = nn.Sequential(nn.Flatten(), nn.Identity()), (0.03, 0.3)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    found = measured(model, x, torch.arange(5), Trials(noise_levels=levels), range(5))
    expected = np.broadcast_to(np.array(levels)[:, None], (5, 2, 10))
    np.testing.assert_allclose(found[CHANGE], expected, **STORED)


@given(st.lists(st.integers(1, 5), unique=True), st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_the_numbers_of_a_sample_do_not_depend_on_what_is_measured_beside_it(cuts, order):
    model, x, labels = net_and_images()
    samples, trials, order = np.arange(6) * 7, Trials(count=2), list(order)
    first = measured(model, x, labels, trials, samples)
    other = measured(model, x[order], labels[order], trials, samples[order], cuts=sorted(cuts))
    for name in (CHANGE, "input_noise_correct", "correct"):
        np.testing.assert_allclose(other[name], first[name][order], **STORED)
    assert other["input_noise_error"].tolist() == first["input_noise_error"].tolist()


@given(st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_the_scale_of_the_input_does_not_matter_to_a_homogeneous_network(scale):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 5, bias=False)
    ).double()
    x, labels = torch.randn(3, 4, dtype=torch.float64), torch.arange(3)
    before, after = (measured(model, c * x, labels, Trials(), range(3)) for c in (1, scale))
    np.testing.assert_allclose(after[CHANGE], before[CHANGE], **STORED)


def test_noise_that_rounds_to_nothing_changes_nothing_and_more_trials_keep_the_draws():
    model, x, labels = net_and_images()
    few = measured(model, x, labels, Trials(count=2, noise_levels=(0.1,)), range(6))
    many = measured(model, x, labels, Trials(count=3, noise_levels=(1e-300, 0.1)), range(6))
    assert (many[CHANGE][:, 0] == 0).all()
    assert (many["input_noise_error"][0] == many["test_error"]).all()
    np.testing.assert_array_equal(many[CHANGE][:, 1:, :2], few[CHANGE])


class Ids(nn.Module):
    """A residual network on token ids."""

    def __init__(self):
        super().__init__()
        self.embedding, self.linear = nn.Embedding(9, 4), nn.Linear(4, 4)

    def forward(self, ids):
        x = self.embedding(ids)
        return (x + self.linear(x)).mean(1)


def test_whole_numbers_are_refused():
    with torch.no_grad():
        ids = torch.arange(6).reshape(2, 3)
        runner = Runner(Ids(), ids)
        measurement = InputNoise(runner.model, runner.blocks, NAMES)
        with pytest.raises(InputError, match="takes whole numbers, such as token ids"):
            measurement.try_on(runner.run(ids, replays=False, inputs=True))


def test_collected_numbers_are_those_of_the_standardised_images(run, resprobe):
    """From the files alone: the run's own checkpoint and images, standardised here."""
    from resprobe.source import from_run

    words = ("--sample-indices", "7,3,400", "--trials", 2, "--noise-levels", "0.5,0.1")
    done = resprobe("collect", run, "--quantity", "input_noise_error", *words, "--quiet", "--json")
    assert done.exit_code == 0, done.output
    path = json.loads(done.stdout)["collected"][0]["path"]
    with package.open(path) as tree:
        found = tree["input-noise"].to_dataset().load()
    assert found["sample"].values.tolist() == [3, 7, 400]
    assert found["level"].values.tolist() == [0.5, 0.1]
    source, _ = from_run(run, "last")
    model, images = source.model.double(), source.images.images[[3, 7, 400]]
    mean, std = (np.array(one)[:, None, None] for one in (source.mean, source.std))
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    x = torch.from_numpy((images / scale - mean) / std)
    whole = model(x).detach()
    for level, trial in itertools.product(range(2), range(2)):
        size = float(found["level"][level])
        drawn = [noise(one, n, trial, size) for n, one in zip((3, 7, 400), x, strict=True)]
        noisy = model(x + torch.stack(drawn)).detach()
        expected = (noisy - whole).norm(dim=1) / whole.norm(dim=1)
        # The run is float32: its network rounds at some ten layers, on numbers that differ by 10 %.
        np.testing.assert_allclose(found[CHANGE][:, level, trial], expected, rtol=2e-5)


def test_an_interrupted_collection_goes_on_to_the_same_bits(run, resprobe, monkeypatch):
    from resprobe.store.writer import Writer

    words = ("--quantity", "input_noise_error", "--trials", 1, "--quiet")
    append, calls = Writer.append, []

    def append_once(self, group, rows):
        if calls:
            raise KeyboardInterrupt
        calls.append(len(rows["sample"]))
        append(self, group, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "append", append_once)
        assert resprobe("collect", run, *words).exit_code != 0
    assert calls == [250]
    assert resprobe("collect", run, *words).exit_code == 0
    first = family(run)
    assert resprobe("collect", run, *words, "--overwrite").exit_code == 0
    second = family(run)
    for name in second.variables:
        assert first[name].values.tobytes() == second[name].values.tobytes(), name


def family(run):
    (folder,) = (run / "collected").iterdir()
    with package.open(folder / "input-noise.h5") as tree:
        return tree["input-noise"].to_dataset().load()
