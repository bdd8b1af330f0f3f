"""What other people's loops and models do to a recorder."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import resprobe
from resprobe import Recorder, find_blocks
from resprobe.errors import InputError


class Residual(nn.Module):
    def __init__(self, width=4, wrap=lambda module: module):
        super().__init__()
        self.linear = wrap(nn.Linear(width, width))

    def branch(self, x):
        return self.linear(x)

    def forward(self, x):
        return x + self.branch(x)


def stack(*blocks):
    torch.manual_seed(0)
    return nn.Sequential(*(blocks or (Residual(), Residual(), Residual())))


def one_step(net, recorder, optimizer, x, loss=None):
    optimizer.zero_grad()
    value = net(x).square().mean()
    value.backward()
    optimizer.step()
    recorder.step(value if loss is None else loss)


def record(net, path, steps=2, x=None):
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.01)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)) if x is None else x
    with Recorder(net, path, optimizer=optimizer) as recorder:
        for _ in range(steps):
            one_step(net, recorder, optimizer, x)
    return rows(path)


def rows(path):
    tree = resprobe.open(path / "training.h5")
    steps = tree["training/step"].to_dataset().load()
    tree.close()
    return steps


def test_an_addition_that_only_training_mode_makes_does_not_shift_the_blocks(tmp_path):
    class Noisy(Residual):
        def branch(self, x):
            h = self.linear(x)
            return h + 0.0 * torch.tanh(x) if self.training else h

    steps = record(stack(Noisy(), Noisy()), tmp_path, steps=1)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    expected = float(x.norm(dim=1).mean())
    assert float(steps["shortcut_norm"][0, 0]) == pytest.approx(expected, rel=1e-6)
    assert float(steps["input_norm"][0, 0]) == pytest.approx(expected, rel=1e-6)


def test_computed_weights_belong_to_their_block(tmp_path):
    wrap = nn.utils.parametrizations.spectral_norm
    net = stack(Residual(wrap=wrap), Residual(wrap=wrap))
    steps = record(net, tmp_path, steps=1)
    own = [
        np.sqrt(sum(float(p.detach().square().sum()) for p in block.parameters())) for block in net
    ]
    np.testing.assert_allclose(steps["weight_norm"][0], own, rtol=1e-6)
    assert set(steps["parameter_block"].values) == {"0", "1"}


def test_a_parameter_without_a_gradient_is_missing_alone(tmp_path):
    net = stack()
    net[1].unused = nn.Parameter(torch.ones(2))
    steps = record(net, tmp_path)
    assert not steps["gradient_norm"].isnull().any()
    missing = steps["parameter_gradient_norm"].isnull().any("step")
    assert list(steps["parameter"].values[missing]) == ["1.unused"]


def test_frozen_blocks_have_weights_but_no_gradients(tmp_path):
    net = stack()
    for parameter in net[0].parameters():
        parameter.requires_grad_(False)
    steps = record(net, tmp_path)
    truth = np.sqrt(sum(float(p.square().sum()) for p in net[0].parameters()))
    np.testing.assert_allclose(steps["weight_norm"].sel(block="0"), truth, rtol=1e-6)
    np.testing.assert_array_equal(steps["update_norm"].sel(block="0"), 0)
    for name in ("gradient_norm", "branch_gradient_norm"):
        assert steps[name].sel(block="0").isnull().all()
        assert not steps[name].sel(block=["1", "2"]).isnull().any()


def test_scalar_gates_are_parameters_like_any_other(tmp_path):
    class Gated(Residual):
        def __init__(self):
            super().__init__()
            self.gate = nn.Parameter(torch.tensor(0.25))

        def branch(self, x):
            return self.gate * self.linear(x)

    steps = record(stack(Gated(), Gated()), tmp_path, steps=1)
    norm = steps["parameter_norm"].sel(parameter="0.gate")
    assert float(norm[0]) == pytest.approx(0.25, rel=0.1)


def test_a_loss_that_is_not_one_number_is_refused(tmp_path):
    net = stack()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with (
        pytest.raises(InputError, match=r"loss of shape \(3,\)"),
        Recorder(net, tmp_path, optimizer=optimizer) as recorder,
    ):
        one_step(net, recorder, optimizer, torch.ones(3, 4), loss=torch.ones(3))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x, z):
        return self.norm(x + self.a(x)) * F.dropout(z)


def test_randomness_buffers_and_further_arguments_are_left_alone(tmp_path):
    x, z = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))

    def train(out):
        torch.manual_seed(0)
        net = TwoInputs().train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        recorder = None if out is None else Recorder(net, out, optimizer=optimizer).__enter__()
        for _ in range(3):
            optimizer.zero_grad()
            loss = net(x, z=z).square().mean()
            loss.backward()
            optimizer.step()
            if recorder is not None:
                recorder.step(loss)
        if recorder is not None:
            recorder.__exit__(None, None, None)
        return [value.clone() for value in net.state_dict().values()]

    bare, recorded = train(None), train(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(bare, recorded, strict=True))
    net = TwoInputs()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    find_blocks(net, x, z)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_a_pass_that_raised_and_a_batch_that_was_skipped_are_no_part_of_a_step(tmp_path):
    expected = record(stack(), tmp_path / "plain", steps=2)
    net = stack()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    with Recorder(net, tmp_path / "odd", optimizer=optimizer) as recorder:
        one_step(net, recorder, optimizer, x)
        with pytest.raises(RuntimeError, match="shapes"):
            net(torch.ones(5, 7))
        net(torch.ones(8, 4))  # its loss was bad: no backward, no step
        one_step(net, recorder, optimizer, x)
    found = rows(tmp_path / "odd")
    for name in expected.data_vars:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_step_without_backward_has_no_gradients(tmp_path):
    net = stack()
    with Recorder(net, tmp_path) as recorder:
        recorder.step(net(torch.ones(3, 4)).sum())
    steps = rows(tmp_path)
    assert steps["branch_gradient_norm"].isnull().all()
    assert not steps["branch_norm"].isnull().any()


def test_blocks_whose_first_dimension_is_not_the_sample_are_named(tmp_path):
    class Windows(Residual):
        def forward(self, x):
            return super().forward(x.reshape(-1, 2)).reshape(x.shape)

    net = stack(Residual(), Windows(2))
    with pytest.raises(InputError, match=r"block 1 have shape \(6, 2\) for 3 samples"):
        record(net, tmp_path)


def test_a_context_inside_the_model_is_named_and_left_intact(tmp_path):
    class Inside(Residual):
        def forward(self, x):
            with torch.device("cpu"):
                h = self.linear(x)
            return x + h

    net = stack(Inside())
    before = torch._C._len_torch_function_stack()
    with pytest.raises(InputError, match=r"torch context, such as torch\.device, around 0.linear"):
        record(net, tmp_path)
    assert torch._C._len_torch_function_stack() == before


def test_two_recorders_of_one_model_and_a_forgotten_with_end_in_one_sentence(tmp_path):
    net = stack()
    with (
        Recorder(net, tmp_path / "a"),
        pytest.raises(InputError, match="another Recorder records this model"),
        Recorder(net, tmp_path / "b"),
    ):
        pass
    with pytest.raises(InputError, match="use it in a with statement"):
        Recorder(net, tmp_path / "c").step(1.0)
    with Recorder(net, tmp_path / "b"):
        pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "net"}, "model is a str"),
        ({"optimizer": "sgd"}, "optimizer is a str"),
        ({"scaler": 1.0}, "scaler is a float"),
        ({"every": True}, "every=True"),
        ({"start_step": -1}, "start_step=-1"),
        ({"quantities": "branch_norm"}, r"give a list, such as \['branch_norm'\]"),
    ],
)
def test_arguments_of_another_kind_are_named(options, said, tmp_path):
    with pytest.raises(InputError, match=said):
        Recorder(**{"model": stack(), "out": tmp_path, **options})


@pytest.mark.parametrize("loss", [None, "x"])
def test_a_loss_that_is_no_number_is_refused(loss, tmp_path):
    with (
        Recorder(stack(), tmp_path) as recorder,
        pytest.raises(InputError, match="loss that is a"),
    ):
        recorder.step(loss)


def test_steps_that_are_recorded_at_the_wrong_place_are_told_of_once(tmp_path):
    net, told = stack(), []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with Recorder(net, tmp_path / "a", optimizer=optimizer, tell=told.append) as recorder:
        for _ in range(4):
            loss = net(torch.ones(3, 4)).square().mean()
            loss.backward()
            recorder.step(loss)
            optimizer.step()
            optimizer.zero_grad()
    assert len(told) == 1
    assert "in 4 of the first 4 recorded steps no weight had changed" in told[0]
    with Recorder(net, tmp_path / "b", optimizer=optimizer, tell=told.append) as recorder:
        for _ in range(4):
            loss = net(torch.ones(3, 4)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            recorder.step(loss)
    assert len(told) == 2
    assert "before optimizer.zero_grad()" in told[1]


def test_plain_units_without_a_shortcut_are_refused_when_found():
    net = nn.Sequential(nn.Linear(4, 2))
    net.plain_units = ("0",)
    with pytest.raises(InputError, match=r"maps features of shape \(4,\) to \(2,\)"):
        find_blocks(net, torch.zeros(2, 4))
    net = nn.Sequential(nn.Flatten())
    net.plain_units = ("0",)
    with pytest.raises(InputError, match="no shortcut without parameters"):
        find_blocks(net, torch.zeros(2, 3, 4))


def test_a_model_that_cannot_run_backward_is_refused_in_one_sentence(tmp_path):
    class InPlace(Residual):
        def forward(self, x):
            x = x * 1
            h = torch.sigmoid(x)
            x += self.linear(h)
            h.mul_(2)
            return x

    with pytest.raises(InputError, match="forward and backward on a few samples"):
        record(stack(InPlace()), tmp_path)


def test_places_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be made"), Recorder(stack(), tmp_path / "file"):
        pass
    with pytest.raises(InputError, match=r"every=1\.5"):
        Recorder(stack(), tmp_path / "a", every=1.5)


def test_no_thread_is_left_when_writing_fails(tmp_path, monkeypatch):
    from resprobe.store.writer import Writer

    def broken(self, group, rows):
        raise ValueError("planted")

    monkeypatch.setattr(Writer, "append", broken)
    with pytest.raises(ValueError, match="planted"):
        record(stack(), tmp_path)
    assert not [t for t in threading.enumerate() if t.name == "resprobe-writer"]


def test_after_the_end_a_flush_returns_and_nothing_is_queued(tmp_path):
    net = stack()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with Recorder(net, tmp_path, optimizer=optimizer) as recorder:
        one_step(net, recorder, optimizer, torch.ones(3, 4))
    recorder.epoch(train_loss=1.0)
    late = threading.Thread(target=recorder.flush, daemon=True)
    late.start()
    late.join(timeout=30)
    assert not late.is_alive()
    assert recorder._file.thread._queue.empty()
    assert rows(tmp_path).sizes["step"] == 1


def test_samples_are_found_where_they_are_not_the_first_dimension(tmp_path):
    class TokensFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))

        def forward(self, x):
            x = x.transpose(0, 1)
            for layer in self.layers:
                x = x + layer(x).tanh()
            return x.mean(0)

    torch.manual_seed(0)
    net, x = TokensFirst().train(), torch.randn(3, 5, 4)
    with Recorder(net, tmp_path) as recorder:
        loss = net(x).square().sum()
        loss.backward()
        recorder.step(loss)
    assert [block.output_shape for block in recorder.blocks] == [(5, 4), (5, 4)]
    step = rows(tmp_path)
    with torch.no_grad():
        branch = net.layers[0](x).tanh()
        norms = branch.flatten(1).norm(dim=1)
    np.testing.assert_allclose(step["branch_norm"].values[0, 0], norms.mean(), rtol=1e-6)
    std = norms.std(correction=0)
    np.testing.assert_allclose(step["branch_norm_std"].values[0, 0], std, rtol=1e-5)
    y = (x + branch).requires_grad_(True)
    (y + net.layers[1](y).tanh()).mean(1).square().sum().backward()
    expected = y.grad.flatten(1).norm(dim=1).mean()
    np.testing.assert_allclose(step["branch_gradient_norm"].values[0, 0], expected, rtol=1e-5)


def test_going_on_where_there_is_no_file_is_told(tmp_path):
    net, told = stack(), []
    with Recorder(net, tmp_path, start_step=7, tell=told.append) as recorder:
        recorder.step(net(torch.ones(3, 4)).sum())
    assert list(rows(tmp_path)["step"].values) == [8]
    assert "its first row will be after step 7" in told[0]
