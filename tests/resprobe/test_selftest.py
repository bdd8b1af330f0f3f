"""The instrument's proof, and that each of its checks can fail."""

import pytest
import torch
from nets import post_activation
from torch import nn

from resprobe import registry
from resprobe.blocks import selftest
from resprobe.blocks.operations import Program
from resprobe.blocks.selftest import prove, self_test
from resprobe.errors import InputError, ViolationError

X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(3))


class WithBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        return x + self.linear(x)


@pytest.mark.parametrize(
    "arguments",
    [{"depth": 14}, {"depth": 14, "activation": "post", "h": 0.1}, {"depth": 8, "residual": False}],
    ids=str,
)
def test_the_self_test_holds_on_bundled_nets(arguments):
    torch.manual_seed(0)
    net = registry.load("models", "cifar-resnet")(**arguments).train()
    checks, unrepeatable, notes = self_test(net, (torch.randn(4, 3, 16, 16),))
    assert not unrepeatable
    assert not notes
    assert len(checks) == 17
    assert all(checks.values()), [name for name, holds in checks.items() if not holds]


def test_a_model_that_is_not_the_same_twice_is_reported_with_the_difference():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x + self.calls * self.linear(x)

    with pytest.warns(UserWarning, match="does not give the same twice"):
        proof = prove(Counting(), (torch.randn(2, 3),))
    assert "not repeatable by itself: output in eval mode, by up to " in proof


def crooked(monkeypatch, spoil):
    """Let recording do something that it must not."""
    honest = selftest.record

    def record(model, args, kwargs, **keywords):
        program = honest(model, args, kwargs, **keywords)
        spoil(model, program)
        return program

    monkeypatch.setattr(selftest, "record", record)


def scaled_output(model, program):
    program.result = program.result * (1 + 1e-7)


def scaled_gradient(model, program):
    if program.result.requires_grad:
        program.result.register_hook(lambda gradient: gradient * (1 + 2e-7))


def moved_buffer(model, program):
    model.seen += 1


def consumed_random_number(model, program):
    torch.rand(1)


def moved_parameter(model, program):
    with torch.no_grad():
        model.linear.bias += 1e-6


def hook_left_behind(model, program):
    model.linear.register_forward_hook(lambda *arguments: None)


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (scaled_output, "output unchanged in eval mode"),
        (scaled_gradient, "gradients unchanged in eval mode"),
        (moved_buffer, "buffers unchanged in eval mode"),
        (consumed_random_number, "random state unchanged in eval mode"),
        (moved_parameter, "parameters left as they were"),
        (hook_left_behind, "hook counts left as they were"),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_each_check_can_fail(monkeypatch, spoil, check):
    crooked(monkeypatch, spoil)
    torch.manual_seed(0)
    net, x = WithBuffer(), torch.randn(4, 3)
    assert self_test(net, (x,)).checks[check] is False
    with pytest.raises(ViolationError, match="the self-test failed on this model"):
        prove(net, (x,))


def test_a_changed_mode_is_found(monkeypatch):
    honest = selftest._mode

    def leaky(model, *, training):
        model.linear.eval()
        return honest(model, training=training)

    monkeypatch.setattr(selftest, "_mode", leaky)
    assert self_test(WithBuffer(), (torch.randn(4, 3),)).checks["modes left as they were"] is False


def test_a_random_number_drawn_outside_of_the_model_is_found(monkeypatch):
    honest = selftest._equal

    def drawing(first, second):
        torch.rand(1)
        return honest(first, second)

    monkeypatch.setattr(selftest, "_equal", drawing)
    checks = self_test(WithBuffer(), (torch.randn(4, 3),)).checks
    assert checks["random states left as they were"] is False


def test_a_buffer_that_the_instrument_moves_is_found(monkeypatch):
    honest, model = selftest._equal, WithBuffer()

    def moving(first, second):
        model.seen = torch.ones(1)
        return honest(first, second)

    monkeypatch.setattr(selftest, "_equal", moving)
    assert self_test(model, (torch.randn(4, 3),)).checks["buffers left as they were"] is False


def test_a_buffer_that_the_model_replaces_is_put_back():
    class Counts(WithBuffer):
        def forward(self, x):
            self.seen = self.seen + 1
            return super().forward(x)

    model = Counts()
    buffer = model.seen
    checks, unrepeatable, _ = self_test(model, (torch.randn(4, 3),))
    assert all(checks.values())
    assert not unrepeatable
    assert model.seen is buffer
    assert float(buffer) == 0


def test_a_model_that_draws_random_numbers_is_measured_with_a_warning():
    class Noisy(WithBuffer):
        def forward(self, x):
            return super().forward(x + torch.randn_like(x))

    torch.manual_seed(0)
    model, x = nn.Sequential(Noisy(), WithBuffer()), torch.randn(4, 3)
    with pytest.warns(UserWarning, match="from one pass to the next, by up to"):
        proof = prove(model, (x,))
    assert "lesions repeat with the same random numbers" in proof


def test_a_lesion_that_is_not_that_of_the_running_model_is_found(monkeypatch):
    honest = selftest.Runner.run

    def run(self, *arguments, **keywords):
        whole = honest(self, *arguments, **keywords)
        whole.lesion = lambda block: whole.output
        return whole

    monkeypatch.setattr(selftest.Runner, "run", run)
    net = nn.Sequential(WithBuffer(), nn.Linear(3, 3))
    checks = self_test(net, (torch.randn(4, 3),)).checks
    assert checks["lesions are those of the running model"] is False


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda output, program: output * (1 + 1e-7), "replay reproduces the output"),
        (
            lambda output, program: [tensor.mul_(2) for tensor in program.kept.values()] and output,
            "a lesion leaves the recording alone",
        ),
    ],
)
def test_a_replay_that_is_not_exact_is_found(monkeypatch, spoil, check):
    honest = Program.replay

    def replay(self, changes, **keywords):
        return spoil(honest(self, changes, **keywords), self)

    monkeypatch.setattr(Program, "replay", replay)
    net = nn.Sequential(WithBuffer(), nn.Linear(3, 3))
    assert self_test(net, (torch.randn(4, 3),)).checks[check] is False


def test_fused_layers_are_told_with_what_unfusing_changes():
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    checks, unrepeatable, notes = self_test(net, (x,))
    assert all(checks.values())
    assert not unrepeatable
    fused = [note for note in notes if "fused layers are measured unfused" in note]
    assert len(fused) == 1
    assert float(fused[0].rsplit(" ", maxsplit=1)[-1]) < 1e-5
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_model_that_fails_in_training_mode_is_still_proven_in_evaluation():
    class WantsTargets(WithBuffer):
        def forward(self, x, targets=None):
            if self.training and targets is None:
                raise ValueError("targets are needed")
            return super().forward(x)

    checks, _, notes = self_test(WantsTargets(), (torch.randn(2, 3),))
    assert checks["output unchanged in eval mode"]
    assert "output unchanged in train mode" not in checks
    assert notes == ("not checked in train mode, which fails: targets are needed",)


def test_a_frozen_model_has_no_gradients_to_check():
    net = WithBuffer().requires_grad_(False)
    checks, _, notes = self_test(net, (torch.randn(2, 3),))
    assert checks["output unchanged in eval mode"]
    assert not any("gradients unchanged" in name for name in checks)
    assert "no gradients in eval mode to check" in notes


def test_inputs_that_the_model_does_not_take_are_refused_in_its_own_words():
    with pytest.raises(InputError, match=r"can't be run on a few samples \(mat1 and mat2"):
        prove(WithBuffer(), (torch.zeros(2, 7),))


def test_the_instrument_holds_on_a_net_with_everything_in_place():
    assert "checks hold" in prove(post_activation("into the skip"), (X,))
