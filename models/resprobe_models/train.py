"""The trainer: a recipe in, a run directory out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resprobe import checkpoints
from resprobe.errors import InterruptionError, ResprobeError
from resprobe_models import checkpoint, run_directory
from resprobe_models.interruption import Wish, stop_on_signal
from resprobe_models.loop import Figures, evaluate, train_epoch
from resprobe_models.processes import Processes, all_processes
from resprobe_models.progress import Progress, Quiet
from resprobe_models.recipe import Recipe, to_toml
from resprobe_models.run_directory import RunLog
from resprobe_models.setup import Setup, make_setup, torch_settings
from resprobe_models.standing import Standing, restore, write_checkpoint

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
        writes: whether this is the process, of several, that wrote the run.
    """

    run: Path
    status: str
    step: int
    epochs: int
    metrics: dict[str, float]
    checkpoint: Path | None
    message: str
    writes: bool = True


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

    Where `accelerate launch` or `torchrun` started several processes, each calls this; they share
    every batch, and the first of them writes. The blocks' norms that it records while training are
    of its share; loss, accuracy and the parameters' gradients are of the whole batch.

    Args:
        recipe: what to train; `in_channels` and `classes` may be left to the data.
        run: the directory to write.
        resume: continue from its last checkpoint; a finished run is left as it is.
        overwrite: delete the results of the run that is there.
        progress: shows how it goes; nothing is shown without one.

    Raises:
        InputError: the directory, the data, the device or the recipe does not allow it.
        ResprobeError: a checkpoint cannot be written.
        InterruptionError: a signal asked to stop, and a checkpoint was written.
    """
    from resprobe.store.lock import run_lock

    with ExitStack() as stack:
        processes = all_processes(recipe.train.device)
        run_directory.refuse_unusable(run, resume=resume, overwrite=overwrite)
        processes.wait()  # the first makes the directory, which the others would refuse
        stack.enter_context(torch_settings(recipe.train))
        setup = make_setup(recipe, processes)
        if processes.writes:
            run_directory.make(run)
            stack.enter_context(run_lock(run))
            # Again under the lock: another trainer may have begun here since.
            run_directory.refuse_unusable(run, resume=resume, overwrite=overwrite)
        shown = progress if progress is not None and processes.writes else Quiet()
        stack.callback(shown.stop)
        return _Trainer(setup, run, shown).go(resume=resume, overwrite=overwrite)


class _Trainer:
    """One run of the trainer: the set-up network, the directory, and where it stands."""

    def __init__(self, setup: Setup, run: Path, progress: Progress) -> None:
        self.setup, self.run, self.progress = setup, run, progress
        self.log, self.standing = RunLog(run), Standing()
        self.steps_per_epoch = setup.train.steps(setup.recipe.train.batch_size)
        self.wish = Wish()
        self.recorder: Any = None

    @property
    def processes(self) -> Processes:
        """Those that train together."""
        return self.setup.training.processes

    def go(self, *, resume: bool, overwrite: bool) -> TrainOutcome:
        """Prepare the directory, train, and say how it ended."""
        recipe, training = self.setup.recipe, self.setup.training
        if resume:
            self._restore()
            if self.standing.status in FINAL:
                return self._outcome("it is already finished; nothing was done")
        elif self.processes.writes:
            if overwrite:
                run_directory.clear(self.run)
            run_directory.write_recipe(self.run, recipe)
        # The others may read what is there only when the first has put it in order.
        self.processes.wait()
        self._say(f"training {recipe.model.name} on {recipe.data.name}, {self.setup.where()}")
        self.progress.start(
            recipe.train.epochs * self.steps_per_epoch, training.step, recipe.train.batch_size
        )
        with stop_on_signal() as self.wish:
            try:
                with self._recording(resume=resume):
                    self._epochs()
                    self._mark(self.standing.status)
                if self.standing.status == "interrupted":
                    self._interrupted()
            except KeyboardInterrupt as error:
                raise self._stopped_at_once() from error
        outcome = self._outcome(_MESSAGES[self.standing.status])
        self._log(outcome.message)  # the command tells it
        return outcome

    def _epochs(self) -> None:
        recipe = self.setup.recipe
        if recipe.train.epochs == 0:
            figures = evaluate(self.setup.training, self.setup.test)
            self.standing.metrics = {"test_loss": figures.loss, "test_error": figures.error}
            self._end("finished")
        elif recipe.checkpoint.initial and self.setup.training.step == 0:
            self._checkpoint()
        while self.standing.status == "running":
            if self.processes.any(self.wish.to_stop):
                self.standing.status = "interrupted"
                return
            if not self._epoch():
                return
            last = self.standing.epoch == recipe.train.epochs
            if self._target_reached():
                self._end("reached_target")
            elif last:
                self._end("reached_cap" if self._has_target() else "finished")
            elif (every := recipe.checkpoint.every_epochs) and self.standing.epoch % every == 0:
                self._checkpoint_on_the_way()

    def _epoch(self) -> bool:
        """Train and evaluate one epoch, or the rest of one; False if it was not completed."""
        begun, setup, recipe = time.perf_counter(), self.setup, self.setup.recipe
        rate = setup.training.learning_rate((self.standing.epoch + 1) * self.steps_per_epoch - 1)
        epoch = self.standing.under_way = self.standing.under_way or setup.draw_epoch()
        train_epoch(
            setup.training,
            setup.train,
            epoch,
            batch_size=recipe.train.batch_size,
            pad=recipe.data.pad,
            recorder=self.recorder,
            look=self.progress.look,
            wish=self.wish,
        )
        trained = epoch.tally.figures()
        if trained.finite and epoch.batches < self.steps_per_epoch:
            epoch.seconds += time.perf_counter() - begun
            self.standing.status = "interrupted"
            return False
        tested = evaluate(setup.training, setup.test) if trained.finite else Figures(0.0, 0.0)
        if not (trained.finite and tested.finite):
            self._log(
                f"the loss is not finite at step {setup.training.step} (epoch "
                f"{self.standing.epoch + 1})"
            )
            self.standing.status = "diverged"
            return False
        self.standing.epoch += 1
        self.standing.under_way = None
        self.standing.metrics = {
            "train_loss": trained.loss,
            "train_error": trained.error,
            "test_loss": tested.loss,
            "test_error": tested.error,
            "learning_rate": rate,
            "wall_time": epoch.seconds + time.perf_counter() - begun,
        }
        if self.recorder is not None:
            self.recorder.epoch(**self.standing.metrics)
        self.progress.look(setup.training.step, trained)
        self._say(self._epoch_line())
        return True

    def _interrupted(self) -> None:
        """Write a checkpoint where training stopped, and end.

        Raises:
            InterruptionError: always.
        """
        step = self.setup.training.step
        self.standing.status = "running"
        failed: ResprobeError | None = None
        if step not in checkpoints.steps(self.run):
            try:
                self._checkpoint(interim=True)
            except ResprobeError as error:
                failed = error
        if self.processes.any(failed is not None):
            raise failed or InterruptionError(
                f"interrupted after step {step}; the first process could not write a checkpoint."
            )
        self._log(f"interrupted at step {step}; continue with --resume")
        raise InterruptionError(
            f"interrupted after step {step}, which {self.run} holds as a checkpoint; the same "
            "command with --resume goes on from there."
        )

    def _stopped_at_once(self) -> InterruptionError:
        """Say where a run can be taken up that was not let finish its step."""
        self._log(f"interrupted at step {self.setup.training.step}; continue with --resume")
        known = checkpoints.steps(self.run)
        place = f"its last checkpoint, step {known[-1]}" if known else "its beginning"
        return InterruptionError(
            f"stopped at once; the same command with --resume takes up {self.run} at {place}."
        )

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

    def _checkpoint(self, *, interim: bool = False) -> None:
        if self.processes.writes:
            if self.recorder is not None:
                self.recorder.flush()
            write_checkpoint(self.run, self.setup, self.standing, interim=interim)
            self._drop_interim()

    def _drop_interim(self) -> None:
        """Delete what an interruption left, unless somebody measured it."""
        step, self.standing.interim = self.standing.interim, None
        measured = step is not None and (self.run / "collected" / checkpoints.stem(step)).exists()
        if step is not None and step != self.setup.training.step and not measured:
            checkpoint.remove(self.run, step)

    def _restore(self) -> None:
        """Take up the run at its last checkpoint, or at its beginning if there is none."""
        notes = run_directory.refuse_changed(self.run, self.setup.recipe)
        if not checkpoints.steps(self.run):
            self._say("no checkpoint yet: the run starts again from its beginning")
            return
        self.standing, more = restore(self.run, self.setup)
        for note in (*notes, *more):
            self._say(note)
        if self.standing.status == "running":
            step = self.setup.training.step
            self._say(f"resuming at step {step}, epoch {self.standing.epoch}")

    @contextmanager
    def _recording(self, *, resume: bool) -> Iterator[None]:
        """Record for the time of the training, into a file that goes on where it was resumed."""
        recipe, training = self.setup.recipe, self.setup.training
        if recipe.record.every == 0 or not self.processes.writes:
            yield
            return
        from resprobe import Recorder

        provenance = {
            name: value
            for name, value in self.setup.provenance().items()
            if isinstance(value, str | int | float)
        }
        if self.processes.count > 1:
            provenance["block_statistics"] = (
                f"of the share of the first of {self.processes.count} processes"
            )
        samples = None
        if recipe.record.jacobian_every:
            indices, samples = self.setup.fixed_samples()
            provenance["jacobian_samples"] = f"test images {', '.join(map(str, indices))}"
        recorder = Recorder(
            training.model,
            self.run,
            optimizer=training.optimizer,
            every=recipe.record.every,
            jacobian_every=recipe.record.jacobian_every,
            jacobian_samples=samples,
            start_step=training.step,
            resume=resume,
            tell=self._say,
            attributes={"recipe": to_toml(recipe), "seed": recipe.train.seed, **provenance},
        )
        with recorder:
            self.recorder = recorder
            yield
        self.recorder, replay = None, recorder.replay
        if replay.compared and not replay.differing:
            self._log(f"{replay.compared} recorded rows were repeated: all are equal")

    def _mark(self, status: str) -> None:
        if self.recorder is not None:
            self.recorder.status = status

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
            writes=self.processes.writes,
        )

    def _say(self, text: str) -> None:
        self._log(text)
        self.progress.line(text)

    def _log(self, text: str) -> None:
        if self.processes.writes:
            self.log.write(text)


_MESSAGES = {
    "finished": "finished, all epochs done",
    "reached_target": "finished, the training target was reached",
    "reached_cap": "ended at the cap of epochs; the training target was not reached",
    "diverged": (
        "the run diverged: its loss is not finite any more. What was recorded is kept; lower "
        "schedule.learning_rate and train again"
    ),
}
