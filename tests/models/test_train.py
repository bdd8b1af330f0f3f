"""The trainer: the bare loop's bits, how a run ends, and in which arithmetic."""

import numpy as np
import pytest
import torch
from resprobe_models import loop, setup
from resprobe_models.datasets.digits import load
from resprobe_models.recipe import apply_overrides, load_recipe
from resprobe_models.train import train

from resprobe import checkpoints
from resprobe.data import stratified
from resprobe.errors import InputError


def digits_arrays(count):
    training, test = load(split="train"), load(split="test")
    training = training.take(stratified(training.labels, count, 0))
    return training.images, training.labels, test.images, test.labels


@pytest.mark.parametrize("name", ["resnet-20-digits", "plain-20-digits"])
def test_the_trainer_gives_the_bits_of_the_bare_loop(name, tiny, bare_loop, tmp_path, same_weights):
    outcome = train(tiny("model.depth=14", name=name), tmp_path / "run")
    network, error = bare_loop.train(
        digits_arrays(150),
        **{**bare_loop.RESNET_56_DIGITS, "depth": 14, "batch": 32},
        epochs=2,
        residual=name.startswith("resnet"),
    )
    assert same_weights(tmp_path / "run", network)
    assert outcome.metrics["test_error"] == error


def test_the_trainer_gives_the_bits_of_the_bare_loop_on_cifar_shaped_images(
    bare_loop, tmp_path, monkeypatch, same_weights
):
    """uint8 colours, flips, the step schedule, batches of 128 and a last shorter one."""
    generator = np.random.default_rng(0)

    def fake(_):
        from resprobe.data import Images

        classes = tuple("abcdefghij")
        return tuple(Images(data[part], data[part + 1], classes) for part in (0, 2))

    data = (
        generator.integers(0, 256, (300, 3, 32, 32), dtype=np.uint8),
        generator.integers(0, 10, 300),
        generator.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8),
        generator.integers(0, 10, 20),
    )
    monkeypatch.setattr(setup, "load_images", fake)
    recipe = apply_overrides(
        load_recipe("resnet-20-cifar10"),
        ["train.epochs=2", "record.every=0", "model.depth=8", "train.seed=3"],
    )
    outcome = train(recipe, tmp_path / "run")
    network, error = bare_loop.train(
        data, **{**bare_loop.RESNET_20_CIFAR10, "depth": 8}, epochs=2, seed=3
    )
    assert same_weights(tmp_path / "run", network)
    assert outcome.metrics["test_error"] == error


class TestEnding:
    def test_a_diverged_run_stops_is_marked_and_writes_no_broken_checkpoint(self, tiny, tmp_path):
        recipe = tiny("schedule.learning_rate=1e12", "model.batch_norm=false")
        outcome = train(recipe, tmp_path / "run")
        assert outcome.status == "diverged"
        assert outcome.checkpoint is None
        assert "schedule.learning_rate" in outcome.message
        assert "not finite" in (tmp_path / "run" / "log.txt").read_text()

    def test_a_loss_that_breaks_is_seen_within_the_epoch(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setattr(loop, "LOOK_SECONDS", 0.0)
        recipe = tiny("schedule.learning_rate=1e12", "model.batch_norm=false", "data.subset=1000")
        outcome = train(recipe, tmp_path / "run")
        assert outcome.status == "diverged"
        assert outcome.step < 10 < 1000 // 32

    @pytest.mark.parametrize("target", ["stop_train_accuracy=0.05", "stop_train_loss=50"])
    def test_a_target_ends_the_run(self, tiny, tmp_path, target):
        outcome = train(tiny(f"train.{target}", "train.epochs=50"), tmp_path / "run")
        assert (outcome.status, outcome.epochs, outcome.step) == ("reached_target", 1, 5)
        assert checkpoints.steps(tmp_path / "run") == [5]

    def test_reaching_the_cap_is_recorded(self, tiny, tmp_path):
        outcome = train(tiny("train.stop_train_accuracy=1.0"), tmp_path / "run")
        assert (outcome.status, outcome.epochs) == ("reached_cap", 2)
        assert checkpoints.read_info(tmp_path / "run", 10)["status"] == "reached_cap"

    def test_no_epochs_keep_the_untrained_network(self, tiny, tmp_path):
        outcome = train(tiny("train.epochs=0"), tmp_path / "run")
        assert (outcome.status, outcome.step) == ("finished", 0)
        assert set(outcome.metrics) == {"test_loss", "test_error"}
        assert checkpoints.steps(tmp_path / "run") == [0]


class TestSettings:
    def test_the_seed_decides_and_nothing_else_does(self, tiny, tmp_path, same_weights):
        torch.manual_seed(123)
        before = torch.get_rng_state()
        train(tiny("train.seed=4"), tmp_path / "a")
        assert torch.equal(before, torch.get_rng_state())
        torch.rand(5)
        train(tiny("train.seed=4"), tmp_path / "b")
        train(tiny("train.seed=5"), tmp_path / "c")
        assert same_weights(tmp_path / "a", tmp_path / "b")
        assert not same_weights(tmp_path / "a", tmp_path / "c")

    @pytest.mark.parametrize(
        ("overrides", "kind"),
        [
            (["train.dtype=bfloat16"], torch.float32),
            (["train.dtype=float64"], torch.float64),
            (["train.channels_last=true"], torch.float32),
            (["train.dtype=bfloat16", "train.channels_last=true"], torch.float32),
            (["train.deterministic=true"], torch.float32),
            (["train.nesterov=true"], torch.float32),
        ],
    )
    def test_every_arithmetic_learns_and_stores_its_weights(
        self, tiny, tmp_path, overrides, kind, final_weights
    ):
        run = tmp_path / "run"
        outcome = train(tiny("train.epochs=4", "data.subset=300", *overrides), run)
        assert outcome.metrics["train_loss"] < 2.3
        assert final_weights(run)["stem.conv.weight"].dtype == kind
        assert not torch.are_deterministic_algorithms_enabled()

    def test_bfloat16_computes_in_bfloat16(self, tiny):
        prepared = setup.make_setup(tiny("train.dtype=bfloat16"))
        images, _ = next(iter(prepared.test.in_order(4)))
        with prepared.training.autocast(), torch.no_grad():
            assert prepared.training.model(images).dtype == torch.bfloat16

    def test_float64_starts_from_the_weights_of_float32(self, tiny):
        single = setup.make_setup(tiny()).training.model.state_dict()
        double = setup.make_setup(tiny("train.dtype=float64")).training.model.state_dict()
        assert all(
            torch.equal(single[name].to(double[name].dtype), double[name]) for name in single
        )

    def test_a_device_that_is_not_there_is_named(self, tiny, tmp_path):
        with pytest.raises(InputError, match=r"device 'gpu' cannot be used here"):
            train(tiny("train.device=gpu"), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_subset_is_stratified_and_within_the_set(self, tiny):
        training, test = setup.load_images(tiny("data.subset=100").data)
        assert np.abs(np.bincount(training.labels) - 10).max() <= 1
        assert len(test) == 500
        with pytest.raises(InputError, match=r"data\.subset = 9999: digits has 1,297"):
            setup.load_images(tiny("data.subset=9999").data)


def test_weights_of_a_float64_run_are_measured_to_the_bit(tiny, tmp_path):
    from safetensors.torch import load_file

    from resprobe.source import from_run

    train(tiny("train.dtype=float64"), tmp_path / "run")
    source, step = from_run(tmp_path / "run", "last")
    stored = load_file(tmp_path / "run" / "checkpoints" / f"{checkpoints.stem(step)}.safetensors")
    weights = source.model.state_dict()
    assert source.dtype == torch.float64
    assert all(torch.equal(weights[name], stored[name]) for name in stored)
    assert any(
        not torch.equal(t, t.float().double()) for t in stored.values() if t.is_floating_point()
    )
