"""Recording under the Trainer of Lightning gives what a loop with a Recorder gives."""

import warnings

import lightning.pytorch as lightning
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import MixedPrecision
from other_trainers import (
    BATCH,
    RATE,
    SOME,
    assert_same_rows,
    by_hand,
    epochs_of,
    residual_net,
    samples,
    steps_of,
    told_of,
)
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from resprobe import LightningCallback
from resprobe.callbacks.recording import evaluated
from resprobe.errors import InputError

# Lightning 2.6 asks torch's trees by a class that torch 2.13 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
}


class Training:
    """What both packages' modules do: a residual net, a schedule by step, validation."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.net = residual_net(dropout)

    def training_step(self, batch, index):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def validation_step(self, batch, index):
        x, y = batch
        logits = self.net(x)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log("val_acc", (logits.argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.net.parameters(), lr=RATE, momentum=0.9)
        return [optimizer], [{"scheduler": falling(optimizer), "interval": "step"}]


class Module(Training, lightning.LightningModule):
    pass


def falling(optimizer):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)


def loader():
    return DataLoader(TensorDataset(*samples()), BATCH)


def six():
    return DataLoader(TensorDataset(*(part[:6] for part in samples())), 6)


def fit(module, *callbacks, package=lightning, checkpoint=None, **settings):
    """Train, and validate only where `limit_val_batches` says so."""
    settings = {"max_epochs": 2, "limit_val_batches": 0, **QUIET, **settings}
    trainer = package.Trainer(callbacks=list(callbacks), **settings)
    with warnings.catch_warnings():
        # Advice on loading faster, which tensors in memory do not need.
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        trainer.fit(module, loader(), six(), ckpt_path=checkpoint)
    return trainer


def mean_losses(model, batches):
    for x, y in batches:
        yield F.cross_entropy(model(x), y) / len(batches)


def hand_written(out, *, accumulation=1, epochs=2, **options):
    x, y = samples()
    batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    net = residual_net()
    losses = by_hand(
        net, batches, mean_losses, out,
        accumulation=accumulation, scheduler=falling, epochs=epochs, **options,
    )  # fmt: skip
    return net, losses


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    """Two epochs of five steps of a loop with a Recorder."""
    out = tmp_path_factory.mktemp("hand")
    hand_written(out, quantities=SOME)
    return steps_of(out / "training.h5")


class Raises(Callback):
    """An exception, or Ctrl-C, after a step."""

    def __init__(self, step, error):
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer, *rest):
        if trainer.global_step == self.step:
            raise self.error


def test_a_row_is_a_step_over_all_its_micro_batches_as_in_a_loop_with_a_recorder(tmp_path):
    # 18 samples in batches of 4, in threes: the second step of an epoch has two batches.
    place = tmp_path / "run/training.h5"
    fit(
        Module(), LightningCallback(tmp_path / "run", quantities=SOME),
        accumulate_grad_batches=3, gradient_clip_val=0.5, limit_val_batches=1, max_epochs=1,
    )  # fmt: skip
    found, epochs = steps_of(place), epochs_of(place)
    x, y = samples()
    batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    net = residual_net()
    trained = by_hand(
        net, batches, thirds, tmp_path / "hand",
        accumulation=3, clip=0.5, scheduler=falling, quantities=SOME,
    )  # fmt: skip
    # Lightning divides by three also where it adds up two; their mean is what is recorded.
    trained[1] *= 3 / 2
    rows = steps_of(tmp_path / "hand/training.h5")
    assert_same_rows(found, rows, rtol=1e-5, but=["loss"])
    np.testing.assert_allclose(found["loss"], trained, rtol=1e-6)
    assert list(epochs["step"]) == [2]
    assert float(epochs["train_loss"][0]) == pytest.approx(np.mean(trained), rel=1e-6)
    assert float(epochs["learning_rate"][0]) == pytest.approx(RATE * 0.9)
    with torch.no_grad():
        logits = net.eval()(x[:6])
    assert float(epochs["test_loss"][0]) == pytest.approx(float(F.cross_entropy(logits, y[:6])))
    wrong = float((logits.argmax(1) != y[:6]).double().mean())
    assert float(epochs["test_error"][0]) == pytest.approx(wrong)
    assert told_of(place)["status"] == "finished"


def thirds(model, batches):
    for x, y in batches:
        yield F.cross_entropy(model(x), y) / 3


def precision(name):
    if name == "16-mixed":  # which Lightning takes on a GPU only, unless it is given so
        return {"plugins": [MixedPrecision(name, "cpu", torch.amp.GradScaler("cpu"))]}
    return {"precision": name}


# Of the first step, what half precision leaves: 8 or 11 bits of each product, and no scale.
@pytest.mark.parametrize(
    ("name", "rtol"), [("32-true", 1e-5), ("bf16-mixed", 3e-2), ("16-mixed", 4e-3)]
)
def test_a_recorded_training_ends_in_the_same_bits_and_its_rows_have_no_scale(
    name, rtol, tmp_path, hand
):
    bare = Module()
    fit(bare, max_epochs=1, **precision(name))
    drawn = torch.get_rng_state()
    callback = LightningCallback(tmp_path / "run", quantities=SOME)
    recorded = Module()  # seeds the generator
    fit(recorded, callback, max_epochs=1, **precision(name))
    assert torch.equal(drawn, torch.get_rng_state())
    others = recorded.state_dict()
    assert all(torch.equal(value, others[key]) for key, value in bare.state_dict().items())
    found = steps_of(tmp_path / "run/training.h5")
    first = slice(None if name == "32-true" else 1)
    assert_same_rows(found.isel(step=first), hand.isel(step=slice(5)).isel(step=first), rtol=rtol)


class Saves(Callback):
    """A checkpoint at the end of each epoch, as ModelCheckpoint saves one."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_epoch_end(self, trainer, module):
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def test_a_training_goes_on_in_its_file_after_an_exception_as_if_it_never_stopped(tmp_path, hand):
    place = tmp_path / "run/training.h5"
    callback = LightningCallback(tmp_path / "run", quantities=SOME)
    with pytest.raises(ZeroDivisionError):
        fit(Module(), callback, Saves(tmp_path), Raises(7, ZeroDivisionError()))
    assert told_of(place)["status"] == "interrupted"
    assert list(steps_of(place)["step"].values) == list(range(1, 8))
    fit(Module(), callback, checkpoint=tmp_path / "5.ckpt")
    found, told = steps_of(place), told_of(place)
    assert_same_rows(found, hand, rtol=1e-5)
    assert told["status"] == "finished"
    # What both lives recorded is the same to the bit.
    assert (told["replay_compared"], told["replay_differing"]) == (2, 0)
    epochs = epochs_of(place)
    assert list(epochs["step"]) == [5, 10]
    assert np.isfinite(epochs["train_loss"]).all()


def test_ctrl_c_leaves_every_row_and_its_status(tmp_path, hand):
    callback = LightningCallback(tmp_path / "run.h5", quantities=SOME)
    with pytest.raises(SystemExit):
        fit(Module(), callback, Raises(3, KeyboardInterrupt()))
    assert told_of(tmp_path / "run.h5")["status"] == "interrupted"
    assert_same_rows(steps_of(tmp_path / "run.h5"), hand.isel(step=slice(3)), rtol=1e-5)


def test_a_second_fit_of_the_same_trainer_goes_on_and_the_package_of_the_other_name_is_served(
    tmp_path, hand
):
    import pytorch_lightning

    class Other(Training, pytorch_lightning.LightningModule):
        pass

    callback = LightningCallback(tmp_path / "run", quantities=SOME)
    trainer = fit(Other(), callback, package=pytorch_lightning, max_epochs=1)
    assert told_of(tmp_path / "run/training.h5")["status"] == "finished"
    trainer.fit_loop.max_epochs = 2
    trainer.fit(trainer.lightning_module, loader(), six())
    found = steps_of(tmp_path / "run/training.h5")
    assert list(found["step"].values) == list(range(1, 11))
    assert_same_rows(found.isel(step=slice(5)), hand.isel(step=slice(5)), rtol=1e-5)
    # Lightning makes the optimizer anew.
    assert float(found["learning_rate"][5]) == pytest.approx(RATE)
    with pytest.raises(InputError, match=r"exists; choose another place.*fit\(ckpt_path"):
        fit(Other(), callback, package=pytorch_lightning)


class Leaving(Module):
    """It leaves out the first batch before its forward pass, and the third after it."""

    def training_step(self, batch, index):
        if index == 0:
            return None
        loss = super().training_step(batch, index)
        return None if index == 2 else loss


@pytest.mark.filterwarnings("ignore:.*training_step. returned .None")
def test_batches_that_training_step_leaves_out_have_no_row(tmp_path):
    callback = LightningCallback(tmp_path / "run", quantities=["branch_norm"])
    fit(Leaving(), callback, max_epochs=1)
    found = steps_of(tmp_path / "run/training.h5")
    assert list(found["step"].values) == [2, 4, 5]
    mean = epochs_of(tmp_path / "run/training.h5")["train_loss"]
    np.testing.assert_allclose(mean, found["loss"].mean(), rtol=1e-6)


def test_one_training_is_recorded_by_one_callback_with_the_path_of_a_network(tmp_path):
    first, second = (LightningCallback(tmp_path / name) for name in "ab")
    for twice, said in (((first, first), "twice"), ((first, second), "two callbacks")):
        with pytest.raises(InputError, match=f"{said}.*leave one out"):
            fit(Module(), *twice, max_steps=1)
    with pytest.raises(InputError, match="network is a Module; give the path"):
        LightningCallback(tmp_path, network=Module())


class Spread(lightning.LightningModule):
    """Its network is itself: several children and a forward pass of its own."""

    def __init__(self):
        super().__init__()
        self.stem, self.block, *_ = residual_net()
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.block(self.stem(x)))

    def training_step(self, batch, index):
        return F.cross_entropy(self(batch[0]), batch[1])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=RATE)


class Sidestepping(Spread):
    """It has a forward pass, but trains without it."""

    def training_step(self, batch, index):
        return F.cross_entropy(self.head(self.block(self.stem(batch[0]))), batch[1])


class Headless(Sidestepping):
    forward = lightning.LightningModule.forward


class Manual(Spread):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


def test_the_whole_module_is_recorded_where_its_forward_pass_is_that_of_several_children(tmp_path):
    callback = LightningCallback(tmp_path / "run", quantities=SOME)
    fit(Spread(), callback, max_steps=7)
    found = steps_of(tmp_path / "run/training.h5")
    assert list(found["block"].values) == ["block"]
    assert found.sizes["step"] == 7
    # The second epoch was left before its end.
    assert list(epochs_of(tmp_path / "run/training.h5")["step"]) == [5]


@pytest.mark.parametrize(
    ("module", "network", "said"),
    [
        (Sidestepping, None, "never calls the module itself.*parameters: stem, block, head"),
        (Headless, None, "can't be told which module of the Headless.*: stem, block, head"),
        (Headless, "net", "network='net' is no submodule of the Headless.*: stem, block, head"),
        (Headless, "head", "no residual blocks were found"),
        (Manual, None, "optimizes manually.*use resprobe.Recorder"),
    ],
)
def test_what_can_not_be_recorded_ends_the_fit_in_one_sentence(module, network, said, tmp_path):
    with pytest.raises(InputError, match=said):
        fit(module(), LightningCallback(tmp_path / "run", network=network))


@pytest.mark.parametrize(
    ("metrics", "found"),
    [
        ({"val_loss": 2.0, "val_acc": torch.tensor(0.75)}, {"test_loss": 2.0, "test_error": 0.25}),
        ({"val/loss": 2.0, "val/accuracy": 0.5}, {"test_loss": 2.0, "test_error": 0.5}),
        ({"val_acc": 93.0, "loss": 1.0, "eval_loss": 1.0}, {}),  # per cent, and other names
    ],
)
def test_only_what_is_named_clearly_is_taken_for_test_loss_and_error(metrics, found):
    assert evaluated(metrics, "val") == found


def test_a_trainer_that_does_not_fit_records_nothing(tmp_path):
    callback = LightningCallback(tmp_path / "run")
    trainer = lightning.Trainer(callbacks=[callback], **QUIET)
    trainer.validate(Module(), loader(), verbose=False)
    assert not (tmp_path / "run").exists()


class Sharing(Module):
    """It takes every second sample of a batch of four, in order."""

    def train_dataloader(self):
        data = TensorDataset(*(part[:16] for part in samples()))
        return DataLoader(data, 2, sampler=DistributedSampler(data, shuffle=False))


def test_two_processes_record_the_rows_of_one(tmp_path):
    trainer = lightning.Trainer(
        callbacks=[LightningCallback(tmp_path / "run", quantities=SOME)],
        strategy="ddp_fork", devices=2, use_distributed_sampler=False,
        max_epochs=1, limit_val_batches=0, **QUIET,
    )  # fmt: skip
    trainer.fit(Sharing(), val_dataloaders=six())
    batches = list(zip(*(part[:16].split(4) for part in samples()), strict=True))
    trained = by_hand(
        residual_net(), batches, mean_losses, tmp_path / "hand", scheduler=falling, quantities=SOME
    )
    place = tmp_path / "run/training.h5"
    assert_same_rows(steps_of(place), steps_of(tmp_path / "hand/training.h5"), rtol=1e-5)
    mean = float(epochs_of(place)["train_loss"][0])
    assert mean == pytest.approx(np.mean(trained), rel=1e-6)
