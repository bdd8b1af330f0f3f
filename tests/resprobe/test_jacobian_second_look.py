"""What two derivatives agree on and the values of the function do not."""

import numpy as np
import pytest
import torch
from jacobian_cases import CLOSE, dense, sample, settled
from torch import nn

from resprobe.errors import InputError
from resprobe.linalg import jacobian
from resprobe.linalg.second_look import SecondLook

DTYPES = [torch.float32, torch.float64]


class Fivefold(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        return 2 * a

    @staticmethod
    def backward(ctx, gradient):
        return 5 * gradient


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        return a.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def by_numpy(z):
    return torch.from_numpy(np.asarray(z.detach().tolist())).to(z.dtype) * 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "f", [by_numpy, lambda z: torch.full((1, 3), z.sum().item(), dtype=z.dtype)]
)
def test_numbers_that_leave_torch_are_refused(f, dtype):
    with pytest.raises(InputError, match="numbers leave torch"):
        jacobian(f, sample(4).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_part_that_leaves_torch_is_noted_with_its_size(dtype):
    x = sample(6).to(dtype)
    found = jacobian(lambda z: z * z.sum().item(), x)
    (note,) = found.notes
    assert "central difference" in note
    assert ".item()" in note
    assert ", 1 note)" in repr(found)
    # It is the identity times a number that was taken as constant.
    torch.testing.assert_close(found.to_dense(), torch.eye(6, dtype=dtype) * x.sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("function", "factor"), [(Fivefold, 2.0), (StraightThrough, 0.0)])
def test_a_backward_of_its_own_is_noted_and_the_values_are_differentiated(function, factor, dtype):
    found = jacobian(function.apply, sample(5).to(dtype))
    (note,) = found.notes
    assert "backward" in note
    torch.testing.assert_close(found.to_dense(), factor * torch.eye(5, dtype=dtype))


def test_a_backward_of_its_own_after_batch_norm_is_noted_too():
    net = settled(nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))).train()
    found = jacobian(lambda z: Fivefold.apply(net(z)), sample(2, 6, 6))
    assert any("backward pass" in note for note in found.notes)


class FivefoldForwards(torch.autograd.Function):
    @staticmethod
    def forward(a):
        return 2 * a

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def jvp(ctx, tangent):
        return 5 * tangent


def without_gradient(z):
    with torch.no_grad():
        part = z * 3
    return part + torch.sin(z)


def test_what_is_computed_without_gradients_is_differentiated_as_all_values_are():
    x = sample(6)
    found = jacobian(without_gradient, x)
    torch.testing.assert_close(found.to_dense(), torch.diag(3 + torch.cos(x[0])), **CLOSE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda z: z.detach() * 2, "f detaches part of its input"),
        (lambda z: torch.sin(z) + z.detach(), "f detaches part of its input"),
        (lambda z: z + (z.round() - z).detach(), "derivative is not that of its values"),
        (FivefoldForwards.apply, "has a derivative of its own"),
    ],
)
def test_stopped_gradients_are_named(f, words, dtype):
    with pytest.raises(InputError, match=words):
        jacobian(f, sample(6).to(dtype))


RIGHT = {
    "kinks at x": (nn.ReLU(), torch.zeros(1, 5)),
    "jump at x": (lambda z: (z > 0).to(z.dtype) + z, torch.zeros(1, 5)),
    "edge of the domain": (torch.sqrt, torch.full((1, 5), 1e-30)),
    "many kinks": (
        settled(nn.Sequential(*[nn.Linear(20, 20), nn.ReLU()] * 6)).float(),
        sample(20).float(),
    ),
    "small x, large bias": (nn.Sequential(nn.Linear(9, 9), nn.ReLU()), torch.full((1, 9), 1e-6)),
    "faster than the step": (lambda z: torch.sin(30 * z), 1e3 * sample(30).float()),
    "constant": (torch.ones_like, torch.ones(1, 4)),
    "curved": (lambda z: z**5 - z.abs() ** 3, sample(30)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_said_of_what_is_right(name):
    f, x = RIGHT[name]
    assert jacobian(f, x).notes == []


def test_the_values_are_looked_at_as_they_were_recorded():
    class Counting(nn.Module):
        """Reads what it has written: the same function only if that is set back."""

        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.ones((), dtype=torch.float64))

        def forward(self, x):
            self.calls.mul_(2)
            return x**2 * self.calls

    net, x = Counting(), sample(5)
    found = jacobian(net, x)
    assert found.notes == []
    assert net.calls == 1
    torch.testing.assert_close(found.to_dense(), torch.diag(4 * x[0]), **CLOSE)


def test_a_function_that_fails_beside_x_is_given_with_a_note():
    def narrow(z):
        if float(z.detach().abs().max()) > 1:
            raise ValueError("not in [-1, 1]")
        return z * 2

    found = jacobian(narrow, torch.ones(1, 3))
    assert found.notes == ["not compared with the values of f, which failed beside x: "
                           "not in [-1, 1]"]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tolerance_is_loose_in_float32_and_tight_in_float64(dtype):
    x = sample(8).to(dtype)
    net = settled(nn.Sequential(nn.Linear(8, 8), nn.Tanh())).to(dtype)
    v = torch.ones(8, dtype=dtype)
    with torch.no_grad():
        look = SecondLook(net, x, net(x), v)
        right = dense(net, x).to(dtype) @ v
    wrong = 0.05 if dtype == torch.float32 else 1e-4
    assert look.off(right) == 0
    assert look.off(right * (1 + wrong)) == pytest.approx(wrong, rel=0.2)
