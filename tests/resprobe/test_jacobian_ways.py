"""Every way to a Jacobian gives what autograd gives, for every operation and border."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jacobian_cases import (
    CONVOLUTIONS,
    dense,
    probes,
    require_all_ways_right,
    sample,
    settled,
)
from torch import nn

from resprobe.blocks.path import Path
from resprobe.blocks.program import record
from resprobe.errors import InputError
from resprobe.linalg import attempts, jacobian, pattern, ways
from resprobe.linalg.linearise import linearise

FEW = settings(max_examples=30, deadline=None)


@st.composite
def convolutions(draw, rank, channels, size):
    """A convolution of drawn geometry with its channels and the sizes after it."""
    groups = draw(st.sampled_from([g for g in (1, 1, 2, channels) if channels % g == 0]))
    after = draw(st.integers(1, 2)) * groups
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    stride = [draw(st.integers(1, 2)) for _ in range(rank)]
    dilation = [draw(st.integers(1, 2)) for _ in range(rank)]
    padding = [draw(st.integers(0, 2)) for _ in range(rank)]
    mode = draw(st.sampled_from(["zeros", "zeros", "circular", "reflect", "replicate"]))
    if mode == "reflect" and rank == 3:
        mode = "replicate"
    geometry = list(zip(size, padding, dilation, kernel, stride, strict=True))
    assume(mode == "zeros" or all(p < n for n, p, *_ in geometry))
    sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in geometry]
    assume(all(n + 2 * p > d * (k - 1) for n, p, d, k, _ in geometry))
    module = CONVOLUTIONS[rank](
        channels, after, kernel, stride, padding, dilation, groups, padding_mode=mode
    )
    return module, after, sizes


@FEW
@given(st.data(), st.integers(1, 3))
def test_one_to_three_convolutions_of_any_geometry(data, rank):
    largest = {1: 12, 2: 7, 3: 4}[rank]
    size = [data.draw(st.integers(2, largest)) for _ in range(rank)]
    channels = data.draw(st.integers(1, 2)) * 2
    x = sample(channels, *size)
    layers = []
    for _ in range(data.draw(st.integers(1, 3))):
        module, channels, size = data.draw(convolutions(rank, channels, size))
        layers += [module, nn.Tanh()]
    require_all_ways_right(settled(nn.Sequential(*layers)), x, "dense")


def preactivated(channels, between=None, after=None, kernel=3, stride=1):
    between = between or channels
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, between, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(between),
        nn.ReLU(),
        nn.Conv2d(between, after or channels, kernel, 1, kernel // 2, bias=False),
    )


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (3, 6), (11, 13)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_preactivated_branch_on_odd_grids(size, stride):
    branch = settled(preactivated(2, 3, 2, stride=stride))
    require_all_ways_right(branch, sample(2, *size), "stencil", "linear", "vmap", "dense")


def test_a_bottleneck():
    layers = [nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3, 2, 1)]
    layers += [nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 4, 1)]
    require_all_ways_right(settled(nn.Sequential(*layers)), sample(4, 6, 5), "stencil", "linear")


class Block(nn.Module):
    """x -> relu(skip(x) + branch(x))."""

    def __init__(self, branch, skip):
        super().__init__()
        self.branch, self.skip = branch, skip

    def forward(self, x):
        return torch.relu(self.skip(x) + self.branch(x))


class OptionA(nn.Module):
    """Every second place, and channels of zeros."""

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))


@pytest.mark.parametrize(
    ("skip", "stride", "ways"),
    [
        (nn.Identity(), 1, ("stencil", "linear")),
        (nn.Conv2d(2, 4, 1, 2), 2, ("stencil", "linear")),
        (OptionA(), 2, ("linear",)),
    ],
    ids=["identity", "projection", "option A"],
)
def test_blocks_with_every_skip(skip, stride, ways):
    after = 2 if stride == 1 else 4
    block = settled(Block(preactivated(2, after, after, stride=stride), skip))
    require_all_ways_right(block, sample(2, 7, 6), *ways)


def weighted(x):
    """Depends on each number of x in a way of its own."""
    return torch.sin(x * torch.arange(1, x.numel() + 1, dtype=x.dtype).reshape(x.shape))


OPERATIONS = {
    "max pooling, odd windows": nn.MaxPool2d(3, 2, 1),
    "max pooling, dilated": nn.MaxPool2d((2, 3), 1, 0, 2),
    "max pooling, ceiling": nn.MaxPool2d(2, 2, ceil_mode=True),
    "average pooling, padded": nn.AvgPool2d(3, 2, 1),
    "average pooling, adaptive": nn.AdaptiveAvgPool2d((3, 2)),
    "transposed": nn.ConvTranspose2d(2, 3, 3, 2, 1, output_padding=1),
    "transposed, groups, dilated": nn.ConvTranspose2d(2, 4, 2, 2, 0, groups=2, dilation=2),
    "depthwise": nn.Conv2d(2, 2, 3, 1, 1, groups=2),
    "nearest upsampling": nn.Upsample(scale_factor=2),
    "bilinear upsampling": nn.Upsample(scale_factor=2, mode="bilinear"),
    "pixel shuffle": nn.Sequential(nn.Conv2d(2, 4, 1), nn.PixelShuffle(2)),
    "GELU": nn.GELU(),
    "flatten": nn.Flatten(),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_between_convolutions(name):
    net = settled(nn.Sequential(nn.Conv2d(2, 2, (3, 1), 1, (1, 0)), OPERATIONS[name], nn.Tanh()))
    require_all_ways_right(net, sample(2, 7, 6), "linear", "vmap", "dense")


FUNCTIONS = {
    "permutation": lambda x: weighted(x.permute(0, 2, 3, 1)),
    "flip and roll": lambda x: weighted(x.flip(2).roll(1, 3)),
    "concatenation": lambda x: torch.cat([weighted(x), x[:, :1] ** 2], 1),
    "shifted product": lambda x: x[:, :, 1:] * x[:, :, :-1],
    "row without its place": lambda x: x[:, :, 2],
    "difference along an axis": lambda x: x.diff(dim=3),
    "in place": lambda x: torch.relu_(x.mul_(2)),
    "whole tensor as one axis": lambda x: weighted(x).view(1, -1),
    "without the samples meanwhile": lambda x: (x.view(-1) * 3).view(1, *x.shape[1:]),
    "cumulated": lambda x: x.cumsum(2),
    "scalar": lambda x: weighted(x).sum((1, 2, 3)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_rearrange(name):
    given_x = sample(2, 4, 5)
    kept = given_x.clone()
    require_all_ways_right(lambda x: FUNCTIONS[name](x.clone()), given_x, "dense")
    assert torch.equal(given_x, kept)


def test_an_in_place_function_leaves_the_sample_alone():
    x = sample(2, 4, 5)
    kept = x.clone()
    found = jacobian(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3)).double(), x)
    assert torch.equal(x, kept)
    assert found.relative_error < 1e-12


def test_a_function_that_does_not_depend_on_x_has_a_zero_jacobian():
    found = jacobian(torch.ones_like, sample(2, 3))
    assert found.frobenius_norm() == 0
    assert not found.to_dense().any()
    assert found.to_scipy().nnz == 0
    assert not found.matvec(torch.ones(6)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept_and_float32_is_as_good_as_its_rounding(dtype):
    branch = settled(preactivated(4))
    x = sample(4, 8, 8)
    reference = dense(branch, x)
    found = jacobian(branch.to(dtype), x.to(dtype))
    assert found.to_dense().dtype == found.matvec(x.flatten().to(dtype)).dtype == dtype
    error = float((found.to_dense().double() - reference).norm() / reference.norm())
    # Sums of 36 products twice over: some ten roundings.
    assert error < 10 * torch.finfo(dtype).eps
    assert found.frobenius_norm() == pytest.approx(float(reference.norm()), rel=1e-6)


def test_colours_are_few_and_the_cheaper_side_is_probed():
    branch = settled(preactivated(2, 3, 2))
    assert probes(jacobian(branch, sample(2, 11, 13), method="linear")) == 25 * 2
    strided = settled(preactivated(2, 2, 2, stride=2))
    found = jacobian(strided, sample(2, 15, 13), method="linear")
    assert found.compressed.layout.transposed  # 16 colours of outputs, 49 of inputs
    assert probes(found) == 16 * 2


def test_a_stencil_that_would_take_much_memory_is_composed_in_parts(monkeypatch):
    net = settled(nn.Sequential(nn.Conv2d(20, 2, 3), nn.Tanh(), nn.Conv2d(2, 1, 3)))
    x = sample(20, 6, 6)
    whole = jacobian(net, x, method="stencil")
    parts = []

    def counted(plan, index, channels, example):
        parts.append(channels)
        return entries(plan, index, channels, example)

    entries = attempts.stencil_entries
    monkeypatch.setattr(attempts, "stencil_entries", counted)
    monkeypatch.setattr(ways, "_EXTRA_BYTES", 4_500)
    found = jacobian(net, x, method="stencil")
    assert len(parts) > 1
    assert torch.equal(whole.to_dense(), found.to_dense())
    assert found.relative_error < 1e-12
    monkeypatch.setattr(ways, "_EXTRA_BYTES", 100)
    with pytest.raises(InputError, match="MB beside the result"):
        jacobian(net, x, method="stencil")


def test_a_long_axis_is_coloured_as_a_short_one(monkeypatch):
    net, x = settled(nn.Sequential(nn.Conv1d(1, 2, 5, 2), nn.Conv1d(2, 1, 3))), sample(1, 60)
    monkeypatch.setattr(pattern, "_SPARSE", 1)
    require_all_ways_right(net, x, "stencil", "linear")


def test_text_says_the_way_and_why_not_the_others():
    found = jacobian(settled(preactivated(2)), sample(2, 8, 8))
    assert found.method in repr(found)
    assert "(128, 128)" in repr(found)
    assert set(found.reasons) | {found.method} == {"linear", "stencil", "vmap", "dense"}
    assert all("predicted" in why for why in found.reasons.values())
    assert found.notes == []


def test_repr_of_a_path_and_its_steps_is_short():
    net = settled(preactivated(2))
    program = record(net, (sample(2, 8, 8),))
    path = Path(program, program.inputs[0], [(program.output.value, 1.0)])
    assert repr(path) == "Path((2, 8, 8) -> (2, 8, 8), 1 sample, 6 operations)"
    found = linearise(path)
    assert repr(found) == (
        f"Linearised((2, 8, 8) -> (2, 8, 8), 1 sample, {len(found.steps)} steps, torch.float64)"
    )


def test_a_recurrent_layer_is_taken_apart_and_torch_left_as_it_was():
    net = settled(nn.LSTM(3, 2, batch_first=True)).float()
    x = sample(4, 3).float()
    found = jacobian(lambda z: net(z)[0], x)
    assert torch.backends.mkldnn.enabled
    reference = dense(lambda z: net.double()(z)[0], x.double())
    # Sums of 5 products and a few activations in each of 4 steps.
    torch.testing.assert_close(found.to_dense().double(), reference, rtol=0, atol=1e-6)
    wide = jacobian(lambda z: net(z)[0].repeat(1, 1, 3), x.double())
    assert wide.shape == (24, 12)
    assert wide.relative_error < 1e-12


def test_inference_mode_changes_nothing():
    net, x = settled(preactivated(2)), sample(2, 8, 8)
    expected = jacobian(net, x)
    with torch.inference_mode():
        found = jacobian(net, x.clone())
        weights = nn.Conv2d(2, 2, 3).double()
        assert jacobian(weights, x).reasons.keys() >= {"dense"}
    assert found.method == expected.method
    assert torch.equal(found.to_dense(), expected.to_dense())


def test_the_public_names_load_no_torch_before_their_use():
    code = (
        "import sys, resprobe.linalg as l; assert 'torch' not in sys.modules; "
        "import resprobe.linalg.jacobians, resprobe.linalg.spectra; "
        "assert callable(l.jacobian) and callable(l.spectrum) and dir(l) == l.__all__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
