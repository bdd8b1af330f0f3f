"""Interrupted, resumed and recorded runs: the same bits and rows as in one go."""

import shutil
import tomllib

import numpy as np
import pytest
import torch
from resprobe_models import setup
from resprobe_models.datasets.batches import DeviceData
from resprobe_models.recipe import apply_overrides
from resprobe_models.train import train
from safetensors.torch import load_file

import resprobe
from resprobe.errors import InputError, InterruptionError
from resprobe.store.replay import Replay


@pytest.fixture
def interrupt(monkeypatch):
    """Train and stop as Ctrl-C does, in the middle of the epoch counted from 0."""

    def stop(recipe, run, epoch):
        epochs, original = [], DeviceData.epoch

        def batches(self, *arguments, **settings):
            epochs.append(1)
            for count, batch in enumerate(original(self, *arguments, **settings)):
                if len(epochs) > epoch and count == 2:
                    raise KeyboardInterrupt
                yield batch

        with monkeypatch.context() as patch:
            patch.setattr(DeviceData, "epoch", batches)
            with pytest.raises(InterruptionError):
                train(recipe, run)

    return stop


def recorded(run):
    """Give all variables of the epochs and steps of a recording."""
    training = resprobe.open(run)["training"]
    return {
        name: variable.values
        for group in ("step", "epoch")
        for name, variable in training[group].dataset.variables.items()
    }


class TestResume:
    @pytest.mark.parametrize("epoch", [0, 1, 2])
    @pytest.mark.parametrize("augment", ["none", "crop-flip"])
    def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(  # noqa: PLR0917  # by name
        self, tiny, tmp_path, epoch, augment, same_weights, interrupt
    ):
        recipe = tiny(
            "train.epochs=3", "checkpoint.every_epochs=1", f"data.augment={augment}", "data.pad=2"
        )
        whole = train(recipe, tmp_path / "whole")
        interrupt(recipe, tmp_path / "cut", epoch)
        assert "interrupted at step" in (tmp_path / "cut" / "log.txt").read_text()
        resumed = train(recipe, tmp_path / "cut", resume=True)
        assert same_weights(tmp_path / "whole", tmp_path / "cut")
        state = "checkpoints/step-00000015.state.safetensors"
        whole_state, cut_state = (load_file(tmp_path / run / state) for run in ("whole", "cut"))
        assert whole_state.keys() == cut_state.keys()
        assert all(torch.equal(whole_state[name], cut_state[name]) for name in whole_state)
        for name in ("train_loss", "train_error", "test_loss", "test_error"):
            assert whole.metrics[name] == resumed.metrics[name]

    def test_jacobians_are_followed_through_an_interruption(
        self, tiny, tmp_path, same_weights, interrupt
    ):
        small = ("model.width_factor=0.25", "data.resolution=8")
        recipe = tiny("train.epochs=2", "record.every=2", *small)
        followed = apply_overrides(recipe, ["record.jacobian_every=8"])
        train(recipe, tmp_path / "plain")
        train(followed, tmp_path / "whole")
        interrupt(followed, tmp_path / "cut", 1)
        train(followed, tmp_path / "cut", resume=True)
        assert same_weights(tmp_path / "plain", tmp_path / "whole")
        assert same_weights(tmp_path / "whole", tmp_path / "cut")
        whole, cut = (
            resprobe.open(tmp_path / run)["training/jacobian"].dataset.load()
            for run in ("whole", "cut")
        )
        assert whole["step"].values.tolist() == [1, 9]
        assert whole.sizes["sample"] == 4
        for name, variable in whole.variables.items():
            np.testing.assert_array_equal(variable, cut[name], err_msg=str(name))
        images = resprobe.open(tmp_path / "cut").attrs["jacobian_samples"]
        assert images.startswith("test images ")

    def test_a_finished_run_says_so_and_is_left_alone(self, tiny, finished):
        before = {path: path.read_bytes() for path in (finished / "checkpoints").iterdir()}
        outcome = train(tiny("checkpoint.every_epochs=1"), finished, resume=True)
        assert outcome.status == "finished"
        assert outcome.message == "it is already finished; nothing was done"
        assert {path: path.read_bytes() for path in (finished / "checkpoints").iterdir()} == before

    def test_a_changed_recipe_is_refused_key_by_key(self, tiny, finished):
        changed = tiny("checkpoint.every_epochs=1", "train.seed=1", "model.h=0.5")
        with pytest.raises(InputError) as raised:
            train(changed, finished, resume=True)
        assert "model.h was 1.0, now 0.5; train.seed was 0, now 1" in str(raised.value)

    def test_a_recipe_that_is_no_text_is_named(self, tiny, finished, tmp_path):
        run = tmp_path / "run"
        shutil.copytree(finished, run)
        (run / "recipe.toml").write_bytes(b"\xff\xfe")
        with pytest.raises(InputError, match=r"recipe\.toml cannot be read \(it is not text\)"):
            train(tiny("checkpoint.every_epochs=1"), run, resume=True)

    def test_another_number_of_threads_warns_and_goes_on(self, tiny, tmp_path, interrupt):
        recipe = tiny("checkpoint.every_epochs=1")
        interrupt(recipe, tmp_path / "run", 1)
        other = apply_overrides(recipe, ["train.threads=2"])
        assert train(other, tmp_path / "run", resume=True).status == "finished"
        log = (tmp_path / "run" / "log.txt").read_text()
        assert "resuming with train.threads was 0, now 2" in log
        assert "warning: the number of threads was 1, now 2" in log
        assert torch.get_num_threads() == 1

    def test_other_images_are_refused(self, tiny, tmp_path, monkeypatch, interrupt):
        recipe = tiny("checkpoint.every_epochs=1")
        interrupt(recipe, tmp_path / "run", 1)
        original = setup.load_images

        def shifted(table):
            training, test = original(table)
            training.images[0, 0, 0, 0] += 0.5
            return training, test

        monkeypatch.setattr(setup, "load_images", shifted)
        with pytest.raises(InputError, match="trained on other images"):
            train(recipe, tmp_path / "run", resume=True)


class TestRecording:
    def test_the_recorder_gets_every_step_every_epoch_and_the_end(
        self, tiny, tmp_path, monkeypatch
    ):
        seen = {"steps": [], "epochs": []}

        class Fake:
            status = "running"
            replay = Replay()

            def __init__(self, model, run, **settings):
                seen["settings"] = settings
                seen["recorder"] = self

            def __enter__(self):
                return self

            def __exit__(self, *_):
                seen["status"] = self.status

            def flush(self):
                seen["flushed"] = len(seen["steps"])

            def step(self, loss, *, accuracy=None, pair=None):
                assert pair is None
                assert loss.ndim == accuracy.ndim == 0
                assert not loss.requires_grad
                seen["steps"].append((loss.item(), accuracy.item()))

            def epoch(self, **metrics):
                assert all(type(value) is float for value in metrics.values())
                seen["epochs"].append(metrics)

        import resprobe

        monkeypatch.setattr(resprobe, "Recorder", Fake, raising=False)
        recipe = tiny("record.every=3", "data.subset=128")
        train(recipe, tmp_path / "run")
        assert len(seen["steps"]) == 8
        assert seen["status"] == "finished"
        assert seen["settings"]["every"] == 3
        assert seen["settings"]["start_step"] == 0
        assert seen["settings"]["resume"] is False
        assert seen["flushed"] == 8, "a checkpoint never runs ahead of the rows"
        attributes = seen["settings"]["attributes"]
        assert attributes["seed"] == 0
        assert tomllib.loads(attributes["recipe"])["model"]["classes"] == 10
        assert all(type(value) in (str, int, float) for value in attributes.values())
        assert len(seen["epochs"]) == 2
        first = seen["epochs"][0]
        assert set(first) == {
            "train_loss", "train_error", "test_loss", "test_error", "learning_rate", "wall_time",
        }  # fmt: skip
        losses, accuracies = zip(*seen["steps"][:4], strict=True)
        assert first["train_loss"] == pytest.approx(np.mean(losses), rel=1e-12)
        assert first["train_error"] == pytest.approx(1 - np.mean(accuracies), abs=1e-7)

    def test_a_resumed_recording_has_the_rows_of_an_uninterrupted_one(
        self, tiny, tmp_path, interrupt
    ):
        recipe = tiny("train.epochs=3", "checkpoint.every_epochs=1", "record.every=1")
        train(recipe, tmp_path / "whole")
        for epoch in (0, 2):
            run = tmp_path / f"cut-{epoch}"
            interrupt(recipe, run, epoch)
            train(recipe, run, resume=True)
            whole, cut = recorded(tmp_path / "whole"), recorded(run)
            assert whole.keys() == cut.keys()
            for name in whole.keys() - {"wall_time"}:
                np.testing.assert_array_equal(whole[name], cut[name], err_msg=name)

    def test_recording_changes_no_bit(self, tiny, tmp_path, same_weights):
        train(tiny(), tmp_path / "off")
        outcome = train(tiny("record.every=1"), tmp_path / "on")
        assert outcome.status == "finished"
        assert (tmp_path / "on" / "training.h5").is_file()
        assert same_weights(tmp_path / "off", tmp_path / "on")
