"""What the callbacks cost in other trainers. Run: pytest tests/benchmarks -m benchmark -s"""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from bare_loop import Block, resnet
from captum.attr import LayerActivation
from test_recording import NETS, Stepper
from timing import interleaved, ratio

from resprobe import HuggingFaceCallback, LightningCallback

pytestmark = [
    pytest.mark.benchmark,
    # Lightning 2.6 asks torch's trees by a class that torch 2.13 calls deprecated.
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning"),
]

# Of a bare step, what a callback may cost beyond the Recorder that it drives.
BEYOND = 0.02


class LeftError(Exception):
    """Ends a training that nobody steps any more."""


class Stepped:
    """A training in a thread of its own that takes one step when it is called.

    Args:
        train: trains until its argument, which it calls after each step, raises.
    """

    def __init__(self, train, stack):
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._error, self._left = None, False
        self._thread = threading.Thread(target=self._run, args=(train,), daemon=True)
        self._thread.start()
        stack.callback(self._leave)
        self._wait()

    def __call__(self):
        self._go.release()
        self._wait()

    def _wait(self):
        self._done.acquire()
        if self._error is not None:
            raise self._error

    def _leave(self):
        self._left = True
        self._go.release()
        self._thread.join()

    def _pause(self):
        self._done.release()
        self._go.acquire()
        if self._left:
            raise LeftError

    def _run(self, train):
        torch.set_num_threads(1)
        try:
            train(self._pause)
        except LeftError:
            pass
        except BaseException as error:
            self._error = error
            self._done.release()


class Batches(torch.utils.data.Dataset):
    """The same batch again and again, ready to be trained on."""

    def __init__(self, shape):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(shape, generator=generator)
        self.y = torch.randint(0, 10, shape[:1], generator=generator)

    def __len__(self):
        return 100_000

    def __getitem__(self, index):
        return {"x": self.x, "labels": self.y}


def network(net):
    torch.manual_seed(0)
    return resnet(*net).train()


def under_huggingface(net, shape, folder, out=None):
    """Give a training under the Trainer of transformers, with or without a recording."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class Returning(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network(net)

        def forward(self, x, labels=None):
            return {"loss": F.cross_entropy(self.net(x), labels)}

    class Pausing(TrainerCallback):
        def __init__(self, pause):
            self.pause = pause

        def on_step_end(self, args, state, control, **kwargs):
            self.pause()

    arguments = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=1, max_steps=90_000, optim="sgd",
        optim_args="momentum=0.9", weight_decay=1e-4, learning_rate=0.01, max_grad_norm=0.0,
        lr_scheduler_type="constant", use_cpu=True, save_strategy="no", logging_strategy="no",
        report_to=[], disable_tqdm=True,
    )  # fmt: skip
    recorded = [] if out is None else [HuggingFaceCallback(out)]

    def train(pause):
        trainer = Trainer(
            Returning(), arguments, train_dataset=Batches(shape),
            data_collator=lambda rows: rows[0], callbacks=[*recorded, Pausing(pause)],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train()
        finally:
            for callback in recorded:
                callback.close()

    return train


def under_lightning(net, shape, out=None):
    """Give a training under the Trainer of Lightning, with or without a recording."""
    import lightning.pytorch as lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network(net)

        def training_step(self, batch, index):
            return F.cross_entropy(self.net(batch["x"]), batch["labels"])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    class Pausing(lightning.Callback):
        def __init__(self, pause):
            self.pause = pause

        def on_train_batch_end(self, *arguments):
            self.pause()

    recorded = [] if out is None else [LightningCallback(out)]

    def train(pause):
        trainer = lightning.Trainer(
            accelerator="cpu", max_steps=90_000, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False,
            callbacks=[*recorded, Pausing(pause)],
        )  # fmt: skip
        loader = torch.utils.data.DataLoader(Batches(shape), batch_size=None)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers")
            trainer.fit(Module(), loader)

    return train


def with_captum(net, shape, stack):
    """A step, and captum's activations of all blocks for the same batch."""
    step = Stepper(net, shape, stack)
    blocks = [module for module in step.net.modules() if isinstance(module, Block)]
    activation = LayerActivation(step.net, blocks)

    def run():
        step()
        with torch.no_grad():
            activation.attribute(step.x)

    return run


def with_torchlens(net, shape, stack):
    """A step, and what TorchLens keeps of a forward pass of the same batch: every operation."""
    import torchlens

    step = Stepper(net, shape, stack)
    apart = torchlens.options.CaptureOptions(unwrap_when_done=True)

    def run():
        step()
        step.net.eval()  # it runs the model once more, and warns of statistics that move
        torchlens.trace(step.net, step.x, capture=apart)
        step.net.train()

    return run


def show(times, of):
    for variant, base in of.items():
        low, middle, high = ratio(times, variant, base)
        median = statistics.median(times[variant]) * 1e3
        print(f"{variant:<24} {median:9.1f} ms  {middle:6.3f} [{low:.3f}, {high:.3f}] of {base}")


@pytest.mark.parametrize("name", NETS)
def test_a_callback_costs_what_the_recorder_costs(name, tmp_path):
    net, shape, rounds = NETS[name]
    torch.set_num_threads(1)
    with contextlib.ExitStack() as stack:
        variants = {
            "bare": Stepper(net, shape, stack),
            "Recorder": Stepper(net, shape, stack, tmp_path / "recorder"),
            "HF": Stepped(under_huggingface(net, shape, tmp_path), stack),
            "HF recorded": Stepped(under_huggingface(net, shape, tmp_path, tmp_path / "hf"), stack),
            "Lightning": Stepped(under_lightning(net, shape), stack),
            "Lightning recorded": Stepped(under_lightning(net, shape, tmp_path / "li"), stack),
            "captum LayerActivation": with_captum(net, shape, stack),
        }
        times = interleaved(variants, rounds=rounds)
        print(f"\n{name}: process time of one training step, {rounds} rounds")
        bases = {"HF recorded": "HF", "Lightning recorded": "Lightning"}
        show(times, {variant: bases.get(variant, "bare") for variant in variants})
        if importlib.util.find_spec("torchlens"):
            # By itself, since it wraps all functions of torch.
            lens = {"bare": variants["bare"], "TorchLens": with_torchlens(net, shape, stack)}
            show(interleaved(lens, rounds=5), {"TorchLens": "bare"})
        else:
            print("TorchLens                skipped: torchlens is not installed")
    recorder = ratio(times, "Recorder", "bare")[1]
    for variant, base in bases.items():
        assert ratio(times, variant, base)[1] <= recorder + BEYOND, variant
