"""Checkpoints: the same bits back, and a sentence for each kind of damage."""

import json
import shutil

import pytest
import torch
from resprobe_models import checkpoint
from resprobe_models.architectures.cifar_resnet import cifar_resnet
from safetensors.torch import load_file, save_file

from resprobe import checkpoints
from resprobe.errors import InputError, ResprobeError


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def weights(run, step=10):
    return run / "checkpoints" / f"step-{step:08d}.safetensors"


def model():
    return cifar_resnet(depth=8, width_factor=0.5, in_channels=1)


def trained_a_little(momentum=0.9, **settings):
    torch.manual_seed(0)
    network = model()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum, **settings)
    network(torch.randn(4, 1, 16, 16)).sum().backward()
    optimizer.step()
    return network, optimizer


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_everything_comes_back_bit_for_bit(tmp_path, momentum):
    network, optimizer = trained_a_little(momentum)
    generators = {"order": torch.Generator().manual_seed(5)}
    torch.rand(3, generator=generators["order"])
    path = checkpoint.write(
        tmp_path, 7, model=network, optimizer=optimizer,
        generators={name: item.get_state() for name, item in generators.items()},
        info={"epoch": 1, "metrics": {}},
    )  # fmt: skip
    expected = torch.rand(3), torch.rand(3, generator=generators["order"])

    other, again = model(), {"order": torch.Generator()}
    restored = torch.optim.SGD(other.parameters(), lr=0.1, momentum=momentum)
    checkpoints.load_weights(path, other)
    checkpoint.load_trainer_state(tmp_path, 7, model=other, optimizer=restored, generators=again)
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        if momentum:
            assert torch.equal(
                optimizer.state[ours]["momentum_buffer"],
                restored.state[theirs]["momentum_buffer"],
            )
    assert torch.equal(torch.rand(3), expected[0])
    assert torch.equal(torch.rand(3, generator=again["order"]), expected[1])
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000007.json",
        "step-00000007.safetensors",
        "step-00000007.state.safetensors",
    ]


def test_last_best_and_a_step_are_found(run):
    assert checkpoints.steps(run) == [5, 10]
    assert checkpoints.resolve(run, "last") == 10
    assert checkpoints.resolve(run, 5) == 5
    path = run / "checkpoints" / "step-00000005.json"
    for error, best in ((0.0, 5), (1.0, 10)):
        info = json.loads(path.read_text())
        info["metrics"]["test_error"] = error
        path.write_text(json.dumps(info))
        assert checkpoints.resolve(run, "best") == best
    with pytest.raises(InputError, match="no checkpoint of step 6; it holds 5, 10"):
        checkpoints.resolve(run, 6)
    with pytest.raises(InputError, match="holds no checkpoint"):
        checkpoints.resolve(run / "checkpoints", "last")


def test_a_checkpoint_tells_what_a_reader_must_know(run):
    info = checkpoints.read_info(run, 10)
    assert (info["step"], info["epoch"], info["status"]) == (10, 2, "finished")
    assert info["threads"] == 1
    assert len(info["mean"]) == len(info["std"]) == 1
    assert 0 <= info["metrics"]["test_error"] <= 1
    assert len(info["recipe_fingerprint"]) == 64


def test_a_truncated_file_is_refused_wherever_it_is_cut(run):
    data = weights(run).read_bytes()
    for length in (0, 4, 9, 500, len(data) // 2, len(data) - 1):
        weights(run).write_bytes(data[:length])
        with pytest.raises(InputError, match="cannot be read as safetensors"):
            checkpoints.load_weights(weights(run), model())


def test_a_missing_file_is_refused(run):
    with pytest.raises(InputError, match="missing, truncated"):
        checkpoints.load_weights(weights(run, 11), model())


def test_another_network_is_refused_with_a_few_of_the_keys(run):
    with pytest.raises(InputError) as raised:
        checkpoints.load_weights(weights(run), cifar_resnet(depth=14, in_channels=1))
    message = str(raised.value)
    assert "missing stage1.1.branch." in message
    assert "more" in message
    assert "shape of stem.conv.weight (8, 1, 3, 3) instead of (16, 1, 3, 3)" in message
    with pytest.raises(InputError, match="unexpected final"):
        checkpoints.load_weights(
            weights(run), cifar_resnet(depth=8, width_factor=0.5, in_channels=1, activation="post")
        )


def test_a_weight_that_is_not_finite_is_named_and_the_model_kept(run):
    tensors = load_file(weights(run))
    tensors["stage2.0.branch.conv1.weight"][0, 0, 0, 0] = float("nan")
    save_file(tensors, weights(run))
    network = model()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=r"not finite in stage2\.0\.branch\.conv1\.weight"):
        checkpoints.load_weights(weights(run), network)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_damaged_information_is_refused(run, content):
    (run / "checkpoints" / "step-00000010.json").write_text(content)
    with pytest.raises(InputError, match="checkpoint is damaged"):
        checkpoints.read_info(run, 10)


def test_a_trainer_state_without_its_generators_is_refused(run):
    path = run / "checkpoints" / "step-00000010.state.safetensors"
    tensors = load_file(path)
    del tensors["generator.order"]
    save_file(tensors, path)
    network, optimizer = trained_a_little()
    with pytest.raises(InputError, match=r"lacks generator\.order"):
        checkpoint.load_trainer_state(
            run, 10, model=network, optimizer=optimizer,
            generators={"order": torch.Generator()},
        )  # fmt: skip


def test_a_disk_that_is_full_harms_no_older_checkpoint(run, monkeypatch):
    network, optimizer = trained_a_little()
    before = {path: path.read_bytes() for path in (run / "checkpoints").iterdir()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(ResprobeError, match="No space left on device"):
        checkpoint.write(
            run, 15, model=network, optimizer=optimizer, generators={}, info={"epoch": 3}
        )
    assert {path: path.read_bytes() for path in (run / "checkpoints").iterdir()} == before
