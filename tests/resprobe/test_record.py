import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import STYLES, post_activation
from torch.utils._python_dispatch import TorchDispatchMode

import resprobe
from resprobe import Recorder, registry
from resprobe.errors import InputError, UnknownNameError, ViolationError

NETS = [
    {},
    {"h": 0.1, "shortcut": "pooled", "reading": "A"},
    {"activation": "post", "shortcut": "projection"},
    {"residual": False},
]
STEPS = 4


def cifar_resnet(depth=8, **arguments):
    torch.manual_seed(0)
    return registry.load("models", "cifar-resnet")(depth=depth, **arguments).train()


def batches(count=STEPS, samples=6, size=16):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randn(samples, 3, size, size, generator=generator)
        yield x, torch.randint(0, 5, (samples,), generator=generator)


def train(net, out=None, steps=STEPS, size=16, watch=None, **options):
    """Train a few steps, recorded or not; give outputs, gradients and final state."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    recorder = None if out is None else Recorder(net, out, optimizer=optimizer, **options)
    seen = []
    if recorder is not None:
        recorder.__enter__()
    for x, y in batches(steps, size=size):
        logits = net(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        before = [p.detach().clone() for p in net.parameters()]
        optimizer.step()
        if recorder is not None:
            recorder.step(loss, (logits.argmax(1) == y).float().mean())
        seen += [logits.detach(), *[p.grad.clone() for p in net.parameters() if p.grad is not None]]
        if watch is not None:
            watch(net, x, y, before, loss)
    if recorder is not None:
        recorder.__exit__(None, None, None)
    return seen + [value.clone() for value in net.state_dict().values()]


def steps_of(path):
    tree = resprobe.open(path)
    steps = tree["training/step"].to_dataset().load()
    tree.close()
    return steps


@pytest.mark.parametrize("arguments", NETS, ids=str)
def test_recording_changes_no_output_and_no_gradient_by_a_bit(arguments, tmp_path):
    bare = train(cifar_resnet(**arguments))
    recorded = train(cifar_resnet(**arguments), tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(bare, recorded, strict=True))


@pytest.mark.parametrize("style", STYLES)
def test_in_place_additions_and_activations_are_recorded_before_they_overwrite(style, tmp_path):
    bare = train(post_activation(style).train(), size=8)
    net = post_activation(style).train()
    recorded = train(net, tmp_path / "run", size=8)
    assert all(torch.equal(a, b) for a, b in zip(bare, recorded, strict=True))
    other = post_activation("functional").train()
    train(other, tmp_path / "reference", size=8)
    found, expected = (
        steps_of(tmp_path / "run/training.h5"),
        steps_of(tmp_path / "reference/training.h5"),
    )
    for name in ("input_norm", "shortcut_norm", "branch_norm", "branch_gradient_norm"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


class Slow:
    """The slow and obvious second opinion, in float64 with plain hooks on modules."""

    def __init__(self):
        self.rows = []

    def __call__(self, net, x, y, before, loss):
        row = {}
        squares = {n: float((p.detach().double() ** 2).sum()) for n, p in net.named_parameters()}
        gradients = {n: float((p.grad.double() ** 2).sum()) for n, p in net.named_parameters()}
        updates = {
            n: float(((p.detach().double() - b.double()) ** 2).sum())
            for (n, p), b in zip(net.named_parameters(), before, strict=True)
        }
        for kind, values in (
            ("parameter", squares),
            ("parameter_gradient", gradients),
            ("parameter_update", updates),
        ):
            row[f"{kind}_norm"] = np.sqrt(list(values.values()))
        row["parameter_mean"] = [float(p.detach().double().mean()) for p in net.parameters()]
        row["parameter_std"] = [
            float(p.detach().double().std(correction=0)) for p in net.parameters()
        ]
        row["parameter_gradient_mean"] = [float(p.grad.double().mean()) for p in net.parameters()]
        row["parameter_update_std"] = [
            float((p.detach().double() - b.double()).std(correction=0))
            for p, b in zip(net.parameters(), before, strict=True)
        ]
        row["loss"] = float(loss.detach())
        for name, values in (
            ("weight_norm", squares),
            ("gradient_norm", gradients),
            ("update_norm", updates),
        ):
            row[name] = [
                math.sqrt(sum(v for n, v in values.items() if n.startswith(block + ".")))
                for block in ("stage1.0", "stage2.0", "stage3.0")
            ]
        self.rows.append(row)


def test_parameter_statistics_equal_the_slow_ones_in_float64(tmp_path):
    slow = Slow()
    train(cifar_resnet(), tmp_path / "run", watch=slow)
    steps = steps_of(tmp_path / "run/training.h5")
    assert list(steps["step"].values) == [1, 2, 3, 4]
    for place, row in enumerate(slow.rows):
        for name, expected in row.items():
            # stored as float32: one rounding, and float32 differences for the updates
            tolerance = 2e-5 if "update" in name else 1e-6
            scale = np.abs(expected).max()
            np.testing.assert_allclose(
                steps[name].values[place],
                expected,
                rtol=tolerance,
                atol=tolerance * scale,
                err_msg=name,
            )


def test_block_norms_equal_those_of_hooks_on_a_float64_copy(tmp_path):
    net = cifar_resnet(depth=14, shortcut="projection").double()
    reference = cifar_resnet(depth=14, shortcut="projection").double()
    x, y = next(batches(1))
    x = x.double()
    seen = {}

    def keep(name):
        def hook(module, args, output):
            output.retain_grad()
            seen[name] = (args[0].detach(), output)

        return hook

    for name, module in reference.named_modules():
        if name.count(".") == 1 and name.startswith("stage"):
            module.register_forward_hook(keep(name))
    F.cross_entropy(reference(x), y).backward()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with Recorder(net, tmp_path / "run", optimizer=optimizer) as recorder:
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        recorder.step(loss)
    steps = steps_of(tmp_path / "run/training.h5").isel(step=0)
    for name, (into, out) in seen.items():
        row = steps.sel(block=name)
        if row["skip"] == "identity":
            expected = {
                "input_norm": into,
                "shortcut_norm": into,
                "branch_norm": out.detach() - into,
                "branch_gradient_norm": out.grad,
            }
        else:
            expected = {"input_norm": into, "branch_gradient_norm": out.grad}
        for quantity, tensor in expected.items():
            norms = tensor.flatten(1).norm(dim=1)
            assert float(row[quantity]) == pytest.approx(float(norms.mean()), rel=1e-6), quantity
            std = float(norms.std(correction=0))
            assert float(row[f"{quantity}_std"]) == pytest.approx(std, rel=1e-5, abs=1e-9)
        if row["skip"] == "identity":
            s, g = into.flatten(1), (out.detach() - into).flatten(1)
            cosine = F.cosine_similarity(s, g, dim=1).mean()
            assert float(row["branch_shortcut_cosine"]) == pytest.approx(float(cosine), abs=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "branch_norm",
        "branch_shortcut_cosine",
        "branch_gradient_norm",
        "input_norm",
        "parameter_std",
        "update_norm",
        "weight_norm",
    ],
)
def test_a_quantity_recorded_alone_is_what_it_is_among_all(name, tmp_path):
    train(cifar_resnet(), tmp_path / "all")
    train(cifar_resnet(), tmp_path / "one", quantities=[name])
    together = steps_of(tmp_path / "all/training.h5")
    alone = steps_of(tmp_path / "one/training.h5")
    assert name in alone
    for variable in alone.data_vars:
        np.testing.assert_array_equal(alone[variable], together[variable])


class NoWaiting(TorchDispatchMode):
    """Raises on every operation that makes the host wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        kwargs = kwargs or {}
        to_device = "_to_copy" in name and kwargs.get("device") is not None
        if "_local_scalar_dense" in name or "nonzero" in name or to_device:
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **kwargs)


@pytest.mark.parametrize("arguments", NETS, ids=str)
def test_a_recorded_step_never_waits_for_the_device(arguments, tmp_path):
    net = cifar_resnet(**arguments)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, foreach=True)
    with Recorder(net, tmp_path / "run", optimizer=optimizer) as recorder:
        for place, (x, y) in enumerate(batches()):
            watched = NoWaiting() if place else __import__("contextlib").nullcontext()
            with watched:  # the first step finds the blocks
                logits = net(x)
                loss = F.cross_entropy(logits, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recorder.step(loss, (logits.argmax(1) == y).float().mean())


def test_the_watch_itself_catches_a_step_that_waits():
    with NoWaiting(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        float(torch.ones(()))


def test_every_nth_step_is_recorded_from_the_first_on(tmp_path):
    train(cifar_resnet(), tmp_path / "run", steps=7, every=3)
    train(cifar_resnet(), tmp_path / "all", steps=7)
    steps, every = steps_of(tmp_path / "run/training.h5"), steps_of(tmp_path / "all/training.h5")
    assert list(steps["step"].values) == [1, 4, 7]
    for name in steps.data_vars:
        np.testing.assert_array_equal(steps[name], every[name].sel(step=[1, 4, 7]))


def test_nothing_is_left_on_the_model(tmp_path):
    net = cifar_resnet()
    train(net, tmp_path / "run")
    for module in net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def test_an_exception_in_the_loop_keeps_the_rows_and_leaves_nothing_behind(tmp_path):
    net = cifar_resnet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)

    def loop():
        with Recorder(net, tmp_path / "run", optimizer=optimizer) as recorder:
            for place, (x, y) in enumerate(batches()):
                if place == 2:
                    net(x[:, :1])
                loss = F.cross_entropy(net(x), y)
                loss.backward()
                optimizer.step()
                recorder.step(loss)

    with pytest.raises(RuntimeError, match="channels"):
        loop()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    steps = steps_of(tmp_path / "run/training.h5")
    assert list(steps["step"].values) == [1, 2]
    assert steps.attrs["status"] == "interrupted"
    torch.ones(2) + torch.ones(2)  # no mode is left on


def test_validation_between_steps_is_not_recorded(tmp_path):
    net = cifar_resnet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with Recorder(net, tmp_path / "run", optimizer=optimizer) as recorder:
        for x, y in batches(2):
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss)
            net.eval()
            with torch.no_grad():
                net(x * 100)
            net.train()
    assert len(steps_of(tmp_path / "run/training.h5")["step"]) == 2


def test_two_passes_before_a_step_count_as_one_batch(tmp_path):
    whole, halves = cifar_resnet(batch_norm=False), cifar_resnet(batch_norm=False)
    x, y = next(batches(1))
    for net, parts, out in (
        (whole, (slice(None),), "whole"),
        (halves, (slice(0, 3), slice(3, 6)), "halves"),
    ):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        with Recorder(net, tmp_path / out, optimizer=optimizer) as recorder:
            for part in parts:
                loss = F.cross_entropy(net(x[part]), y[part]) / len(parts)
                loss.backward()
            optimizer.step()
            recorder.step(loss)
    first, second = (steps_of(tmp_path / n / "training.h5") for n in ("whole", "halves"))
    for name in (
        "input_norm",
        "branch_norm",
        "branch_norm_std",
        "branch_gradient_norm",
        "gradient_norm",
    ):
        np.testing.assert_allclose(second[name], first[name], rtol=1e-4)


def test_epochs_are_recorded_beside_the_steps(tmp_path):
    net = cifar_resnet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with Recorder(net, tmp_path / "run.h5", optimizer=optimizer) as recorder:
        for x, y in batches(2):
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss)
            recorder.epoch(test_error=0.5, train_loss=1.0)
        recorder.status = "reached_cap"
    tree = resprobe.open(tmp_path / "run.h5")
    epochs = tree["training/epoch"].to_dataset()
    assert epochs["step"].values.tolist() == [1, 2]
    assert epochs["test_error"].values.tolist() == [0.5, 0.5]
    assert epochs["wall_time"].isnull().all()
    assert epochs.attrs["status"] == "reached_cap"


def test_the_file_says_where_its_numbers_come_from(tmp_path):
    train(cifar_resnet(), tmp_path / "run", attributes={"recipe": "none", "seed": 3})
    attributes = resprobe.open(tmp_path / "run" / "training.h5").attrs
    assert attributes["seed"] == 3
    assert attributes["batch_norm_mode"] == "train"
    assert attributes["self_test"].startswith("14 checks hold")
    for name in (
        "command",
        "torch_version",
        "device",
        "dtype",
        "threads",
        "tf32_matmul",
        "git_commit",
        "git_dirty",
        "created",
        "resprobe_version",
    ):
        assert name in attributes, name
    assert json.dumps(attributes)


def test_parameters_know_their_block_and_layer(tmp_path):
    train(cifar_resnet(), tmp_path / "run", steps=1)
    steps = steps_of(tmp_path / "run/training.h5")
    owners = dict(zip(steps["parameter"].values, steps["parameter_block"].values, strict=True))
    assert owners["linear.weight"] == ""
    assert {owner for owner in owners.values() if owner} == {"stage1.0", "stage2.0", "stage3.0"}
    layers = dict(zip(steps["parameter"].values, steps["layer"].values, strict=True))
    assert layers["linear.weight"] == "linear"


def test_misuse_ends_in_one_sentence(tmp_path):
    net = cifar_resnet()
    with pytest.raises(InputError, match="every=0"):
        Recorder(net, tmp_path / "a", every=0)
    with pytest.raises(UnknownNameError, match="branch_norm"):
        Recorder(net, tmp_path / "a", quantities=["branchnorm"])
    with (
        pytest.raises(InputError, match="without a forward pass"),
        Recorder(net, tmp_path / "b") as recorder,
    ):
        recorder.step(1.0)
    plain = torch.nn.Sequential(torch.nn.Linear(3, 3))
    with pytest.raises(InputError, match="no residual blocks"), Recorder(plain, tmp_path / "c"):
        plain(torch.zeros(2, 3))
    with (
        pytest.raises(UnknownNameError, match="test_error"),
        Recorder(net, tmp_path / "d") as recorder,
    ):
        recorder.epoch(testerror=1.0)
    (tmp_path / "e").mkdir()
    (tmp_path / "e/training.h5").write_bytes(b"")
    with pytest.raises(InputError, match="exists"), Recorder(net, tmp_path / "e"):
        pass


def test_a_model_whose_blocks_do_not_all_run_is_refused(tmp_path):
    class Skipping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x):
            x = x + self.a(x)
            return x if self.training and bool(x.abs().max() > 50) else x + self.b(x)

    net = Skipping()

    def loop():
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        with Recorder(net, tmp_path / "run", optimizer=optimizer) as recorder:
            for scale in (1.0, 1e3):
                loss = net(scale * torch.ones(2, 4)).sum()
                loss.backward()
                recorder.step(loss)

    with pytest.raises(ViolationError, match="1 of 2 blocks"):
        loop()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_module_called_twice_gives_two_blocks(tmp_path):
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def half(self, x):
            return x + self.linear(x)

        def forward(self, x):
            return self.half(self.half(x))

    net = Twice()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    x = torch.randn(3, 4)
    with Recorder(net, tmp_path / "run", optimizer=optimizer) as recorder, torch.no_grad():
        inner = net.half(x)
    with Recorder(net, tmp_path / "run", optimizer=optimizer) as recorder:
        expected = [x.norm(dim=1).mean(), inner.norm(dim=1).mean()]
        loss = net(x).sum()
        loss.backward()
        recorder.step(loss)
    steps = steps_of(tmp_path / "run/training.h5")
    assert list(steps["block"].values) == ["model:0", "model:1"]
    np.testing.assert_allclose(steps["input_norm"].values[0], expected, rtol=1e-5)
