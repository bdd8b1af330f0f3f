"""Recording under the Trainer of transformers gives what a loop with a Recorder gives."""

import atexit
import contextlib
import inspect
import multiprocessing
import os
import sys
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from other_trainers import (
    BATCH,
    RATE,
    SAMPLES,
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
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

import resprobe
from resprobe import HuggingFaceCallback
from resprobe.callbacks import recording
from resprobe.callbacks.step_loss import StepLoss
from resprobe.errors import InputError


class Returning(nn.Module):
    """A network as the Trainer wants it: it returns its loss."""

    def __init__(self):
        super().__init__()
        self.net = residual_net()

    def forward(self, x, labels=None):
        logits = self.net(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class OverItems(Returning):
    """One that divides by the samples of the whole step, which the Trainer counts for it."""

    def forward(self, x, labels=None, **loss_arguments):
        logits = self.net(x)
        items = loss_arguments.get("num_items_in_batch", len(labels))
        return {"loss": F.cross_entropy(logits, labels, reduction="sum") / items, "logits": logits}


def plain_data():
    return [{"x": x, "labels": y} for x, y in zip(*samples(), strict=True)]


def texts():
    return torch.randint(0, 30, (SAMPLES, 8), generator=torch.Generator().manual_seed(1))


def fit(model, data, folder, *callbacks, resume=None, **settings):
    """Train under a Trainer; give it."""
    settings = {
        "output_dir": str(folder / "trainer"),
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 2,
        "optim": "sgd",
        "optim_args": "momentum=0.9",
        "learning_rate": RATE,
        "train_sampling_strategy": "sequential",
        "max_grad_norm": 0.5,
        "use_cpu": True,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        **settings,
    }
    trainer = Trainer(
        model, TrainingArguments(**settings), train_dataset=data, eval_dataset=data[:6],
        compute_metrics=accuracy, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


class StopsAfter(TrainerCallback):
    """Ctrl-C after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def linear(total):
    return lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 1 - s / total)


def mean_losses(model, batches):
    """Each micro-batch's mean, averaged over the step."""
    for x, y in batches:
        yield F.cross_entropy(model(x, y)["logits"], y) / len(batches)


def item_losses(model, batches):
    """The mean over all samples of the step."""
    for x, y in batches:
        yield F.cross_entropy(model(x, y)["logits"], y, reduction="sum") / sum(
            len(y) for _, y in batches
        )


@pytest.mark.parametrize(
    ("kind", "losses", "names"), [(Returning, mean_losses, None), (OverItems, item_losses, SOME)]
)
def test_a_row_is_a_step_over_all_its_micro_batches_as_in_a_loop_with_a_recorder(
    kind, losses, names, tmp_path
):
    # 18 samples in batches of 4, in twos: the last step of an epoch has one batch, of 2 samples.
    fit(
        kind(), plain_data(), tmp_path, HuggingFaceCallback(tmp_path / "run", quantities=names),
        gradient_accumulation_steps=2, eval_strategy="epoch",
    )  # fmt: skip
    model = kind()
    x, y = samples()
    batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    trained = by_hand(
        model, batches, losses, tmp_path / "hand",
        accumulation=2, clip=0.5, scheduler=linear(6), epochs=2, quantities=names,
    )  # fmt: skip
    place = tmp_path / "run/training.h5"
    found = steps_of(place)
    # Float32 in other orders of adding up.
    assert_same_rows(found, steps_of(tmp_path / "hand/training.h5"), rtol=1e-5)
    np.testing.assert_allclose(found["loss"], trained, rtol=1e-6)
    epochs = epochs_of(place)
    assert list(epochs["step"]) == [3, 6]
    np.testing.assert_allclose(epochs["train_loss"], np.reshape(trained, (2, 3)).mean(1), rtol=1e-6)
    np.testing.assert_allclose(epochs["learning_rate"], [RATE * 4 / 6, RATE * 1 / 6])
    assert (epochs["wall_time"] > 0).all()
    with torch.no_grad():
        logits = model.eval().net(x[:6])
    np.testing.assert_allclose(epochs["test_loss"][1], F.cross_entropy(logits, y[:6]), rtol=1e-5)
    wrong = float((logits.argmax(1) != y[:6]).double().mean())
    assert float(epochs["test_error"][1]) == pytest.approx(wrong)
    assert told_of(place)["status"] == "finished"


def test_the_rows_of_a_bert_are_those_of_a_loop_with_a_recorder(tmp_path):
    callback = HuggingFaceCallback(tmp_path / "run", quantities=SOME)
    fit(classifier(0.0), classified_data(), tmp_path, callback, max_steps=2)
    batches = list(zip(texts().split(BATCH), samples()[1].split(BATCH), strict=True))[:2]
    by_hand(
        classifier(0.0), batches,
        lambda model, part: (F.cross_entropy(model(input_ids=x).logits, y) for x, y in part),
        tmp_path / "hand", clip=0.5, scheduler=linear(2), quantities=SOME,
    )  # fmt: skip
    found, hand = (steps_of(tmp_path / one / "training.h5") for one in ("run", "hand"))
    assert found.sizes["block"] == 4
    assert_same_rows(found, hand, rtol=1e-5)


def classifier(dropout=0.1):
    torch.manual_seed(0)
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=3,
        **rates,
    )
    return BertForSequenceClassification(config).train()


def classified_data():
    labels = samples()[1]
    return [{"input_ids": x, "labels": y} for x, y in zip(texts(), labels, strict=True)]


def test_a_recorded_training_with_dropout_in_bfloat16_ends_in_the_same_bits(tmp_path):
    data = classified_data()
    settings = {"bf16": True, "eval_strategy": "steps", "eval_steps": 2}
    ends = []
    for callbacks in ([], [HuggingFaceCallback(tmp_path / "run", every=2, quantities=SOME)]):
        trainer = fit(classifier(), data, tmp_path, *callbacks, num_train_epochs=1, **settings)
        ends.append((trainer.model.state_dict(), trainer.state.log_history, torch.rand(3)))
    (bare, log, drawn), (recorded, _, also_drawn) = ends
    assert all(torch.equal(value, recorded[name]) for name, value in bare.items())
    assert torch.equal(drawn, also_drawn)
    found = steps_of(tmp_path / "run/training.h5")
    assert list(found["step"].values) == [1, 3, 5]
    assert np.isfinite(found["branch_gradient_norm"]).all()
    # The Trainer's own mean over the steps, in float32.
    epochs = epochs_of(tmp_path / "run/training.h5")
    assert float(epochs["train_loss"][0]) == pytest.approx(log[-1]["train_loss"], rel=1e-6)


def test_a_training_that_was_interrupted_goes_on_in_its_file_as_if_it_never_stopped(
    tmp_path, capsys
):
    data, place = plain_data(), tmp_path / "run"
    fit(
        Returning(),
        data,
        tmp_path,
        HuggingFaceCallback(tmp_path / "whole", quantities=SOME),
        max_steps=10,
    )
    saving = {"max_steps": 10, "save_strategy": "steps", "save_steps": 3}
    with pytest.raises(KeyboardInterrupt):
        fit(
            Returning(),
            data,
            tmp_path,
            HuggingFaceCallback(place, quantities=SOME),
            StopsAfter(7),
            **saving,
        )
    fit(
        Returning(),
        data,
        tmp_path,
        HuggingFaceCallback(place, quantities=SOME),
        resume=str(tmp_path / "trainer/checkpoint-3"),
        **saving,
    )
    whole, found = (steps_of(one / "training.h5") for one in (tmp_path / "whole", place))
    assert_same_rows(found, whole, rtol=0)
    told = told_of(place / "training.h5")
    assert told["status"] == "finished"
    # Steps 4 to 7 and the epoch's end were recorded by both, the steps in the same bits.
    assert (told["replay_compared"], told["replay_differing"]) == (4, 0)
    assert "warning" not in capsys.readouterr().err
    epochs = epochs_of(place / "training.h5")
    assert list(epochs["epoch"]) == [1, 2]
    assert list(epochs["step"]) == [5, 10]
    # The second life saw the first epoch's end only, and does not know its mean.
    expected = epochs_of(tmp_path / "whole/training.h5")["train_loss"]
    np.testing.assert_array_equal(epochs["train_loss"], expected)


class StopsWithin(TrainerCallback):
    """Ctrl-C within a step, before the optimizer takes it."""

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("compiled", [False, True])
def test_what_an_exception_leaves_open_ends_when_the_model_next_runs(compiled, tmp_path):
    callback = HuggingFaceCallback(tmp_path / "run.h5", quantities=["branch_norm"])
    model = Returning()
    if compiled:
        model.compile(backend="eager")
    with pytest.raises(KeyboardInterrupt):
        fit(model, plain_data(), tmp_path, callback, StopsWithin())
    assert stance() == ("force_eager" if compiled else "default")
    work = callback._recording.recorder._work
    assert work.passes == 1
    model.train()(*samples())
    assert work.passes == 1, "the training is over"
    assert stance() == "default"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert told_of(tmp_path / "run.h5")["status"] == "interrupted"
    assert list(steps_of(tmp_path / "run.h5")["step"].values) == [1, 2]
    torch.compiler.reset()


def test_another_training_of_the_model_ends_what_was_left_open_and_so_does_close(tmp_path):
    model, both = Returning(), [tmp_path / "a.h5", tmp_path / "b.h5"]
    for place in both:
        callback = HuggingFaceCallback(place, quantities=["branch_norm"])
        with pytest.raises(KeyboardInterrupt):
            fit(model, plain_data(), tmp_path, callback, StopsWithin())
    assert told_of(both[0])["status"] == "interrupted"
    assert model._forward_hooks
    callback.close()
    callback.close()
    assert told_of(both[1])["status"] == "interrupted"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_one_training_is_recorded_by_one_callback(tmp_path):
    first, second = (HuggingFaceCallback(tmp_path / name) for name in "ab")
    for twice, said in (((first, first), "twice"), ((first, second), "two callbacks")):
        with pytest.raises(InputError, match=f"{said}.*leave one out"):
            fit(Returning(), plain_data(), tmp_path, *twice, max_steps=1)
        first.close()


def test_at_the_end_of_the_program_one_that_raises_does_not_keep_the_others_open(monkeypatch):
    ended = []

    def end(status):
        ended.append(status)
        raise OSError("planted")

    both = {name: types.SimpleNamespace(end=end) for name in "ab"}
    monkeypatch.setattr(recording, "_open", both)
    with pytest.raises(OSError, match="planted"):
        recording._end_all()
    assert ended == ["interrupted"] * 2


def stance():
    return torch._dynamo.eval_frame._stance.stance


def test_a_file_that_is_there_is_refused_by_the_recorders_sentence(tmp_path):
    (tmp_path / "training.h5").touch()
    with pytest.raises(InputError, match=r"exists; choose another place.*resume_from_checkpoint"):
        fit(Returning(), plain_data(), tmp_path, HuggingFaceCallback(tmp_path))


def test_prediction_without_training_records_nothing(tmp_path):
    trainer = fit(Returning(), plain_data(), tmp_path, max_steps=1)
    trainer.add_callback(HuggingFaceCallback(tmp_path / "run"))
    trainer.predict(plain_data())
    trainer.evaluate()
    assert not (tmp_path / "run").exists()


def test_a_loss_that_the_model_does_not_return_is_nan_and_said_once(tmp_path, capsys):
    callback = HuggingFaceCallback(tmp_path / "run", quantities=["branch_norm"])
    fit(
        classifier(), classified_data(), tmp_path, callback, label_smoothing_factor=0.1, max_steps=2
    )
    assert np.isnan(steps_of(tmp_path / "run/training.h5")["loss"]).all()
    assert capsys.readouterr().err.count("warning: the loss that is trained") == 1


@pytest.mark.parametrize(
    ("gpus", "kind", "said"),
    [(2, "NO", "DataParallel"), (1, "FSDP", "FSDP"), (1, "DEEPSPEED", "DE")],
)
def test_ways_of_training_without_the_whole_network_are_refused(gpus, kind, said, tmp_path):
    accelerator = types.SimpleNamespace(distributed_type=types.SimpleNamespace(value=kind))
    optimizer = types.SimpleNamespace(accelerator_state=accelerator)
    with pytest.raises(InputError, match=f"uses {said}.*resprobe collect"):
        HuggingFaceCallback(tmp_path).on_train_begin(
            types.SimpleNamespace(n_gpu=gpus), None, None, model=None, optimizer=optimizer
        )


@pytest.mark.parametrize(
    ("name", "packages", "extra"),
    [
        ("HuggingFaceCallback", ("transformers",), "huggingface"),
        ("LightningCallback", ("lightning.pytorch", "pytorch_lightning"), "lightning"),
    ],
)
def test_without_the_framework_a_sentence_says_what_to_install(name, packages, extra, monkeypatch):
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"resprobe.callbacks.{extra}", raising=False)
    said = rf"not installed; run.*resprobe\[{extra}\]"
    with pytest.raises(InputError, match=said):
        getattr(resprobe, name)
    with pytest.raises(ImportError, match=said):
        exec(f"from resprobe import {name}")
    assert not hasattr(resprobe, name)
    assert set(resprobe.__all__) <= {found for found, _ in inspect.getmembers(resprobe)}


@pytest.mark.parametrize("scaled", [False, True])
def test_the_loss_of_a_step_is_the_weighted_sum_that_was_differentiated(scaled):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10) if scaled else None
    model = Returning()
    watch = StepLoss(model, scaler)
    watch.watch()
    x, y = samples()
    expected = 0.0
    for weight, part in ((0.25, slice(0, 4)), (3.0, slice(4, 10))):
        loss = model(x[part], y[part])["loss"]
        expected += weight * loss.item()
        loss *= weight  # in place, as the Trainer does it
        (scaler.scale(loss) if scaled else loss).backward()
    model(x, y)  # not differentiated
    with torch.no_grad():
        model(x, y)
    assert float(watch.take()) == pytest.approx(expected, rel=1e-6)
    assert watch.take() is None
    watch.close()
    assert not [*model._forward_hooks, *model._forward_pre_hooks]


def share(rank, place, data):
    """Train as one of two processes until Ctrl-C, and leave as a program does."""
    settings = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in settings.items()})
    os.environ["OMP_NUM_THREADS"] = "1"  # as torchrun sets it; else accelerate warns and does so
    meet = f"file://{place}/meet"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    with contextlib.suppress(KeyboardInterrupt):
        fit(
            Returning(),
            data,
            place,
            HuggingFaceCallback(place / "run", quantities=SOME),
            StopsAfter(3),
            **SHARED,
        )
    atexit._run_exitfuncs()  # a forked process leaves them out


SHARED = {"per_device_train_batch_size": 2, "lr_scheduler_type": "constant", "num_train_epochs": 1}


def test_two_processes_record_the_rows_of_one_and_close_the_file_when_they_are_left(tmp_path):
    data = plain_data()[:16]
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=share, args=(rank, tmp_path, data)) for rank in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join(timeout=120)
    assert [one.exitcode for one in both] == [0, 0]
    place = tmp_path / "run/training.h5"
    assert told_of(place)["status"] == "interrupted"
    x, y = (part[:12] for part in samples())
    batches = list(zip(x.split(4), y.split(4), strict=True))
    by_hand(
        Returning(), batches, lambda m, part: (m(a, b)["loss"] for a, b in part),
        tmp_path / "hand", clip=0.5, quantities=SOME,
    )  # fmt: skip
    assert_same_rows(steps_of(place), steps_of(tmp_path / "hand/training.h5"), rtol=1e-5)
