"""Distribution of the weights: by hand, against NumPy, on equivalent networks, and as collected."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import linear_stack, post_activation
from torch import nn

import resprobe as package
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError
from resprobe.linalg.transfer import to_plain
from resprobe.quantities.weights import EDGES, Weights, histogram, made_plain, statistics
from resprobe.registry import load

# Sums of at most half a million float64 numbers, in another order.
EXACT = {"rtol": 1e-11, "atol": 1e-15}
ROW = ("--quantity", "weight_mass")


def measured(model, x):
    """Give the family by name, and the layers."""
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = Weights(model, runner.blocks, ("a",))
        measurement.take_layers(runner.layers)
        return measurement.totals(), runner.layers


def build(**arguments):
    torch.manual_seed(0)
    return load("models", "simplified-resnet")(**arguments)


IMAGE = torch.zeros(2, 3, 8, 8)


def test_a_kernel_of_two_channels_by_hand():
    weight = torch.zeros(2, 2, 3, 3)
    weight[0, 0, 1, 1], weight[1, 1, 1, 1] = 0.75, -0.125  # its ID entries
    weight[0, 1, 1, 1], weight[1, 0, 0, 2], weight[1, 1, 2, 2] = 0.25, -3.0, 0.6875
    entries = torch.zeros_like(weight, dtype=torch.bool)
    entries[[0, 1], [0, 1], 1, 1] = True
    found = statistics(weight, entries)
    counts, of_entries = found.pop("weight_histogram"), found.pop("id_entry_histogram")
    mean = (0.75 - 0.125 + 0.25 - 3.0 + 0.6875) / 36
    squares = 0.75**2 + 0.125**2 + 0.25**2 + 3.0**2 + 0.6875**2
    assert found == pytest.approx(
        {
            "weight_count": 36,
            "weight_mean": mean,
            "weight_std": math.sqrt(squares / 36 - mean**2),
            "weight_mass": 4.8125,
            "large_weight_mass": 4.6875,  # 0.25 is one of them
            "large_weight_count": 1,
            "id_entry_count": 2,
            "id_entry_mean": 0.3125,
            "id_entry_std": 0.4375,
            "id_entry_mass": 0.875,
            "large_id_entry_mass": 0.75,
        },
        rel=1e-14,
    )
    # bins of 0.02 from -2: 0 is the lower edge of the 100th, -3 lies below all
    assert {int(place): int(counts[place]) for place in np.flatnonzero(counts)} == {
        0: 1, 93: 1, 100: 31, 112: 1, 134: 1, 137: 1,
    }  # fmt: skip
    assert np.flatnonzero(of_entries).tolist() == [93, 137]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 400), st.sampled_from([0.01, 0.3, 3.0]))
def test_a_histogram_counts_every_value_once_as_numpy_does(seed, size, spread):
    values = spread * torch.randn(
        size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    on_edges = torch.from_numpy(EDGES[:: 1 + seed % 7])[: size // 3]
    values[: len(on_edges)] = on_edges
    counts = histogram(values)
    assert counts.sum() == size
    edges = np.concatenate([[-np.inf], EDGES[1:-1], [np.inf]])
    assert np.array_equal(counts, np.histogram(values.numpy(), edges)[0])


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_what_scales_scales_and_no_part_is_above_the_whole(seed, scale):
    weight = torch.randn(
        3, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    entries = torch.zeros_like(weight, dtype=torch.bool)
    entries[[0, 1, 2], [0, 1, 2], 1, 1] = True
    first, second = statistics(weight, entries), statistics(scale * weight, entries)
    for name in ("weight_mean", "weight_std", "weight_mass", "id_entry_mass", "id_entry_std"):
        assert second[name] == pytest.approx(scale * first[name], rel=1e-12)
    assert first["large_weight_mass"] <= first["weight_mass"]
    assert first["large_id_entry_mass"] <= first["id_entry_mass"] <= first["weight_mass"]
    assert (first["id_entry_histogram"] <= first["weight_histogram"]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_residual_network_and_its_plain_twin_have_the_same_family(dtype):
    """Yu & Tomasi 2019, Eq. 1: the plain network of T(r) is the residual one of r."""
    residual = build(depth=8, width_factor=0.25).to(dtype)
    plain = build(depth=8, width_factor=0.25, residual=False).to(dtype)
    plain.load_state_dict(to_plain(residual.state_dict(), residual.id_entries()))
    there, layers = measured(residual, IMAGE.to(dtype))
    here, units = measured(plain, IMAGE.to(dtype))
    assert [one.identity for one in layers] == [None, *[0] * 6, None]
    assert [one.identity for one in units] == [None] * 8
    # both round 1 + r to the same number of their dtype
    for name, values in there.items():
        np.testing.assert_array_equal(here[name], values)
    assert (there["id_entry_mean"][1:-1] > 0.5).all()


class Scaled(nn.Module):
    """One convolution with a factor beside a skip that pads channels on both sides."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 6, 3, 2, 1)

    def forward(self, x):
        s = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return F.relu(torch.add(s, self.conv(x), alpha=0.5))


def test_the_factor_multiplies_the_kernel_and_the_ones_follow_the_skip():
    model = nn.Sequential(Scaled(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    x = torch.randn(2, 2, 7, 6, generator=torch.Generator().manual_seed(0))
    _, layers = measured(model, x)
    weight, entries = made_plain(layers[0])
    expected = 0.5 * model[0].conv.weight.detach()
    for channel in range(2):
        expected[channel + 2, channel, 1, 1] += 1
    assert torch.equal(weight, expected)
    assert entries.sum() == 2
    with torch.no_grad():
        out = F.relu(F.conv2d(x, weight, 0.5 * model[0].conv.bias, 2, 1))
        torch.testing.assert_close(out, model[0](x), rtol=1e-5, atol=1e-6)


def test_counts_of_the_full_size_network_are_the_papers():
    """Yu & Tomasi 2019, Table 3: depth 32; 1,072 ID entries are its mass of large ones at t_0."""
    model = build(depth=32)
    found, layers = measured(model, torch.zeros(2, 3, 32, 32))
    inside = np.array([bool(layer.block) for layer in layers])
    assert inside.sum() == 30
    assert found["weight_count"][inside].sum() == 460_800
    assert found["weight_count"][~inside].tolist() == [432, 640]
    assert found["id_entry_count"].sum() == found["id_entry_count"][inside].sum() == 1072
    assert np.array_equal(found["weight_histogram"].sum(1), found["weight_count"])
    assert np.array_equal(found["id_entry_histogram"].sum(1), found["id_entry_count"])
    state, masks = model.state_dict(), model.id_entries()
    plain = to_plain(state, masks)
    every = torch.cat([plain[name].flatten() for name in masks]).double().numpy()
    np.testing.assert_allclose(found["weight_mass"][inside].sum(), np.abs(every).sum(), **EXACT)
    mean = np.average(found["weight_mean"][inside], weights=found["weight_count"][inside])
    np.testing.assert_allclose(mean, every.mean(), **EXACT)
    ones = torch.cat([plain[name][masks[name]] for name in masks]).double().numpy()
    np.testing.assert_allclose(found["id_entry_mass"].sum(), np.abs(ones).sum(), **EXACT)
    large = ones[np.abs(ones) >= 0.25]
    np.testing.assert_allclose(found["large_id_entry_mass"].sum(), np.abs(large).sum(), **EXACT)
    assert found["large_weight_count"].sum() == (ones > 0.7).sum()


def test_layers_of_larger_blocks_are_as_they_are_and_have_id_entries():
    model = post_activation(blocks=1)
    found, layers = measured(model, torch.randn(2, 3, 5, 5))
    assert [one.block for one in layers] == ["", "1", "1", ""]
    assert found["id_entry_count"].tolist() == [0, 4, 4, 0]
    kernel = model[1].conv1.weight.detach().double()
    assert found["weight_mean"][1] == pytest.approx(float(kernel.mean()), rel=1e-12)
    diagonal = kernel[:, :, 1, 1].diagonal()
    assert found["id_entry_mass"][1] == pytest.approx(float(diagonal.abs().sum()), rel=1e-12)
    assert np.isnan(found["id_entry_mean"][[0, 3]]).all()


def test_a_linear_layer_has_its_diagonal():
    model = linear_stack(width=3, blocks=1)
    found, _ = measured(model, torch.randn(2, 3, dtype=torch.float64))
    trace = float(model[0].linear.weight.detach().diagonal().sum())
    assert found["id_entry_mean"][0] == pytest.approx(trace / 3, rel=1e-12)


def test_weights_without_a_distribution_are_refused():
    with pytest.raises(InputError, match="no weights to measure"):
        Weights(None, (), ("a",)).take_layers(())
    model = post_activation(blocks=1)
    with torch.no_grad():
        model[1].conv2.weight[0, 0, 0, 0] = math.nan
    with pytest.raises(InputError, match=r"1\.conv2 has weights that are not finite"):
        measured(model, torch.randn(2, 3, 5, 5))


def test_a_run_holds_it_at_every_checkpoint_and_the_samples_do_not_matter(run, resprobe):
    first = resprobe("collect", run, *ROW, "--checkpoint", "all", "--quiet")
    assert first.exit_code == 0, first.output
    files = sorted(run.glob("collected/*/weights.h5"))
    assert len(files) > 1
    before = [file.read_bytes() for file in files]
    others = ("--samples", "7", "--sample-seed", "3", "--trials", "2")
    again = resprobe("collect", run, *ROW, "--checkpoint", "all", *others, "--json", "--quiet")
    assert again.exit_code == 0, again.output
    assert all(one["kept"] for one in json.loads(again.stdout)["collected"])
    assert [file.read_bytes() for file in files] == before
    masses = []
    for file in files:
        with package.open(file) as tree:
            data = tree["weights"].to_dataset().load()
        assert data["weight_mass"].dims == ("layer",)
        assert data["weight_histogram"].dims == ("layer", "bin")
        assert data["weight_histogram"].dtype == np.int64
        assert data.attrs["status"] == "finished"
        assert np.array_equal(data["weight_histogram"].sum("bin"), data["weight_count"])
        masses.append(data["weight_mass"].values)
    assert (masses[0] != masses[-1]).all()
    assert resprobe("check", run).exit_code == 0


def test_what_it_says_of_itself_names_no_samples(run, resprobe):
    done = resprobe("collect", run, *ROW)
    assert "samples" not in done.stdout
    assert "weights.h5: weights in " in done.stdout
    kept = resprobe("collect", run, *ROW)
    assert "weights kept as it was measured before\n" in kept.stdout
    cost = resprobe("collect", run, *ROW, "--estimate", "--json")
    (estimate,) = json.loads(cost.stdout)
    assert (estimate["family"], estimate["samples"]) == ("weights", 0)


def test_a_lone_file_holds_it_beside_families_with_samples(run, weights_of, resprobe, tmp_path):
    out = tmp_path / "net.h5"
    asked = ("--quantity", "branch_norm", "--samples", "20")
    for quantities in ((*ROW, *asked), ("--quantity", "+layer_cushion", "--samples", "20")):
        done = resprobe("collect", *weights_of(run), *quantities, "-o", out, "--quiet")
        assert done.exit_code == 0, done.output
    assert resprobe("check", out).exit_code == 0
    with package.open(out) as tree:
        assert {"weights", "norms", "layer-cushion"} <= set(tree.children)
        assert tree["weights"].sizes["sample"] == 0
        assert (tree["weights"]["weight_count"] > 0).all()


def test_it_is_exported_whole(run, resprobe, tmp_path):
    assert resprobe("collect", run, *ROW, "--quiet").exit_code == 0
    exported = resprobe("export", run, "-o", tmp_path / "run.h5")
    assert exported.exit_code == 0, exported.output
    (file,) = run.glob("collected/*/weights.h5")
    with package.open(file) as tree, package.open(tmp_path / "run.h5") as copy:
        there = copy[file.parent.name]["weights"].to_dataset()
        xr.testing.assert_identical(there.load(), tree["weights"].to_dataset().load())


def test_inspect_says_that_no_samples_were_taken(run, resprobe):
    done = resprobe("collect", run, "--quantity", "weight_mass", "--quiet")
    assert done.exit_code == 0, done.output
    shown = resprobe("inspect", run).stdout
    assert "/weights: of the weights alone, finished" in shown
    assert "0 samples" not in shown.replace("500 samples", "")
