"""The function from one value of a recorded pass to another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from linearised import EPS, TOLERANCE, path_of, relative, state
from torch import nn

from resprobe.blocks.discover import discover
from resprobe.blocks.path import Path
from resprobe.blocks.program import record
from resprobe.errors import InputError


class Function(nn.Module):
    def __init__(self, function, *parts):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        return self.function(x, *self.parts)


class Residual(nn.Module):
    """Writes into its sum, its activation and its running statistics."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        out = self.bn(self.conv(F.relu(x)))
        out += x
        return F.relu_(out)


def images(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def model():
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(3, 3, 1), Residual(), Residual(), nn.Flatten()).double().eval()


def test_a_branch_a_block_and_a_span_give_what_was_recorded():
    net, x = model(), images(2, 3, 4, 4)
    with torch.no_grad():
        program = record(net, (x,))
    first, second = discover(net, program)
    branch = Path(program, first.input, [(o.value, o.factor) for o in first.branch])
    block = Path(program, first.input, [(first.output, 1.0)])
    span = Path(program, first.input, [(second.output, 1.0)])
    total = program.kept[first.shortcut] + branch(branch.point())
    assert relative(total, program.kept[first.total]) <= TOLERANCE
    assert relative(block(block.point()), program.kept[first.output]) <= TOLERANCE
    assert relative(span(span.point()), program.kept[second.output]) <= TOLERANCE
    other = images(2, 3, 4, 4).flip(0)
    assert relative(span(other), net[2](net[1](other)).detach()) <= TOLERANCE


def test_nothing_of_the_model_or_of_the_pass_is_written():
    net, x = model(), images(2, 3, 4, 4)
    with torch.no_grad():
        program = record(net, (x,))
    before = state(net)
    kept = {value: tensor.clone() for value, tensor in program.kept.items()}
    path = Path(program, program.inputs[0], [(program.output.value, 1.0)])
    y = images(2, 3, 4, 4) + 1
    given = y.clone()
    path(y)
    torch.func.jvp(path, (y,), (given,))
    torch.func.vjp(path, y)[1](path(y))
    assert all(map(torch.equal, before, state(net)))
    assert all(torch.equal(tensor, kept[value]) for value, tensor in program.kept.items())
    assert torch.equal(y, given)


def test_more_writes_to_one_tensor_than_python_recurses():
    def function(x):
        y = x * 1
        row = y[:, 0]
        for _ in range(1100):
            row.add_(0.001)
        return y

    x = images(2, 3)
    path = path_of(Function(function), x)
    expected = x + torch.tensor([1.1, 0, 0], dtype=torch.float64)
    assert relative(path(x), expected) <= 1100 * EPS  # one rounding for each addition


def test_it_is_differentiable_and_leaves_the_parameters_alone():
    net, x = model(), images(2, 3, 4, 4)
    path = path_of(net, x)
    y = x.clone().requires_grad_()
    path(y).square().sum().backward()
    mine = y.grad.clone()
    y.grad = None
    net(y).square().sum().backward()
    assert relative(mine, y.grad) <= TOLERANCE
    assert not path(x).requires_grad


def test_transforms_agree_with_finite_differences():
    net, x = model(), images(2, 3, 4, 4)
    path = path_of(net, x)
    v = images(3, 2, 3, 4, 4)
    pushed = torch.func.vmap(lambda t: torch.func.jvp(path, (x,), (t,))[1])(v)
    step = 1e-6  # the error of a central difference is about step² + eps / step
    quotients = torch.stack([(path(x + step * t) - path(x - step * t)) / (2 * step) for t in v])
    assert relative(pushed, quotients) <= 1e3 * (step**2 + EPS / step)


def test_only_what_needs_names_must_be_kept():
    net, x = model(), images(2, 3, 4, 4)
    with torch.no_grad():
        plan = record(net, (x,), keep=())
        block = discover(net, plan).blocks[1]
        output = [(operand.value, operand.factor) for operand in block.branch]
        needed = Path.needs(plan, block.input, output)
        program = record(net, (x,), keep=needed)
    assert needed == {block.input}
    path = Path(program, block.input, output)
    inner = net[2]
    expected = inner.bn(inner.conv(F.relu(path.point()))).detach()
    assert relative(path(path.point()), expected) <= TOLERANCE


def test_constants_within_the_path_are_made_anew():
    weight = images(4, 3).requires_grad_()
    side = images(2, 4)

    def function(x):
        start = side * 2
        y = x * 1
        scaled = weight / weight.norm()
        return F.linear(y, scaled) + start.sin_() + torch.arange(4, dtype=torch.float64)

    x = images(2, 3)
    module = Function(function)
    with torch.no_grad():
        plan = record(module, (x,), keep=())
        source = plan.operations[1].writes[0]
        terms = [(plan.output.value, 1.0)]
        program = record(module, (x,), keep=Path.needs(plan, source, terms))
        path = Path(program, source, terms)
        assert relative(path(x), function(x)) <= TOLERANCE


def test_what_was_not_kept_is_named():
    x = images(2, 3, 4, 4)
    with torch.no_grad():
        program = record(Function(lambda z: z.sin() * z.cos()), (x,), keep=())
        sine = program.operations[0].writes[0]
    with pytest.raises(InputError, match="not kept"):
        Path(program, sine, [(program.output.value, 1.0)])
    path = Path(program, program.inputs[0], [(program.output.value, 1.0)])
    with pytest.raises(InputError, match="not kept"):
        path.point()


def test_another_number_of_samples_is_refused():
    path = path_of(model(), images(2, 3, 4, 4))
    with pytest.raises(InputError, match="as recorded"):
        path(images(3, 3, 4, 4))


@pytest.mark.parametrize(
    "module",
    [
        nn.Dropout(0.5),
        nn.Dropout(0.5, inplace=True),
        nn.RReLU(),
        Function(lambda x: x * torch.rand(4)),
        Function(lambda x: x * torch.empty_like(x).bernoulli_(0.5).div_(0.5)),
        Function(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)),
    ],
)
def test_random_numbers_are_refused_by_the_name_of_what_draws_them(module):
    net = nn.Sequential(nn.Identity(), module).train()
    with pytest.raises(InputError, match="at layer 1 draws random numbers"):
        path_of(net, images(2, 2, 3, 4).float())


def test_a_random_number_from_before_the_path_is_a_constant():
    x = images(2, 3)
    module = Function(lambda z: torch.rand(3, dtype=torch.float64) * (z * 2).sin())
    with torch.no_grad():
        program = record(module, (x,))
        doubled = next(op for op in program.operations if op.writes and op.reads).writes[0]
        path = Path(program, doubled, [(program.output.value, 1.0)])
    assert relative(path(path.point()), program.kept[program.output.value]) <= TOLERANCE


def test_memory_that_is_read_by_strides_is_refused():
    module = nn.Sequential(Function(lambda x: x.as_strided((2, 2), (1, 1)) * 2))
    with pytest.raises(InputError, match=r"as_strided.* in 0 .*strides"):
        path_of(module, images(3, 2))


def test_a_write_into_memory_from_before_the_path_is_refused_where_it_matters():
    x = images(2, 4)

    def function(z):
        base = z * 2
        part = base[:, :2]
        part.relu_()
        return base.sum(1)

    with torch.no_grad():
        program = record(Function(function), (x,))
        view = next(op for op in program.operations if op.function.is_view).writes[0]
    with pytest.raises(InputError, match="shares"):
        Path(program, view, [(program.output.value, 1.0)])


def test_numbers_that_python_reads_stay_as_they_were():
    module = Function(lambda x: x * 2 if x.sum().item() > 0 else -x)
    x = images(2, 3).abs()
    path = path_of(module, x)
    assert torch.equal(path(-x), -2 * x)


def test_a_detached_tensor_is_still_a_function_of_the_input():
    x = images(2, 3)
    path = path_of(Function(lambda z: z.detach() * z), x)
    pushed = torch.func.jvp(path, (x,), (torch.ones_like(x),))[1]
    assert relative(pushed, 2 * x) <= TOLERANCE


def test_half_precision_inside_is_run_as_recorded():
    x = images(2, 3)
    path = path_of(Function(lambda z: z.float().sin().double()), x)
    assert torch.equal(path(x), x.float().sin().double())


def test_training_statistics_are_those_of_each_sample():
    net, x = nn.BatchNorm2d(3).double(), images(3, 3, 4, 4)
    nn.init.normal_(net.weight)
    path = path_of(net.eval(), x, batch_norm="train")
    before = state(net)
    found = path(x)
    assert all(map(torch.equal, before, state(net)))
    expected = torch.cat([net.train()(one) for one in x.split(1)]).detach()
    assert relative(found, expected) <= TOLERANCE


def test_a_batch_of_one_without_a_variance_is_refused():
    path = path_of(nn.BatchNorm1d(3).double().eval(), images(2, 3), batch_norm="train")
    with pytest.raises(InputError, match="no variance"):
        path(images(2, 3))


def test_batch_norm_as_recorded_in_training_leaves_its_buffers():
    net, x = nn.BatchNorm2d(3).double().train(), images(3, 3, 4, 4)
    path = path_of(net, x)
    before = state(net)
    found = path(x)
    assert all(map(torch.equal, before, state(net)))
    assert relative(found, net(x).detach()) <= TOLERANCE
