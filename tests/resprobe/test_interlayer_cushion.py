"""Interlayer cushions of spans, against dense Jacobians in float64, in both modes of BatchNorm."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Basic, linear_stack, post_activation, trained_looking
from torch import nn

import resprobe as package
from resprobe.blocks.intervene import Runner
from resprobe.errors import InputError
from resprobe.linalg.chain import differentiated, squared_images
from resprobe.linalg.cushions import cushion_stderr, interlayer_cushion
from resprobe.quantities import interlayer_cushion as module
from resprobe.quantities.interlayer_cushion import InterlayerCushion, cushions, reach

NAMES = ("interlayer_cushion", "interlayer_cushion_train_mode")
# float32 as stored
STORED = 3e-7


def drawn(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def measured(model, x, batches=None):
    """Give rows by name of a model's interlayer cushions."""
    with torch.no_grad():
        runner = Runner(model, x)
        measurement = InterlayerCushion(model, runner.blocks, ("a",))
        parts = []
        for batch in (x,) if batches is None else x.split(batches):
            whole = runner.run(batch, replays=False, functions=True)
            labels = torch.zeros(len(batch), dtype=torch.int64)
            parts.append(measurement.rows(whole, labels))
            measurement.add({"label": labels.numpy()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def exact(function, x):
    """Give √n ‖J x‖/(‖J‖_F ‖x‖) of one sample from the dense Jacobian."""
    matrix = torch.func.jacrev(lambda one: function(one[None])[0].flatten())(x).flatten(1)
    image = (matrix @ x.flatten()).norm()
    return float((math.sqrt(x.numel()) * image / (matrix.norm() * x.norm())).detach())


def on_own_statistics(model):
    """Copy a model whose BatchNorms normalise by the batch at hand, here of one sample."""
    own = copy.deepcopy(model)
    for part in own.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = part.running_var = part.num_batches_tracked = None
    return own


def require_spans(found, model, blocks, x, name=NAMES[0]):
    """Compare every span with the dense Jacobian of its blocks, within 5 standard errors."""
    for sample in range(len(x)):
        with torch.no_grad():
            states = [x[sample : sample + 1]]
            for part in model:
                states.append(part(states[-1]))
        for first in range(len(blocks)):
            for length in range(len(blocks)):
                value = found[name][sample, first, length]
                stderr = found[f"{name}_stderr"][sample, first, length]
                if first + length >= len(blocks):
                    assert value.isnan()
                    assert stderr.isnan()
                    continue
                span = model[blocks[first] : blocks[first + length] + 1]
                span = on_own_statistics(span) if name == NAMES[1] else span
                expected = exact(span, states[blocks[first]][0])
                assert abs(value - expected) <= 5 * stderr + 1e-6 * expected
                assert stderr <= 0.1 * expected


def test_every_span_is_that_of_its_dense_jacobian():
    model, x = trained_looking(post_activation()).eval().double(), drawn((2, 3, 5, 4))
    require_spans(measured(model, x), model, [1, 2, 3], x)


def test_in_train_mode_it_is_that_of_a_batch_of_one():
    model, x = trained_looking(post_activation()).eval().double(), drawn((2, 3, 5, 4))
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    require_spans(measured(model, x), model, [1, 2, 3], x, NAMES[1])
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())


def test_the_standard_error_covers():
    """Of 200 spans about 190 must lie within two standard errors; 175 is 5 sd below."""
    torch.manual_seed(0)
    layers = [nn.Linear(12, 12, bias=False).double().requires_grad_(False) for _ in range(2)]
    x = drawn((200, 12))
    values = cushions([differentiated(layer) for layer in layers], x, first_sample=0, block=0)
    matrix = layers[1].weight.detach() @ layers[0].weight.detach()
    expected = math.sqrt(12) * (x @ matrix.t()).norm(dim=1) / (matrix.norm() * x.norm(dim=1))
    inside = (values[1].cushion - expected).abs() <= 2 * values[1].stderr
    assert 175 <= int(inside.sum()) < 200


def test_the_identity_has_cushion_one_without_error_and_no_train_mode():
    model = linear_stack(width=7, blocks=3)
    with torch.no_grad():
        for block in model:
            block.linear.weight.zero_()
    found = measured(model, drawn((3, 7)))
    inside = np.add.outer(np.arange(3), np.arange(3)) < 3
    assert found["interlayer_cushion"].shape == (3, 3, 3)
    for sample in range(3):
        values = found["interlayer_cushion"][sample].numpy()
        np.testing.assert_allclose(values[inside], 1, rtol=STORED)
        assert np.isnan(values[~inside]).all()
        assert (found["interlayer_cushion_stderr"][sample].numpy()[inside] < STORED).all()
        flags = found["interlayer_cushion_converged"][sample].numpy()
        assert (flags == np.where(inside, 1, -1)).all()
    assert found["interlayer_cushion_train_mode"].isnan().all()
    assert (found["interlayer_cushion_train_mode_converged"] == -1).all()


def test_a_linear_stack_has_that_of_its_matrix_product():
    model, x = linear_stack(), drawn((2, 6))
    require_spans(measured(model, x), model, [0, 1, 2, 3], x)


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_scale_does_not_matter(seed, first, second):
    matrix, x = drawn((5, 8), seed), drawn((2, 8), seed + 1)
    found, scaled = (
        cushions([differentiated(lambda z, m=m: z @ m.t())], z, first_sample=0, block=0)[0]
        for m, z in ((matrix, x), (second * matrix, first * x))
    )
    # sums of squares of 5 to 8 terms, scaled
    torch.testing.assert_close(scaled.cushion, found.cushion, rtol=1e-13, atol=0)
    torch.testing.assert_close(scaled.stderr, found.stderr, rtol=1e-9, atol=1e-15)


def test_the_formula_and_its_error_by_five_numbers():
    numbers = [torch.tensor(value, dtype=torch.float64) for value in (9.0, 4.0, 2.0, 0.1)]
    image, x, norm, error = numbers
    found = interlayer_cushion(image, x, norm, 16)
    assert float(found) == 4 * 3 / (2 * 2)
    # two float64 products
    assert float(cushion_stderr(found, norm, error)) == pytest.approx(3 * 0.1 / 2, rel=1e-15)
    assert interlayer_cushion(image, x, torch.zeros_like(norm), 16).isnan()


class Plain(nn.Module):
    """The plain block of Yu & Tomasi: twice convolution, BatchNorm, ReLU."""

    def __init__(self, width):
        super().__init__()
        basic = Basic(width)
        self.body = nn.Sequential(
            basic.conv1, basic.bn1, nn.ReLU(), basic.conv2, basic.bn2, nn.ReLU()
        )

    def forward(self, x):
        return self.body(x)


def plain(width=8):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), *[Plain(width) for _ in range(2)])
    net.plain_units = ("1", "2")
    return net


def test_in_train_mode_a_plain_block_of_convolution_and_batch_norm_is_blind_to_scale():
    """J x is 0 by Euler's theorem; what is left is BatchNorm's ε beside a variance of order 1.

    Yu & Tomasi 2019, Sec. 5, print 2.7e-7 for a plain block and .20 for a residual one.
    """
    model = plain().eval()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.mul_(4)
    found = measured(model, drawn((2, 3, 6, 6), dtype=torch.float32))
    eval_mode, train_mode = (found[name][:, :, 0] for name in NAMES)
    assert (eval_mode > 0.3).all()
    assert (train_mode <= 1e-4).all()
    residual = measured(post_activation().eval(), drawn((2, 3, 6, 6), dtype=torch.float32))
    assert (residual[NAMES[1]][:, :, 0] > 0.05).all()


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_what_is_left_goes_with_epsilon_over_the_variance(eps):
    """The law μ ∝ ε/Var(output of the convolution) over a factor of 100 in the variance."""
    products = []
    for scale in (1.0, 10.0):
        model = plain().eval().double()
        with torch.no_grad():
            model[0].weight.mul_(scale)
            model[0].bias.zero_()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = eps
        x = drawn((2, 3, 6, 6))
        mu = measured(model, x)[NAMES[1]][:, 0, 0].double()
        variance = model[1].body[0](model[0](x)).var(dim=(2, 3)).mean(1).detach()
        products.append(mu * variance / eps)
    # of first order in ε/Var, which is up to 0.01; and ReLU's pattern is that of x in both
    torch.testing.assert_close(products[0], products[1], rtol=0.05, atol=0)


def test_without_a_variance_there_is_no_training_mode_and_the_other_one_stays():
    """A map of one pixel has one value of each channel."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Basic(4), nn.AvgPool2d(4), Basic(4))
    found = measured(trained_looking(model).eval().double(), drawn((2, 3, 4, 4)))
    assert found[NAMES[0]].isfinite().tolist() == [[[True, True], [True, False]]] * 2
    assert found[NAMES[1]].isfinite().tolist() == [[[True, False], [False, False]]] * 2


def test_the_batch_does_not_matter():
    model, x = trained_looking(post_activation()).eval().double(), drawn((4, 3, 4, 4))
    whole, parts = measured(model, x), measured(model, x, batches=1)
    for name, values in whole.items():
        # float32 of sums in another order
        torch.testing.assert_close(parts[name], values, rtol=1e-6, atol=0, equal_nan=True)


def test_little_memory_takes_more_turns_and_gives_the_same(monkeypatch):
    model, x = trained_looking(post_activation()).eval().double(), drawn((2, 3, 4, 4))
    expected = measured(model, x)
    monkeypatch.setattr(module, "_ROOM", 1000)
    for name, values in measured(model, x).items():
        torch.testing.assert_close(values, expected[name], rtol=1e-6, atol=0, equal_nan=True)


class Across(nn.Module):
    """The second block reads the first one's input once more; the third is pooled before."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.convs = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)])
        self.head = nn.Linear(4, 2)

    def parts(self):
        def first(x):
            return x + torch.tanh(self.convs[0](x))

        def second(y, x):
            return y + torch.tanh(self.convs[1](y * torch.sigmoid(x)))

        def third(z):
            return z + torch.tanh(self.convs[2](z))

        return first, second, third

    def forward(self, image):
        first, second, third = self.parts()
        x = self.stem(image)
        z = F.avg_pool2d(second(first(x), x), 2)
        return self.head(third(z).mean((2, 3)))


def test_a_connection_across_blocks_and_a_step_between_them_count():
    model, image = Across().double(), drawn((2, 3, 4, 4))
    with torch.no_grad():
        runner = Runner(model, image)
        assert [block.follows for block in runner.blocks] == [False, True, True]
        whole = runner.run(image, functions=True)
    assert [reach(whole, runner.blocks, block) for block in range(3)] == [0, 1, 2]
    found = measured(model, image)
    first, second, third = model.parts()
    pool = lambda z: F.avg_pool2d(z, 2)  # noqa: E731
    for sample in range(2):
        x = model.stem(image[sample : sample + 1]).detach()
        y = first(x).detach()
        spans = {
            (0, 0): (first, x),
            (0, 1): (lambda v: second(first(v), v), x),
            (0, 2): (lambda v: third(pool(second(first(v), v))), x),
            (1, 0): (lambda v, x=x: second(v, x), y),
            (1, 1): (lambda v, x=x: third(pool(second(v, x))), y),
            (2, 0): (third, pool(second(y, x)).detach()),
        }
        for (start, length), (function, point) in spans.items():
            value = found["interlayer_cushion"][sample, start, length]
            stderr = found["interlayer_cushion_stderr"][sample, start, length]
            assert abs(value - exact(function, point[0])) <= 5 * stderr + 1e-6


def test_blocks_that_do_not_follow_each_other_have_no_span():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            a = x + torch.tanh(self.left(x))
            b = 2 * x
            return torch.cat([a, b + torch.tanh(self.right(b))], 1)

    model, x = Two().double(), drawn((3, 4))
    with torch.no_grad():
        runner = Runner(model, x)
        assert [block.follows for block in runner.blocks] == [False, False]
        whole = runner.run(x, functions=True)
        with pytest.raises(InputError, match="does not start from what block"):
            whole.path(*runner.blocks)
    found = measured(model, x)["interlayer_cushion"]
    assert found[:, :, 0].isfinite().all()
    assert found[:, 0, 1].isnan().all()


def test_random_numbers_and_numbers_that_are_not_finite_are_refused():
    model = post_activation().double()
    model[1].bn1 = nn.Dropout(0.5)
    model.train()
    x = drawn((2, 3, 4, 4))
    with torch.no_grad():
        runner = Runner(model, x)
        whole = runner.run(x, functions=True)
        with pytest.raises(InputError, match="random"):
            InterlayerCushion(model, runner.blocks, ("a",)).try_on(whole)
    model = trained_looking(post_activation()).eval().double()
    with torch.no_grad():
        model[2].conv1.weight[0, 0, 0, 0] = math.inf
    with pytest.raises(InputError, match="not finite"):
        measured(model, x)


def test_a_chain_gives_every_beginning_and_the_values_on_the_way():
    matrices = [drawn((4, 4), seed) for seed in range(3)]
    links = [differentiated(lambda z, m=m: torch.tanh(z @ m.t())) for m in matrices]
    x, tangents = drawn((2, 4), 5), drawn((3, 2, 4), 6)
    found = list(squared_images(links, x, tangents))
    value, matrix = x, torch.eye(4, dtype=torch.float64).expand(2, 4, 4)
    for m, squares in zip(matrices, found, strict=True):
        value = torch.tanh(value @ m.t())
        matrix = (1 - value**2)[:, :, None] * (m @ matrix)
        expected = torch.einsum("sij,psj->psi", matrix, tangents).square().sum(-1)
        torch.testing.assert_close(squares, expected, rtol=1e-12, atol=0)


def test_a_run_holds_both_modes_and_what_was_told_of_the_estimates(run, resprobe):
    result = resprobe("collect", run, "--quantity", "interlayer_cushion", "--samples", 10)
    assert result.exit_code == 0, result.output
    assert resprobe("check", run).exit_code == 0
    (path,) = run.glob("collected/*/interlayer-cushion.h5")
    with package.open(path) as tree:
        data = tree["interlayer-cushion"].to_dataset().load()
    inside = np.add.outer(np.arange(3), np.arange(3)) < 3
    for name, mode in zip(NAMES, ("eval", "train, batch of one"), strict=True):
        assert data[name].dims == ("sample", "block", "length")
        assert data[name].attrs["batch_norm_mode"] == mode
        assert data[name].attrs["exactness"] == "estimate"
        assert (np.isfinite(data[name].values) == inside).all()
        assert (data[f"{name}_stderr"].values[:, inside] > 0).all()
        assert (data[f"{name}_converged"].values[:, ~inside] == -1).all()
