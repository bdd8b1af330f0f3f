"""Noise on the weight of one layer, against parameters that are really changed, in float64."""

from __future__ import annotations

import copy
import itertools
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import post_activation, trained_looking
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import resprobe as package
from resprobe.blocks.intervene import Runner
from resprobe.blocks.passes import Pass
from resprobe.errors import InputError
from resprobe.quantities.quantity import all_quantities
from resprobe.quantities.trials import Trials
from resprobe.quantities.weight_noise import Response, WeightNoise

# Sums of a few thousand float64 products, in another order.
EXACT = {"rtol": 1e-12, "atol": 1e-12}
# The stored changes are float32.
STORED = {"rtol": 2e-7, "atol": 0}
NAMES = tuple(str(number) for number in range(5))
CHANGES = ("weight_noise_output_change", "input_noise_output_change")


class Unit(nn.Module):
    """relu(s + h conv(x)); s subsamples and pads with zero channels where the shape changes."""

    def __init__(self, width, out, h, before=0, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(width, out, 3, stride, 1)
        self.h, self.pad, self.stride = h, (before, out - width - before), stride

    def forward(self, x):
        s = x
        if any(self.pad):
            s = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.pad))
        return F.relu(torch.add(s, self.conv(x), alpha=self.h))


class Left(nn.Module):
    """A product with the weight on the left, the samples in the second axis."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 7))

    def forward(self, x):
        return (self.weight @ x.t()).t()


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 5)

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x)).mean(1))


def units():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        Unit(4, 4, 0.5),
        Unit(4, 8, 1, before=2, stride=2),
        Unit(8, 8, -1.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def geometries():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.Tanh(),
        nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2, bias=False),
        nn.Tanh(),
        nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1, groups=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 4, 2, padding_mode="circular", padding=1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5, bias=False),
    )


def sequences():
    return nn.Sequential(
        nn.Conv1d(2, 3, 3, padding="same"), nn.GELU(), nn.Flatten(), nn.Linear(21, 5)
    )


NETS = {
    "units": (units, (3, 6, 6)),
    "BatchNorm": (lambda: trained_looking(post_activation(blocks=2)), (3, 5, 5)),
    "geometries": (geometries, (3, 7, 5)),
    "sequences": (sequences, (2, 7)),
    "tokens": (Tokens, (3, 4)),
    "left": (Left, (7,)),
}


def made(kind, samples=6):
    make, shape = NETS[kind]
    torch.manual_seed(0)
    model = make().double().eval()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((samples, *shape), generator=generator, dtype=torch.float64)
    return model, x, torch.arange(samples) % 5


def measured(model, x, labels, trials, batches=1):
    """Give what is stored of a model, and its layers."""
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = WeightNoise(model, runner.blocks, NAMES, trials)
        measurement.take_layers(runner.layers)
        found = []
        for some, own in zip(x.chunk(batches), labels.chunk(batches), strict=True):
            whole = runner.run(some, replays=False, layers=True)
            rows = {n: t.numpy() for n, t in measurement.rows(whole, own).items()}
            measurement.add({**rows, "label": own.numpy()})
            found.append(rows)
    rows = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    return {**rows, **measurement.totals()}, runner.layers


def id_mask(weight, *, transposed, groups, shift):
    """Tell the entries (c, c + shift, centre), by the number of each channel in the whole map."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    if all(size % 2 for size in weight.shape[2:]):
        rows = weight.shape[0] // groups
        for row, column in itertools.product(*map(range, weight.shape[:2])):
            other = row // rows * weight.shape[1] + column
            before, after = (row, other) if transposed else (other, row)
            if before + shift == after:
                mask[(row, column, *(size // 2 for size in weight.shape[2:]))] = True
    return mask


def slow_norms(model, name, weight):
    """Give ‖W‖_F with and without ID entries, and what the block multiplies W by."""
    module = model.get_submodule(name.rpartition(".")[0])
    if isinstance(module, Unit):
        removed = module.h * weight
        mask = id_mask(weight, transposed=False, groups=1, shift=module.pad[0])
        return float((removed + mask.double()).norm()), float(removed.norm()), module.h
    module = model if name == "model" else model.get_submodule(name)
    transposed = isinstance(module, nn.ConvTranspose2d)
    mask = id_mask(weight, transposed=transposed, groups=getattr(module, "groups", 1), shift=0)
    return float(weight.norm()), float(weight[~mask].norm()), 1.0


def changed(model, parameter, change, x):
    """Give the model's output with its parameter really changed."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_parameter(parameter).add_(change)
        return other(x)


def drawn(shape, seed, layer, trial):
    noise = torch.from_numpy(np.random.default_rng([seed, layer, trial]).standard_normal(shape))
    return noise / noise.norm()


@pytest.mark.parametrize("kind", NETS)
def test_every_number_is_that_of_a_parameter_really_changed(kind):
    model, x, labels = made(kind)
    trials = Trials(count=2, seed=7, noise_levels=(0.1, 0.5))
    found, layers = measured(model, x, labels, trials)
    weights = [module.weight for module in model.modules() if hasattr(module, "weight")]
    assert len(layers) == sum(weight.dim() > 1 for weight in weights)
    whole = model(x).detach()
    np.testing.assert_allclose(found["output_norm"], whole.norm(dim=1), **STORED)
    assert found["test_error"] == (whole.argmax(1) != labels).double().mean()
    for layer in layers:
        (parameter,) = layer.parameters
        weight = model.get_parameter(parameter).detach()
        kept, removed, h = slow_norms(model, layer.name, weight)
        for norm, level, trial in itertools.product(range(2), range(2), range(2)):
            size = trials.noise_levels[level] * (kept, removed)[norm]
            change = size * drawn(weight.shape, 7, layer.index, trial) / h
            noisy = changed(model, parameter, change, x)
            place = (layer.index, norm, level, trial)
            expected = (noisy - whole).norm(dim=1) / whole.norm(dim=1)
            response = found["weight_noise_output_change"][:, *place]
            np.testing.assert_allclose(response, expected, **STORED)
            right = noisy.argmax(1) == labels
            np.testing.assert_array_equal(found["weight_noise_correct"][:, *place], right)
            assert found["weight_noise_error"][place] == pytest.approx(
                1 - float(right.double().mean()), abs=1e-15
            )


@pytest.mark.parametrize("kind", NETS)
def test_a_layer_with_another_weight_is_the_model_with_that_parameter(kind):
    model, x, _ = made(kind)
    with torch.no_grad():
        runner = Runner(model, x)
        whole = runner.run(x, replays=False, layers=True)
        for layer in runner.layers:
            (parameter,) = layer.parameters
            change = drawn(model.get_parameter(parameter).shape, 0, layer.index, 0)
            noisy = whole.add_to_layer(layer, layer.factor * whole.layer_image(layer, change))
            torch.testing.assert_close(noisy, changed(model, parameter, change, x), **EXACT)
        assert torch.equal(whole.output, model(x)), "nothing is left changed"


def test_a_residual_network_and_its_plain_twin_answer_alike_where_id_entries_are_kept():
    torch.manual_seed(0)
    residual = nn.Sequential(
        Unit(3, 3, 1), Unit(3, 6, 1, before=1, stride=2), nn.Flatten(), nn.Linear(24, 5)
    ).double()
    plain = nn.Sequential(
        *itertools.chain(*([copy.deepcopy(unit.conv), nn.ReLU()] for unit in residual[:2])),
        *copy.deepcopy(residual[2:]),
    )
    for unit, conv in zip(residual[:2], (plain[0], plain[2]), strict=True):
        mask = id_mask(conv.weight, transposed=False, groups=1, shift=unit.pad[0])
        with torch.no_grad():
            conv.weight.add_(mask.double())
    x, labels = torch.randn(6, 3, 4, 4, dtype=torch.float64), torch.arange(6) % 5
    first, second = (measured(net, x, labels, Trials(count=2))[0] for net in (residual, plain))
    np.testing.assert_allclose(first["layer_weight_norm"], second["layer_weight_norm"], rtol=1e-14)
    np.testing.assert_allclose(
        first["weight_noise_output_change"][:, :, 0],
        second["weight_noise_output_change"][:, :, 0],
        **STORED,
    )
    assert (first["weight_noise_error"][:, 0] == second["weight_noise_error"][:, 0]).all()


def test_a_shared_weight_has_noise_in_one_execution_only():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 3, 3, padding=1)
    shared = nn.Sequential(conv, nn.Tanh(), conv, nn.Flatten(), nn.Linear(48, 5)).double()
    apart = nn.Sequential(*map(copy.deepcopy, shared))
    x, labels = torch.randn(4, 3, 4, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.int64)
    found, layers = measured(shared, x, labels, Trials(count=1))
    expected, _ = measured(apart, x, labels, Trials(count=1))
    assert [layer.name for layer in layers] == ["0:0", "0:1", "4"]
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_computed_weight_has_the_noise_on_what_was_computed():
    torch.manual_seed(0)
    computed = nn.Sequential(weight_norm(nn.Linear(6, 4)), nn.ReLU(), nn.Linear(4, 5)).double()
    plain = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), copy.deepcopy(computed[2])).double()
    with torch.no_grad():
        plain[0].weight.copy_(computed[0].weight)
        plain[0].bias.copy_(computed[0].bias)
    x, labels = torch.randn(4, 6, dtype=torch.float64), torch.zeros(4, dtype=torch.int64)
    found, expected = (measured(net, x, labels, Trials(count=2))[0] for net in (computed, plain))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12)


def test_a_linear_network_answers_in_proportion_by_its_matrices():
    """f = W₂ W₁ x: the change is level ‖W₁‖ ‖W₂ Z x‖/‖W₂ W₁ x‖ at any level, Z of norm 1."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Linear(4, 5, bias=False)).double()
    x = torch.randn(3, 6, dtype=torch.float64)
    levels = (0.01, 1.0, 100.0)
    found, _ = measured(model, x, torch.zeros(3).long(), Trials(count=2, noise_levels=levels))
    first, second = (one.weight.detach().numpy() for one in model)
    for trial in range(2):
        noise = drawn((4, 6), 0, 0, trial).numpy()
        slope = np.linalg.norm(first) * np.linalg.norm(second @ noise @ x.numpy().T, axis=0)
        expected = np.outer(slope / np.linalg.norm(second @ first @ x.numpy().T, axis=0), levels)
        response = found["weight_noise_output_change"]
        np.testing.assert_allclose(response[:, 0, 0, :, trial], expected, **STORED)
        ratio = found["layer_weight_norm_id_removed"][0] / found["layer_weight_norm"][0]
        np.testing.assert_allclose(response[:, 0, 1, :, trial], ratio * expected, rtol=4e-7)


def test_small_noise_acts_in_proportion_to_its_level():
    """The response over the level goes to a limit, the rest as the level itself."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)).double()
    x = torch.randn(20, 6, dtype=torch.float64)
    levels = (1e-1, 1e-2, 1e-3, 1e-5)
    found, _ = measured(model, x, torch.zeros(20).long(), Trials(count=4, noise_levels=levels))
    slopes = found["weight_noise_output_change"][:, 0] / np.array(levels)[:, None]
    rest = np.abs(slopes / slopes[..., -1:, :] - 1).mean(axis=(0, 1, 3))
    orders = np.log10(rest[:2] / rest[1:3])
    np.testing.assert_allclose(orders, 1, atol=0.1)


def test_noise_that_rounds_to_nothing_changes_nothing():
    model, x, labels = made("units")
    found, _ = measured(model, x, labels, Trials(count=2, noise_levels=(1e-300, 0.1)))
    assert (found["weight_noise_output_change"][..., 0, :] == 0).all()
    assert (found["weight_noise_error"][..., 0, :] == found["test_error"]).all()
    assert (found["weight_noise_output_change"][..., 1, :] > 0).all()


@given(st.floats(1e-3, 1e3), st.sampled_from((0, 2, 4)))
@settings(max_examples=20, deadline=None)
def test_the_scale_of_a_layer_does_not_matter_to_a_homogeneous_network(scale, which):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1, bias=False),
        nn.Flatten(), nn.Linear(12, 5, bias=False),
    ).double()  # fmt: skip
    x, labels = torch.randn(3, 2, 4, 4, dtype=torch.float64), torch.arange(3)
    before, _ = measured(model, x, labels, Trials(count=1))
    with torch.no_grad():
        model[which].weight.mul_(scale)
    after, _ = measured(model, x, labels, Trials(count=1))
    np.testing.assert_allclose(
        after["weight_noise_output_change"], before["weight_noise_output_change"], **STORED
    )


@given(st.integers(1, 6))
@settings(max_examples=6, deadline=None)
def test_the_numbers_of_a_sample_do_not_depend_on_the_batch(batches):
    model, x, labels = made("units")
    x, labels = x[: 6 // batches * batches], labels[: 6 // batches * batches]
    together, apart = (measured(model, x, labels, Trials(count=2), n)[0] for n in (1, batches))
    for name, values in together.items():
        np.testing.assert_allclose(apart[name], values, **STORED)


def test_more_trials_and_other_levels_keep_the_draws():
    model, x, labels = made("units")
    few, _ = measured(model, x, labels, Trials(count=2, noise_levels=(0.1,)))
    many, _ = measured(model, x, labels, Trials(count=3, noise_levels=(0.2, 0.1)))
    name = "weight_noise_output_change"
    np.testing.assert_array_equal(many[name][..., 1:, :2], few[name])
    other, _ = measured(model, x, labels, Trials(count=2, noise_levels=(0.1,), seed=1))
    assert not np.isin(other[name], few[name]).any()


def test_norms_that_agree_are_replayed_once(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 5, 3), nn.Flatten()).double()
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    replayed, add = [], Pass.add_to_layer

    def counted(self, layer, change):
        replayed.append(layer.index)
        return add(self, layer, change)

    monkeypatch.setattr(Pass, "add_to_layer", counted)
    found, _ = measured(model, x, torch.zeros(2).long(), Trials(count=2, noise_levels=(0.1,)))
    kept, removed = np.moveaxis(found["weight_noise_output_change"], 2, 0)
    assert replayed == [0] * 2 + [1] * 4  # an even kernel has no ID entries
    assert (kept[:, 0] == removed[:, 0]).all()
    assert (kept[:, 1] > removed[:, 1]).all()


def test_logits_that_noise_wakes_change_without_end_and_those_still_zero_by_no_number():
    output = torch.tensor([[0.0, 0], [0, 0], [3, 4]], dtype=torch.float64)
    noisy = torch.tensor([[0.0, 0], [1, 0], [3, 9]], dtype=torch.float64)
    change, correct = Response(output, torch.tensor([0, 1, 1])).to(noisy[None])
    assert torch.equal(change.isnan(), torch.tensor([[True], [False], [False]]))
    assert change[1:].tolist() == [[float("inf")], [1.0]]
    assert correct.tolist() == [[1], [0], [1]]
    formulas = [all_quantities()[name].formula for name in CHANGES]
    assert all("infinite" in formula and "NaN" in formula for formula in formulas)


def test_logits_that_are_all_zero_have_no_relative_change():
    model = nn.Linear(3, 5, bias=False).double()
    x = torch.tensor([[0.0, 0, 0], [1, 2, 3]], dtype=torch.float64)
    found, _ = measured(model, x, torch.zeros(2).long(), Trials(count=1))
    nan = np.isnan(found["weight_noise_output_change"])
    assert nan[0].all()
    assert not nan[1].any()


class Routed(nn.Module):
    """Goes another way where a number that noise changes is large."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3)

    def forward(self, x):
        x = x + self.first(x)
        return self.second(x) if x.abs().max().item() > 1 else 2 * self.second(x)


def test_a_batch_that_goes_another_way_has_its_own_layers():
    torch.manual_seed(0)
    model = Routed().double()
    with torch.no_grad():
        runner = Runner(model, 0.1 * torch.ones(2, 3, dtype=torch.float64))
        x = 3 * torch.randn(4, 3, dtype=torch.float64)
        whole = runner.run(x, replays=False, layers=True)
        layer = runner.layers[1]
        change = 0.1 * drawn((3, 3), 0, 1, 0)
        noisy = whole.add_to_layer(layer, whole.layer_image(layer, change))
        torch.testing.assert_close(noisy, changed(model, "second.weight", change, x), **EXACT)


def test_networks_that_cannot_be_measured_are_refused():
    with torch.no_grad():
        runner = Runner(nn.Flatten(), torch.randn(2, 3))
        with pytest.raises(InputError, match="no weight to put noise on; leave weight-noise out"):
            WeightNoise(runner.model, runner.blocks, NAMES).take_layers(runner.layers)
        x = torch.randn(2, 3)
        runner = Runner(Routed(), x)
        measurement = WeightNoise(runner.model, runner.blocks, NAMES)
        measurement.take_layers(runner.layers)
        whole = runner.run(x, replays=False, layers=True)
        with pytest.raises(InputError, match="it can't be replayed"):
            measurement.try_on(whole)
        runner = Runner(nn.Sequential(Routed(), nn.Linear(3, 5)), x)
        with pytest.raises(InputError, match="layers=True for layer_image"):
            runner.run(x).add_to_layer(runner.layers[1], x)


# -- the command -----------------------------------------------------------------------------------

NOISE = ("--quantity", "weight_noise_error", "--samples", 150, "--trials", 2, "--quiet")


@pytest.fixture(scope="session")
def noisy(trained, tmp_path_factory, resprobe):
    """A collected run; not to be changed."""
    run = tmp_path_factory.mktemp("noisy") / "run"
    shutil.copytree(trained, run)
    result = resprobe("collect", run, *NOISE)
    assert result.exit_code == 0, result.output
    return run


def family(run):
    (folder,) = (run / "collected").iterdir()
    with package.open(folder / "weight-noise.h5") as tree:
        return tree["weight-noise"].to_dataset().load()


def test_the_file_holds_what_was_asked_for(noisy):
    found = family(noisy)
    assert found["weight_noise_output_change"].dims == (
        "sample", "layer", "norm", "level", "trial",
    )  # fmt: skip
    assert found["norm"].values.tolist() == ["kept", "removed"]
    assert found["level"].values.tolist() == [0.03, 0.1, 0.3]
    assert found.sizes["sample"] == 150
    wrong = 1 - found["weight_noise_correct"].mean("sample")
    np.testing.assert_allclose(found["weight_noise_error"], wrong, rtol=0, atol=1e-15)
    change = found["weight_noise_output_change"].mean(("sample", "trial"))
    assert (change.diff("level") > 0).all(), "more noise, more change"


def test_an_interrupted_collection_goes_on_to_the_same_bits(noisy, run, resprobe, monkeypatch):
    from resprobe.store.writer import Writer

    append, calls = Writer.append, []

    def append_once(self, group, rows):
        if calls:
            raise KeyboardInterrupt
        calls.append(len(rows["sample"]))
        append(self, group, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "append", append_once)
        assert resprobe("collect", run, *NOISE).exit_code != 0
    assert calls == [125]
    assert resprobe("collect", run, *NOISE).exit_code == 0
    first, second = family(run), family(noisy)
    for name in second.variables:
        assert first[name].values.tobytes() == second[name].values.tobytes(), name


def test_noise_levels_decide_the_families_of_noise_alone(measured_of, noisy, resprobe):
    run = measured_of(noisy)
    lesions = ("--quantity", "multi_lesion_error", "--samples", 20, "--trials", 2, "--quiet")
    assert resprobe("collect", run, *lesions).exit_code == 0
    kept = resprobe("collect", run, *lesions, "--noise-levels", "0.5", "--json")
    assert '"kept": true' in kept.stdout
    kept = resprobe("collect", run, *NOISE, "--levels", 3, "--json")
    assert '"kept": true' in kept.stdout
    for other in (("--noise-levels", "0.5"), ("--trial-seed", 1), ("--trials", 3)):
        refused = resprobe("collect", run, *NOISE, *other)
        assert refused.exit_code == 2
        assert "for random lesions and noise also levels, trials" in refused.stderr


def test_no_rounding_to_tf32_is_taken_for_an_answer(run, resprobe, monkeypatch):
    from resprobe.linalg import precision

    inside, seen = [], set()

    @contextmanager
    def noted(device):
        inside.append(device)
        yield
        inside.pop()

    def watched(owner, name):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            if kwargs.get("layers") or owner is Pass:
                seen.add((name, len(inside)))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    monkeypatch.delattr(WeightNoise, "try_on")  # of which nothing is stored
    monkeypatch.setattr(precision, "full_precision", noted)
    watched(Runner, "run")
    watched(Pass, "add_to_layer")
    watched(Pass, "layer_image")
    names = ("--quantity", "weight_noise_error", "--samples", 10, "--trials", 1, "--quiet")
    assert resprobe("collect", run, *names).exit_code == 0
    assert seen == {("run", 1), ("add_to_layer", 1), ("layer_image", 1)}


@pytest.fixture
def measured_of(tmp_path):
    def copied(run):
        return shutil.copytree(run, tmp_path / "copy")

    return copied


@pytest.mark.parametrize("levels", ["0.1,", "a", "0.1,0.1", "-0.1", "0", "nan", "inf"])
def test_levels_that_are_none_are_refused(run, resprobe, levels):
    refused = resprobe("collect", run, "--quantity", "weight_noise_error", "--noise-levels", levels)
    assert refused.exit_code == 2
    assert "--noise-levels" in refused.stderr
    assert "such as 0.03,0.1,0.3" in refused.stderr
    if levels not in {"0.1,", "a"}:
        assert "give different finite numbers above 0" in refused.stderr


def test_an_estimate_measures_nothing(run, resprobe):
    result = resprobe("collect", run, "--quantity", "weight_noise_error", "--estimate")
    assert "weight-noise: 500 samples, about" in result.stdout
    assert not (run / "collected").exists()
