"""What a Jacobian is refused for, what it falls back to, and how it says so."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jacobian_cases import CLOSE, dense, sample, settled
from torch import nn

from resprobe.blocks.path import Path
from resprobe.blocks.program import record
from resprobe.errors import InputError
from resprobe.linalg import attempts, jacobian, jacobians, pattern, probing
from resprobe.linalg.jacobians import frobenius_norms
from resprobe.linalg.jacobians import jacobians as of_each
from resprobe.linalg.linear_map import Dense
from resprobe.linalg.linearise import linearise


class SqueezeAndExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, 1, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        y = self.conv(x)
        return y * torch.sigmoid(self.gate(self.pool(y)))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attend(x, x, x, need_weights=False)[0]


class BatchStatistics(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(2, 2, 3, 1, 1), nn.BatchNorm2d(2), nn.ReLU())


REFUSED = {
    "squeeze-and-excite": (SqueezeAndExcite(), (2, 5, 4), ["every output", "in pool"]),
    "attention": (Attention(), (5, 4), ["in attend"]),
    "spatial LayerNorm": (
        nn.Sequential(nn.Conv2d(2, 2, 3), nn.LayerNorm([2, 3, 2])),
        (2, 5, 4),
        ["LayerNorm", "in 1"],
    ),
    "GroupNorm": (
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4)),
        (2, 5, 4),
        ["GroupNorm", "in 1"],
    ),
    "softmax": (nn.Softmax(1), (2, 5, 4), ["softmax"]),
    "linear layer": (
        nn.Sequential(nn.Flatten(), nn.Linear(40, 3)),
        (2, 5, 4),
        ["in 1", "joins every input, so there is no sparsity"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_destroys_the_pattern_is_named_and_the_dense_way_is_gone(name):
    net, shape, words = REFUSED[name]
    net, x = settled(net), sample(*shape)
    found = jacobian(net, x)
    assert found.method == "dense"
    torch.testing.assert_close(found.to_dense(), dense(net, x), **CLOSE)
    for way in ("linear", "vmap"):
        assert all(word in found.reasons[way] for word in words), found.reasons
        with pytest.raises(InputError, match="can't be used here"):
            jacobian(net, x, method=way)
    assert "stencil" in found.reasons


def test_batch_norm_in_training_mode_is_named_and_its_statistics_are_set_back():
    net, x = settled(BatchStatistics()).train(), sample(2, 5, 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = jacobian(net, x)
    assert found.method == "dense"
    assert "BatchNorm" in found.reasons["linear"]
    assert "in 1" in found.reasons["linear"]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    torch.testing.assert_close(found.to_dense(), dense(net, x), **CLOSE)


def test_dropout_in_training_mode_is_refused():
    with pytest.raises(InputError, match="random"):
        jacobian(nn.Sequential(nn.Conv2d(2, 2, 3), nn.Dropout(0.5)).double(), sample(2, 5, 5))
    net = settled(nn.Sequential(nn.Conv2d(2, 2, 3), nn.Dropout(0.5)))
    assert jacobian(net, sample(2, 5, 5)).relative_error < 1e-12


@pytest.mark.parametrize(
    ("f", "x", "words"),
    [
        (torch.sin, torch.zeros(2, 3), r"x\[None\] if .* x\[:1\]"),
        (torch.sin, torch.zeros(0, 3), "at least one sample"),
        (torch.sin, torch.zeros(1, 0), "at least one sample"),
        (torch.sin, torch.tensor(1.0), r"give x.reshape\(1, 1\)"),
        (torch.sin, [1.0], "torch.as_tensor"),
        (torch.sin, np.zeros((1, 3)), "torch.as_tensor"),
        ("abc", torch.zeros(1, 3), "not str"),
        (None, torch.zeros(1, 3), "not NoneType"),
        (torch.sin, torch.zeros(1, 3, dtype=torch.int64), "float32 or float64.*embeddings"),
        (torch.sin, torch.zeros(1, 3, dtype=torch.complex64), "float32 or float64.*real"),
        (torch.sin, torch.zeros(1, 3, dtype=torch.bfloat16), r"the model in float32\.$"),
        (F.dropout, torch.ones(1, 3), "dropout in the function itself"),
        (lambda x: (x, x), torch.zeros(1, 3), "f gives tuple"),
        (lambda x: x.sum(), torch.zeros(1, 3), "axis of the samples"),
        (lambda x: x.expand(3, 3), torch.zeros(1, 3), "axis of the samples"),
        (lambda x: x[:, :0], torch.zeros(1, 3), "something in it"),
        (lambda x: x.argmax(1), torch.zeros(1, 3), "no derivative"),
        (lambda x: x / 0, torch.ones(1, 3), "f\\(x\\) is not finite"),
        (torch.sqrt, torch.zeros(1, 3), "Jacobian is not finite here: first .*sqrt"),
    ],
)
def test_bad_input_is_one_sentence_of_what_to_do(f, x, words):
    with pytest.raises(InputError, match=words):
        jacobian(f, x)


def test_an_unknown_way_is_refused():
    with pytest.raises(InputError, match="one of auto, stencil"):
        jacobian(torch.sin, torch.zeros(1, 3), method="exact")


def test_a_vector_of_the_wrong_length_is_refused():
    found = jacobian(lambda x: x[:, :2], torch.zeros(1, 3))
    with pytest.raises(InputError, match="length 3"):
        found.matvec(torch.zeros(2))
    with pytest.raises(InputError, match="length 2"):
        found.rmatvec(torch.zeros(1, 3))


def test_the_module_that_first_gave_what_is_not_finite_is_named():
    net = settled(nn.Sequential(nn.Conv2d(2, 2, 3, 1, 1), nn.BatchNorm2d(2)))
    net[1].running_var.fill_(float("nan"))
    with pytest.raises(InputError, match="first so in 1"):
        jacobian(net, sample(2, 4, 4))


def plain():
    return settled(nn.Sequential(nn.Conv2d(2, 2, 3, 1, 1), nn.Tanh(), nn.Conv2d(2, 2, 3, 1, 1)))


composed = attempts.stencil_entries
windows_of_convolution = pattern._convolution


def test_a_wrong_pattern_is_caught_and_the_dense_way_is_gone(monkeypatch):
    def narrow(step, shape):
        matrices, out = windows_of_convolution(step, shape)
        matrices[2, 2] = matrices[2, 2] & ~np.eye(shape[2], dtype=bool)
        return matrices, out

    net, x = plain(), sample(2, 9, 8)
    monkeypatch.setattr(pattern, "_convolution", narrow)
    # The stencil rests on no pattern: it is made wrong on its own.
    monkeypatch.setattr(attempts, "stencil_entries", lambda *args: composed(*args) * 1.001)
    found = jacobian(net, x)
    assert found.method == "dense"
    assert all("off by" in found.reasons[way] for way in ("linear", "vmap", "stencil"))
    assert found.linear_map is None
    assert any(note.startswith("linear") for note in found.notes)
    torch.testing.assert_close(found.to_dense(), dense(net, x), **CLOSE)
    with pytest.raises(InputError, match="agrees with its own derivative"):
        jacobian(net, x, method="linear")


@pytest.mark.parametrize("number", [0, 100, 700])
def test_one_wrong_entry_is_caught(monkeypatch, number):
    def off(*args):
        found = composed(*args)
        flat = found.movedim(0, -1).view(-1)
        flat[flat.nonzero()[number]] *= 1.01
        return found

    monkeypatch.setattr(attempts, "stencil_entries", off)
    net = plain().float()
    with pytest.raises(InputError, match="agrees with its own derivative"):
        jacobian(net, sample(2, 9, 8).float(), method="stencil")


def test_a_wrong_linear_map_is_caught_and_differentiated_anew():
    net, x = plain(), sample(2, 4, 3)
    found = of_each(Dense(dense(net, x)[None] * 1.01, (2, 4, 3), (2, 4, 3)), net, x)[0]
    assert found.method == "dense"
    assert found.notes
    torch.testing.assert_close(found.to_dense(), dense(net, x), **CLOSE)


def test_a_function_that_is_another_each_time_is_refused():
    scale = iter(range(1, 100))
    with pytest.raises(InputError, match="the same function each time"):
        jacobian(lambda x: x * next(scale), torch.ones(1, 3))


def test_when_memory_runs_out_the_parts_are_halved_and_it_is_said(monkeypatch):
    net, x = plain(), sample(2, 9, 8)
    product = Dense.matvec

    class Small(Dense):
        def matvec(self, v):
            if len(v) > 20:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
            return product(self, v)

    few = Small(dense(net, x)[None], (2, 9, 8), (2, 9, 8))
    found = of_each(few, net, x)[0]
    assert found.notes == [
        "memory ran out with 144 probes at once; went on with 72",
        "memory ran out with 72 probes at once; went on with 36",
        "memory ran out with 36 probes at once; went on with 18",
    ]
    torch.testing.assert_close(found.to_dense(), dense(net, x), **CLOSE)


def test_an_operation_without_a_derivative_is_named():
    class Undifferentiable(Dense):
        def matvec(self, v):
            raise NotImplementedError("forward AD with a_layer is not there\nPlease file an issue")

    x = sample(2, 3)
    with pytest.raises(InputError, match=r"a_layer is not there; build it of"):
        of_each(Undifferentiable(torch.eye(6).double()[None], (2, 3), (2, 3)), lambda x: x, x)


def test_when_even_one_probe_is_too_much_it_says_how_much_it_is():
    class Nothing(Dense):
        def matvec(self, v):
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9")

    x = sample(2, 3)
    with pytest.raises(InputError, match="memory ran out"):
        of_each(Nothing(torch.eye(6).double()[None], (2, 3), (2, 3)), lambda x: x, x)


def test_what_is_larger_than_the_memory_is_refused_before_it_is_tried(monkeypatch):
    monkeypatch.setattr(jacobians, "_memory", lambda device: 100.0)
    with pytest.raises(InputError, match=r"^this Jacobian .* takes .* GB; .*lanczos"):
        jacobian(plain(), sample(2, 9, 8))


def batch_of(net, x):
    with torch.no_grad():
        program = record(net, (x,))
    path = Path(program, program.inputs[0], [(program.output.value, 1.0)])
    return linearise(path), path


@pytest.mark.parametrize("method", ["stencil", "linear", "vmap", "dense"])
def test_a_batch_gives_the_jacobians_and_norms_of_its_samples(method):
    net = plain()
    x = torch.cat([sample(2, 5, 4, seed=seed) for seed in range(3)])
    linear_map, path = batch_of(net, x)
    found = of_each(linear_map, path, x, method=method)
    norms = frobenius_norms(linear_map, path, x, method=method)
    assert norms.method == method
    assert norms.norms.dtype == torch.float64
    assert float(norms.relative_errors.max()) < 1e-12
    for index, each in enumerate(found):
        reference = dense(net, x[index : index + 1])
        torch.testing.assert_close(each.to_dense(), reference, **CLOSE)
        v = sample(40).flatten()
        product = each.linear_map.matvec(v.view(1, 1, 2, 5, 4))
        torch.testing.assert_close(product.flatten(), reference @ v, **CLOSE)
        torch.testing.assert_close(norms.norms[index], reference.norm(), rtol=1e-12, atol=0)


def test_norms_are_added_up_in_parts(monkeypatch):
    net, x = plain(), sample(2, 6, 6)
    monkeypatch.setattr(attempts, "_AT_ONCE", 1)
    monkeypatch.setattr(probing, "_AT_ONCE", {"cpu": 1})
    linear_map, path = batch_of(net, x)
    for method in ("stencil", "linear"):
        norms = frobenius_norms(linear_map, path, x, method=method)
        torch.testing.assert_close(norms.norms[0], dense(net, x).norm(), rtol=1e-12, atol=0)
        assert float(norms.relative_errors[0]) < 1e-12


def test_no_samples_are_refused():
    with pytest.raises(InputError, match="one sample or more"):
        jacobians.frobenius_norms(Dense(torch.zeros(0, 2, 2)), lambda x: x, torch.zeros(0, 2))


@pytest.mark.parametrize("samples", [1, 2])
def test_samples_need_not_be_in_front(samples):
    class SequenceFirst(nn.Module):
        def forward(self, x):
            return torch.tanh(x).roll(1, 0) * x

    x = torch.cat([sample(5, 3, seed=seed) for seed in range(samples)]).transpose(0, 1)
    with torch.no_grad():
        program = record(SequenceFirst(), (x,))
    path = Path(program, program.inputs[0], [(program.output.value, 1.0)], axis=1)
    found = of_each(linearise(path), path, path.point())
    for index, each in enumerate(found):
        reference = dense(SequenceFirst(), x[:, index : index + 1])
        torch.testing.assert_close(each.to_dense(), reference, **CLOSE)
    # One sample keeps its structure: two probes do.
    assert found[0].method == ("linear" if samples == 1 else "dense")
