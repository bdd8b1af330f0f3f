"""The trainer: a recipe in, a run directory out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resprobe import checkpoints
from resprobe.errors import InputError, ResprobeError
from resprobe_models import checkpoint, run_directory
from resprobe_models.loop import Figures, evaluate, train_epoch
from resprobe_models.progress import Progress, Quiet
from resprobe_models.recipe import Recipe, to_toml
from resprobe_models.run_directory import RunLog
from resprobe_models.setup import Setup, make_setup, torch_settings

FINAL = ("finished", "reached_target", "reached_cap")


@dataclass(frozen=True)
class TrainOutcome:
    """How a training run ended.

    Attributes:
        run: its directory.
        status: `finished` (all epochs), `reached_target`, `reached_cap` (all epochs, target not
            reached) or `diverged`.
        step: optimizer steps done.
        epochs: epochs done.
        metrics: `train_loss`, `train_error`, `test_loss`, `test_error`, `learning_rate`,
            `wall_time` (seconds) of the last whole epoch, those that are known.
        checkpoint: the weights of the last checkpoint, None if there is none.
        message: one sentence.
    """

    run: Path
    status: str
    step: int
    epochs: int
    metrics: dict[str, float]
    checkpoint: Path | None
    message: str


@dataclass
class _Standing:
    """Where a run stands between two epochs."""

    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    status: str = "running"


def train(
    recipe: Recipe,
    run: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrainOutcome:
    """Train a network as the recipe says and write the run directory.

    The same recipe on the same number of threads gives the same bits, also when the run was
    interrupted and resumed. A diverged run ends without an exception, marked in its status.

    Args:
        recipe: what to train; `in_channels` and `classes` may be left to the data.
        run: the directory to write.
        resume: continue from its last checkpoint; a finished run is left as it is.
        overwrite: delete the results of the run that is there.
        progress: shows how it goes; nothing is shown without one.

    Raises:
        InputError: the directory, the data, the device or the recipe does not allow it.
        ResprobeError: a checkpoint cannot be written.
    """
    from resprobe.store.lock import run_lock

    run_directory.refuse_unusable(run, resume=resume, overwrite=overwrite)
    with ExitStack() as stack:
        stack.enter_context(torch_settings(recipe.train))
        setup = make_setup(recipe)
        run_directory.make(run)
        stack.enter_context(run_lock(run))
        # Again under the lock: another trainer may have begun here since.
        run_directory.refuse_unusable(run, resume=resume, overwrite=overwrite)
        shown = progress or Quiet()
        stack.callback(shown.stop)
        return _Trainer(setup, run, shown).go(resume=resume, overwrite=overwrite)


class _Trainer:
    """One run of the trainer: the set-up network, the directory, and where it stands."""

    def __init__(self, setup: Setup, run: Path, progress: Progress) -> None:
        self.setup, self.run, self.progress = setup, run, progress
        self.log, self.standing = RunLog(run), _Standing()
        self.steps_per_epoch = setup.train.steps(setup.recipe.train.batch_size)

    def go(self, *, resume: bool, overwrite: bool) -> TrainOutcome:
        """Prepare the directory, train, and say how it ended."""
        recipe, training = self.setup.recipe, self.setup.training
        if resume:
            self._restore()
            if self.standing.status in FINAL:
                return self._outcome("it is already finished; nothing was done")
        else:
            if overwrite:
                run_directory.clear(self.run)
            run_directory.write_recipe(self.run, recipe)
        self._say(f"training {recipe.model.name} on {recipe.data.name}, {self.setup.where()}")
        self.progress.start(
            recipe.train.epochs * self.steps_per_epoch, training.step, recipe.train.batch_size
        )
        with self._recorder() as recorder:
            try:
                self._epochs(recorder)
            except KeyboardInterrupt:
                _mark(recorder, "interrupted")
                self._say(f"interrupted at step {training.step}; continue with --resume")
                raise
            _mark(recorder, self.standing.status)
        outcome = self._outcome(_MESSAGES[self.standing.status])
        self._say(outcome.message)
        return outcome

    def _epochs(self, recorder: Any) -> None:
        recipe = self.setup.recipe
        if recipe.train.epochs == 0:
            figures = evaluate(self.setup.training, self.setup.test)
            self.standing.metrics = {"test_loss": figures.loss, "test_error": figures.error}
            self._end("finished")
        while self.standing.status == "running":
            if not self._epoch(recorder):
                self.standing.status = "diverged"
                return
            last = self.standing.epoch == recipe.train.epochs
            if self._target_reached():
                self._end("reached_target")
            elif last:
                self._end("reached_cap" if self._has_target() else "finished")
            elif (every := recipe.checkpoint.every_epochs) and self.standing.epoch % every == 0:
                self._checkpoint_on_the_way()

    def _epoch(self, recorder: Any) -> bool:
        """Train and evaluate one epoch; False if the loss is not finite any more."""
        begun, setup, recipe = time.perf_counter(), self.setup, self.setup.recipe
        rate = setup.training.learning_rate((self.standing.epoch + 1) * self.steps_per_epoch - 1)
        trained = train_epoch(
            setup.training,
            setup.train,
            setup.draw_epoch(),
            batch_size=recipe.train.batch_size,
            pad=recipe.data.pad,
            recorder=recorder,
            look=self.progress.look,
        )
        tested = evaluate(setup.training, setup.test) if trained.finite else Figures(0.0, 0.0)
        if not (trained.finite and tested.finite):
            self._say(
                f"the loss is not finite at step {setup.training.step} (epoch "
                f"{self.standing.epoch + 1}); what was recorded is kept"
            )
            return False
        self.standing.epoch += 1
        self.standing.metrics = {
            "train_loss": trained.loss,
            "train_error": trained.error,
            "test_loss": tested.loss,
            "test_error": tested.error,
            "learning_rate": rate,
            "wall_time": time.perf_counter() - begun,
        }
        if recorder is not None:
            recorder.epoch(**self.standing.metrics)
        self.progress.look(setup.training.step, trained)
        self._say(self._epoch_line())
        return True

    def _epoch_line(self) -> str:
        metrics = self.standing.metrics
        speed = len(self.setup.train) / max(metrics["wall_time"], 1e-9)
        return (
            f"epoch {self.standing.epoch}/{self.setup.recipe.train.epochs} "
            f"train loss {metrics['train_loss']:.4f} accuracy {1 - metrics['train_error']:.4f}, "
            f"test loss {metrics['test_loss']:.4f} accuracy {1 - metrics['test_error']:.4f}, "
            f"rate {metrics['learning_rate']:.4g}, {speed:,.0f} images/s"
        )

    def _has_target(self) -> bool:
        table = self.setup.recipe.train
        return table.stop_train_loss is not None or table.stop_train_accuracy is not None

    def _target_reached(self) -> bool:
        table, metrics = self.setup.recipe.train, self.standing.metrics
        loss, accuracy = table.stop_train_loss, table.stop_train_accuracy
        return (loss is not None and metrics["train_loss"] <= loss) or (
            accuracy is not None and 1 - metrics["train_error"] >= accuracy
        )

    def _end(self, status: str) -> None:
        self.standing.status = status
        self._checkpoint()

    def _checkpoint_on_the_way(self) -> None:
        # The run is worth more than one of its middles: only the last checkpoint must succeed.
        try:
            self._checkpoint()
        except ResprobeError as error:
            self._say(f"warning: {error}")

    def _checkpoint(self) -> None:
        setup = self.setup
        checkpoint.write(
            self.run,
            setup.training.step,
            model=setup.training.model,
            optimizer=setup.training.optimizer,
            generators=setup.generators,
            info={
                "epoch": self.standing.epoch,
                "status": self.standing.status,
                "metrics": self.standing.metrics,
                "recipe_fingerprint": setup.recipe.fingerprint(),
                **setup.provenance(),
            },
        )

    def _restore(self) -> None:
        """Take up the run at its last checkpoint, or at its beginning if there is none."""
        setup = self.setup
        notes = run_directory.refuse_changed(self.run, setup.recipe)
        known = checkpoints.steps(self.run)
        if not known:
            (self.run / "training.h5").unlink(missing_ok=True)
            self._say("no checkpoint yet: the run starts again from its beginning")
            return
        info = checkpoints.read_info(self.run, known[-1])
        notes += self._refuse_other_circumstances(info)
        weights = self.run / checkpoints.FOLDER / f"{checkpoints.stem(known[-1])}.safetensors"
        checkpoints.load_weights(weights, setup.training.model)
        checkpoint.load_trainer_state(
            self.run,
            known[-1],
            model=setup.training.model,
            optimizer=setup.training.optimizer,
            generators=setup.generators,
        )
        setup.training.step = known[-1]
        self.standing = _Standing(info["epoch"], info["metrics"], info["status"])
        for note in notes:
            self._say(note)
        if self.standing.status == "running":
            self._say(f"resuming at step {known[-1]}, epoch {self.standing.epoch}")

    def _refuse_other_circumstances(self, info: dict[str, Any]) -> list[str]:
        now = self.setup.provenance()
        if info.get("data_fingerprint") != now["data_fingerprint"]:
            raise InputError(
                f"{self.run} was trained on other images than those of data set "
                f"{self.setup.recipe.data.name!r} here (their fingerprints differ): give the same "
                "data, or train into another directory."
            )
        return [
            f"warning: {words} was {info.get(name)}, now {now[name]}: the results will not be bit "
            "for bit those of an uninterrupted run"
            for name, words in (
                ("threads", "the number of threads"),
                ("device", "the device"),
                ("torch_version", "the version of torch"),
            )
            if info.get(name) != now[name]
        ]

    @contextmanager
    def _recorder(self) -> Iterator[Any]:
        recipe, training = self.setup.recipe, self.setup.training
        if recipe.record.every == 0:
            yield None
            return
        from resprobe import Recorder

        provenance = {
            name: value
            for name, value in self.setup.provenance().items()
            if isinstance(value, str | int | float)
        }
        with Recorder(
            training.model,
            self.run,
            optimizer=training.optimizer,
            every=recipe.record.every,
            start_step=training.step,
            attributes={"recipe": to_toml(recipe), "seed": recipe.train.seed, **provenance},
        ) as recorder:
            yield recorder

    def _outcome(self, message: str) -> TrainOutcome:
        known = checkpoints.steps(self.run)
        name = f"{checkpoints.stem(known[-1])}.safetensors" if known else None
        return TrainOutcome(
            run=self.run,
            status=self.standing.status,
            step=self.setup.training.step,
            epochs=self.standing.epoch,
            metrics=dict(self.standing.metrics),
            checkpoint=self.run / checkpoints.FOLDER / name if name else None,
            message=message,
        )

    def _say(self, text: str) -> None:
        self.log.write(text)
        self.progress.line(text)


_MESSAGES = {
    "finished": "finished, all epochs done",
    "reached_target": "finished, the training target was reached",
    "reached_cap": "ended at the cap of epochs; the training target was not reached",
    "diverged": (
        "the run diverged: its loss is not finite any more. What was recorded is kept; lower "
        "schedule.learning_rate and train again"
    ),
}


def _mark(recorder: Any, status: str) -> None:
    if recorder is not None:
        recorder.status = status
