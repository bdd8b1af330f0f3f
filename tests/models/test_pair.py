"""Two equivalent networks in lockstep: what is recorded, kept, resumed and refused."""

import re
import shutil
import tomllib

import numpy as np
import pytest
import torch
from resprobe_models import checkpoint, member
from resprobe_models import pair as module
from resprobe_models import train as trainer
from resprobe_models.datasets.batches import DeviceData
from resprobe_models.pair import partner_recipe, partner_setup
from resprobe_models.processes import Processes
from resprobe_models.recipe import apply_overrides, from_toml
from resprobe_models.setup import make_setup
from resprobe_models.train import train
from safetensors.torch import load_file
from torch import nn

import resprobe
from resprobe import checkpoints
from resprobe.errors import InputError, InterruptionError
from resprobe.linalg.transfer import to_plain
from resprobe.store.check import check

EPS = np.finfo(np.float64).eps
SMALL = (
    "model.depth=8",
    "model.width_factor=0.25",
    "data.resolution=8",
    "data.augment=none",
    "data.test_subset=50",
    "train.dtype=float64",
    "train.weight_decay=0.01",
    "schedule.learning_rate=0.02",
    "record.every=1",
    "pair.network=equivalent",
)
CONTROL = 'pair.changes=["train.decay_toward=zero"]'


@pytest.fixture(scope="module")
def pair(tiny):
    """A recipe of a pair of five steps an epoch."""

    def make(*overrides, kind="resnet"):
        toward = ("train.decay_toward=identity",) if kind == "plain" else ()
        name = f"simplified-{kind}-20-digits"
        return tiny(*SMALL, *toward, *overrides, name=name)

    return make


@pytest.fixture(scope="module")
def whole(pair, tmp_path_factory):
    """A run of a pair, three epochs with a checkpoint at the start and after each."""
    run = tmp_path_factory.mktemp("pairs") / "whole"
    recipe = pair("train.epochs=3", "checkpoint.every_epochs=1", "checkpoint.initial=true")
    train(recipe, run)
    return recipe, run


def compared(run):
    return resprobe.open(run)["training/pair"].to_dataset().load()


def weights(run, step):
    return load_file(run / "checkpoints" / f"step-{step:08d}.safetensors")


def recorded(run):
    """Give everything recorded in the run and in its partner's that does not tell the time."""
    tree = resprobe.open(run)
    return {
        (node.path, name): variable.values
        for node in tree.leaves
        for name, variable in node.dataset.variables.items()
        if name != "wall_time"
    }


class TestLockstep:
    @pytest.mark.parametrize("kind", ["resnet", "plain"])
    def test_a_pair_stays_together_but_for_rounding_and_the_control_does_not(
        self, kind, pair, tmp_path
    ):
        """Twenty steps; Yu and Tomasi (2019), Sec. 3, with the penalty of T⁻¹(p)."""
        control = CONTROL if kind == "resnet" else 'pair.changes=["train.weight_decay=0"]'
        train(pair("train.epochs=4", kind=kind), tmp_path / "pair")
        train(pair("train.epochs=4", control, kind=kind), tmp_path / "control")
        found, other = compared(tmp_path / "pair"), compared(tmp_path / "control")
        steps = found["step"].values
        assert steps.tolist() == list(range(1, 21))
        # Each step rounds the plain weights and the residual ones, by half a last place of the
        # largest or less, in the decay, in the momentum and in the update.
        bound = 3 * (steps + 1) * EPS
        for name in ("output", "gradient", "weight"):
            scale = found[f"pair_{name}_scale"].values
            assert (found[f"pair_{name}_distance"].values <= bound * np.maximum(scale, 1)).all()
        assert np.abs(found["pair_loss_distance"].values).max() <= bound[-1]
        assert other["pair_weight_distance"].values[0] > 1e-5
        ratio = other["pair_weight_distance"] / found["pair_weight_distance"]
        assert ratio.values[-1] > 1e9
        moved = weights(tmp_path / "pair", 20)
        start = make_setup(pair(kind=kind)).training.model.state_dict()
        assert max((moved[name] - start[name]).abs().max() for name in start) > 0.01

    def test_every_figure_is_that_of_the_checkpoints(self, pair, tmp_path):
        """One batch an epoch, a checkpoint after each: all can be computed again from outside."""
        recipe = pair(
            "train.batch_size=150", "train.epochs=3", "checkpoint.every_epochs=1", CONTROL,
            "checkpoint.initial=true", "train.weight_decay=0.5",
        )  # fmt: skip
        run = tmp_path / "run"
        train(recipe, run)
        found = compared(run)
        setup = make_setup(recipe)
        images = setup.train.standardised(setup.train.pixels)
        entries = setup.training.model.id_entries()
        runs = {run: recipe, run / "partner": partner_recipe(recipe)}
        models = {place: make_setup(own).training.model for place, own in runs.items()}
        for row in range(3):
            seen = []
            for place, model in models.items():
                model.load_state_dict(weights(place, row))
                model.zero_grad()
                logits = model(images)
                loss = nn.functional.cross_entropy(logits, setup.train.labels)
                torch.autograd.backward(loss)
                after = weights(place, row + 1)
                plain = to_plain(after, entries) if place == run else after
                seen.append(
                    {
                        "output": logits.detach().flatten(),
                        "gradient": torch.cat([p.grad.flatten() for p in model.parameters()]),
                        "weight": torch.cat([plain[name].flatten() for name in model.state_dict()]),
                        "loss": loss.item(),
                    }
                )
            one, two = seen
            here = found.isel(step=row)
            difference = one.pop("loss") - two.pop("loss")
            assert here["pair_loss_distance"].item() == pytest.approx(difference, abs=1e-14)
            for name, values in one.items():
                distance = (values - two[name]).abs().max().item()
                scale = values.abs().max().item()
                stored = here[f"pair_{name}_distance"].item(), here[f"pair_{name}_scale"].item()
                assert stored == pytest.approx((distance, scale), rel=1e-9, abs=1e-14)
        assert found["pair_weight_distance"].values[-1] > 1e-3

    def test_the_partner_begins_as_the_same_function(self, whole):
        _, run = whole
        entries = make_setup(from_toml((run / "recipe.toml").read_text())).training.model
        expected = to_plain(weights(run, 0), entries.id_entries())
        assert all(
            torch.equal(expected[name], value)
            for name, value in weights(run / "partner", 0).items()
        )

    def test_a_partner_changes_no_bit_of_the_run(self, whole, pair, tmp_path, same_weights):
        _, run = whole
        train(pair("train.epochs=3", "pair.network=none"), tmp_path / "alone")
        assert same_weights(run, tmp_path / "alone")

    def test_the_partner_trained_by_itself_from_its_start_has_the_same_bits(
        self, whole, tmp_path, same_weights
    ):
        """Its directory is a run like any other: here it is taken up at its first checkpoint."""
        _, run = whole
        alone = tmp_path / "alone"
        shutil.copytree(run / "partner", alone)
        (alone / "training.h5").unlink()
        for step in (5, 10, 15):
            checkpoint.remove(alone, step)
        recipe = from_toml((alone / "recipe.toml").read_text())
        assert recipe.pair.network == "none"
        assert recipe.train.decay_toward == "identity"
        train(recipe, alone, resume=True)
        assert same_weights(run / "partner", alone)

    def test_float32_begins_within_its_rounding(self, pair, tmp_path):
        train(pair("train.dtype=float32", "train.epochs=1"), tmp_path / "run")
        found = compared(tmp_path / "run").isel(step=0)
        eps = np.finfo(np.float32).eps
        assert 0 < found["pair_weight_distance"] <= 2 * eps
        assert found["pair_output_distance"] <= 16 * eps * max(found["pair_output_scale"], 1)

    def test_fewer_rows_are_recorded_if_asked(self, pair, whole, tmp_path):
        _, run = whole
        train(pair("train.epochs=3", "record.every=4"), tmp_path / "run")
        few, all_ = compared(tmp_path / "run"), compared(run)
        assert few["step"].values.tolist() == [1, 5, 9, 13]
        assert few.equals(all_.sel(step=few["step"]))


class TestEnd:
    def test_no_epochs_keep_two_untrained_networks(self, pair, tmp_path):
        outcome = train(pair("train.epochs=0"), tmp_path / "run")
        info = checkpoints.read_info(tmp_path / "run" / "partner", 0)
        assert info["status"] == "finished"
        assert info["metrics"]["test_loss"] == pytest.approx(outcome.metrics["test_loss"])

    def test_the_target_of_the_run_ends_both(self, pair, tmp_path):
        outcome = train(pair("train.stop_train_loss=9", CONTROL), tmp_path / "run")
        assert outcome.status == "reached_target"
        for run in (tmp_path / "run", tmp_path / "run" / "partner"):
            assert checkpoints.steps(run) == [5]
            assert checkpoints.read_info(run, 5)["status"] == "reached_target"

    def test_where_one_diverges_both_end(self, pair, tmp_path):
        run = tmp_path / "run"
        hot = 'pair.changes=["schedule.learning_rate=1e200"]'
        assert train(pair(hot, "train.epochs=3"), run).status == "diverged"
        # the loss is looked at twice a second: on a slow machine before the epoch's last step
        said = re.search(
            r"the partner's loss is not finite at step (\d)", (run / "log.txt").read_text()
        )
        assert said
        assert 1 < int(said[1]) <= 5
        tree = resprobe.open(run)
        for path in ("training/step", "training/pair", "partner/training/step"):
            assert tree[path].attrs["status"] == "diverged"
        assert checkpoints.steps(run) == []
        assert np.isfinite(tree["training/step"]["loss"].values).all()
        assert not np.isfinite(tree["training/pair"]["pair_weight_distance"].values).all()


class TestResume:
    def stop(self, monkeypatch, recipe, run, steps):
        """Train and stop as Ctrl-C does, after that many steps."""
        seen, original = [], DeviceData.epoch

        def batches(self, *arguments, **settings):
            for batch in original(self, *arguments, **settings):
                if len(seen) == steps:
                    raise KeyboardInterrupt
                seen.append(1)
                yield batch

        with monkeypatch.context() as patch:
            patch.setattr(DeviceData, "epoch", batches)
            with pytest.raises(InterruptionError):
                train(recipe, run)

    def check(self, whole, run, same_weights):
        recipe, expected = whole
        assert train(recipe, run, resume=True).status == "finished"
        assert same_weights(expected, run)
        assert same_weights(expected / "partner", run / "partner")
        ours, theirs = recorded(expected), recorded(run)
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=str(name))
        assert not check(run).violations

    @pytest.mark.parametrize("steps", [2, 12])
    def test_stopped_at_once(self, steps, whole, tmp_path, monkeypatch, same_weights):
        self.stop(monkeypatch, whole[0], tmp_path / "run", steps)
        self.check(whole, tmp_path / "run", same_weights)

    def test_stopped_within_an_epoch(self, whole, tmp_path, monkeypatch, same_weights):
        """An interim checkpoint of both, which goes when the next is written."""
        run, original = tmp_path / "run", DeviceData.epoch

        def batches(self, *arguments, **settings):
            for count, batch in enumerate(original(self, *arguments, **settings)):
                if count == 2:
                    trainers[0].wish.to_stop = True
                yield batch

        trainers = []

        class Watched(trainer._Trainer):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                trainers.append(self)

        with monkeypatch.context() as patch:
            patch.setattr(DeviceData, "epoch", batches)
            patch.setattr(trainer, "_Trainer", Watched)
            with pytest.raises(InterruptionError, match="after step 3"):
                train(whole[0], run)
        assert checkpoints.steps(run) == checkpoints.steps(run / "partner") == [0, 3]
        self.check(whole, run, same_weights)
        assert checkpoints.steps(run) == checkpoints.steps(run / "partner") == [0, 5, 10, 15]

    def test_killed_between_the_two_checkpoints(self, whole, tmp_path, monkeypatch, same_weights):
        run, original = tmp_path / "run", member.write_checkpoint

        def write(place, setup, *arguments, **settings):
            if place == run and setup.training.step == 10:
                raise KeyboardInterrupt
            original(place, setup, *arguments, **settings)

        with monkeypatch.context() as patch:
            patch.setattr(member, "write_checkpoint", write)
            with pytest.raises(InterruptionError):
                train(whole[0], run)
        assert checkpoints.steps(run) == [0, 5]
        assert checkpoints.steps(run / "partner") == [0, 5, 10]
        self.check(whole, run, same_weights)

    def test_killed_before_the_partner_had_a_recipe(self, whole, tmp_path, same_weights):
        run = tmp_path / "run"
        run.mkdir()
        shutil.copy(whole[1] / "recipe.toml", run)
        self.check(whole, run, same_weights)

    def test_another_pair_is_refused(self, whole):
        recipe, run = whole
        changed = apply_overrides(recipe, [CONTROL])
        with pytest.raises(InputError, match=r"another recipe: pair\.changes was"):
            train(changed, run, resume=True)


class TestDirectory:
    def test_the_partner_is_a_run_of_its_own(self, whole):
        _, run = whole
        tree = resprobe.open(run)
        partner = resprobe.open(run / "partner")
        assert tree["partner"].attrs == partner.attrs
        assert tomllib.loads(tree["partner"].attrs["recipe"])["model"]["residual"] is False
        for path in ("training/step", "training/epoch"):
            assert tree[f"partner/{path}"].to_dataset().equals(partner[path].to_dataset())
        assert "pair" not in partner["training"]
        assert "partner_recipe" not in tree.attrs
        assert "epoch 3/3" in (run / "partner" / "log.txt").read_text()

    def test_an_export_keeps_the_partner(self, whole, tmp_path):
        from click.testing import CliRunner

        from resprobe.cli.export import export

        out = tmp_path / "run.h5"
        result = CliRunner().invoke(export, [str(whole[1]), "-o", str(out)])
        assert result.exit_code == 0, result.output
        tree, again = resprobe.open(whole[1]), resprobe.open(out)
        assert [node.path for node in again.leaves] == [node.path for node in tree.leaves]
        for node in tree.leaves:
            assert again[node.path].to_dataset().equals(node.to_dataset())
        assert again["partner"].attrs["recipe"] == tree["partner"].attrs["recipe"]
        assert again.attrs["recipe"] == tree.attrs["recipe"]
        assert not check(out).violations

    def test_a_check_covers_the_partner(self, whole, tmp_path):
        run = tmp_path / "run"
        shutil.copytree(whole[1], run)
        assert not check(run).violations
        checkpoint.remove(run / "partner", 10)
        (run / "partner" / "training.h5").write_bytes(b"no HDF5")
        found = "\n".join(check(run).violations)
        assert "partner lacks step-00000010, but the recipe trains a pair" in found
        assert "partner/training.h5" in found

    def test_overwriting_deletes_the_partner(self, whole, pair, tmp_path):
        run = tmp_path / "run"
        shutil.copytree(whole[1], run)
        train(pair("pair.network=none", "train.epochs=0"), run, overwrite=True)
        assert not (run / "partner").exists()


class TestRefused:
    @pytest.mark.parametrize(
        ("overrides", "words"),
        [
            (("record.every=0",), "records nothing"),
            (('pair.changes=["data.subset=10"]',), "unknown key that pair.changes may change"),
            (('pair.changes=["train.decay_toward=nowhere"]',), "train.decay_toward"),
            (('pair.changes=["train.momentum"]',), "is not an override"),
            (("pair.network=none", CONTROL), "pair.changes without a pair"),
            (("pair.network=twin",), "pair.network"),
        ],
    )
    def test_a_recipe_of_no_pair(self, overrides, words, pair, tmp_path):
        with pytest.raises(InputError, match=words):
            train(pair(*overrides), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_plain_network_that_decays_to_zero(self, pair):
        with pytest.raises(InputError, match="so they would not stay equal"):
            partner_recipe(pair("train.decay_toward=zero", kind="plain"))
        for without in ("train.weight_decay=0", "train.wd_scale=0"):
            recipe = pair("train.decay_toward=zero", without, kind="plain")
            assert partner_recipe(recipe).model.arguments["residual"] is True

    def test_an_architecture_without_a_plain_counterpart(self, pair, monkeypatch):
        recipe = pair()
        monkeypatch.setattr(module, "argument_hints", lambda _: {"depth": int})
        with pytest.raises(InputError, match="has no argument residual"):
            partner_recipe(recipe)

    def test_a_network_without_id_entries(self, tiny, tmp_path):
        recipe = tiny("record.every=1", "pair.network=equivalent")
        with pytest.raises(InputError, match="it has no method id_entries"):
            train(recipe, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_several_processes(self, pair):
        setup = make_setup(pair())
        setup.training.processes = Processes(0, 2)
        with pytest.raises(InputError, match="trained by one process, and 2 were started"):
            partner_setup(setup)
