"""The trainer: a recipe in, a run directory out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from resprobe import checkpoints
from resprobe.errors import InterruptionError, ResprobeError
from resprobe.store.lock import run_lock
from resprobe.store.reader import PARTNER
from resprobe_models import run_directory
from resprobe_models.interruption import Wish, stop_on_signal
from resprobe_models.loop import Epoch, Figures, Tally, evaluate, train_epoch
from resprobe_models.member import Member
from resprobe_models.pair import Lockstep, partner_recipe, partner_setup
from resprobe_models.processes import Processes, all_processes
from resprobe_models.progress import Progress, Quiet
from resprobe_models.recipe import Recipe
from resprobe_models.setup import Setup, make_setup, torch_settings
from resprobe_models.standing import Standing

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
    every batch, and the first of them writes what all record: the blocks' norms, loss, accuracy and
    gradients are those of the whole batch.

    With `[pair]` a second network is trained in lockstep (`resprobe_models.pair`), into the run
    directory `RUN/partner`; where one of the two diverges, both end.

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
    partner_recipe(recipe)  # refused before anything is made
    with ExitStack() as stack:
        processes = all_processes(recipe.train.device)
        run_directory.refuse_unusable(run, resume=resume, overwrite=overwrite)
        processes.wait()  # the first makes the directory, which the others would refuse
        stack.enter_context(torch_settings(recipe.train))
        setup = make_setup(recipe, processes)
        partner = partner_setup(setup)
        if processes.writes:
            run_directory.make(run)
            stack.enter_context(run_lock(run))
            # Again under the lock: another trainer may have begun here since.
            run_directory.refuse_unusable(run, resume=resume, overwrite=overwrite)
        shown = progress if progress is not None and processes.writes else Quiet()
        stack.callback(shown.stop)
        return _Trainer(setup, partner, run, shown).go(resume=resume, overwrite=overwrite)


class _Trainer:
    """One run of the trainer: the set-up network, the directory, and where it stands."""

    def __init__(self, setup: Setup, partner: Setup | None, run: Path, progress: Progress) -> None:
        self.setup, self.run, self.progress = setup, run, progress
        self.own = Member(setup, run)
        self.partner = None if partner is None else Member(partner, run / PARTNER)
        self.steps_per_epoch = setup.train.steps(setup.recipe.train.batch_size)
        self.wish = Wish()

    @property
    def processes(self) -> Processes:
        """Those that train together."""
        return self.setup.training.processes

    @property
    def members(self) -> tuple[Member, ...]:
        """The run and, where there is one, its partner."""
        return (self.own,) if self.partner is None else (self.own, self.partner)

    @property
    def standing(self) -> Standing:
        """Where the run stands."""
        return self.own.standing

    def go(self, *, resume: bool, overwrite: bool) -> TrainOutcome:
        """Prepare the directory, train, and say how it ended."""
        notes = []
        if resume:
            notes = run_directory.refuse_changed(self.run, self.setup.recipe)
        elif self.processes.writes:
            if overwrite:
                run_directory.clear(self.run)
            run_directory.write_recipe(self.run, self.setup.recipe)
        with self._partner_directory():
            if resume:
                self._restore(notes)
                if self.standing.status in FINAL:
                    return self._outcome("it is already finished; nothing was done")
            # The others may read what is there only when the first has put it in order.
            self.processes.wait()
            return self._train(resume=resume)

    @contextmanager
    def _partner_directory(self) -> Iterator[None]:
        """Hold the directory of the partner's run, which a kill may have kept from being made."""
        if self.partner is None:
            yield
            return
        run = self.partner.run
        run_directory.make(run)
        with run_lock(run):
            if not (run / run_directory.RECIPE).exists():
                run_directory.write_recipe(run, self.partner.setup.recipe)
            yield

    def _train(self, *, resume: bool) -> TrainOutcome:
        recipe, training = self.setup.recipe, self.setup.training
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
            for member in self.members:
                figures = evaluate(member.setup.training, member.setup.test)
                member.standing.metrics = {"test_loss": figures.loss, "test_error": figures.error}
            self._end("finished")
        elif recipe.checkpoint.initial and self.setup.training.step == 0:
            self._checkpoint()
        while self.standing.status == "running":
            if self.processes.any(self.wish.to_stop):
                self._set_status("interrupted")
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
        begun, setup = time.perf_counter(), self.setup
        epochs = self._under_way()
        partner = None
        if self.partner is not None:
            partner = Lockstep(setup, self.partner.setup, epochs[1], self.partner.recorder)
        train_epoch(
            setup.training,
            setup.train,
            epochs[0],
            batch_size=setup.recipe.train.batch_size,
            pad=setup.recipe.data.pad,
            recorder=self.own.recorder,
            look=self.progress.look,
            wish=self.wish,
            partner=partner,
        )
        trained = [epoch.tally.figures() for epoch in epochs]
        finite = all(figures.finite for figures in trained)
        seconds = epochs[0].seconds + time.perf_counter() - begun
        if finite and epochs[0].batches < self.steps_per_epoch:
            for epoch in epochs:
                epoch.seconds = seconds
            self._set_status("interrupted")
            return False
        tested = self._evaluated() if finite else trained
        if not all(figures.finite for figures in tested):
            self._diverged(trained, tested)
            return False
        seconds = epochs[0].seconds + time.perf_counter() - begun
        last = (self.standing.epoch + 1) * self.steps_per_epoch - 1
        for member, of_train, of_test in zip(self.members, trained, tested, strict=True):
            rate = member.setup.training.learning_rate(last)
            member.end_epoch(of_train, of_test, rate, seconds)
        self.progress.look(setup.training.step, trained[0])
        for member in self.members:
            line = self._epoch_line(member)
            if self.processes.writes:
                member.log.write(line)
            self.progress.line(line if member is self.own else f"partner: {line}")
        return True

    def _under_way(self) -> list[Epoch]:
        """Give the epoch under way of every member, drawn once; an interruption may have left it.

        The partner's is the run's with sums of its own.
        """
        if self.standing.under_way is None:
            drawn = self.setup.draw_epoch()
            for member in self.members:
                tally = Tally(self.setup.train.labels.device)
                member.standing.under_way = replace(drawn, tally=tally)
        epochs = [member.standing.under_way for member in self.members]
        return [epoch for epoch in epochs if epoch is not None]

    def _evaluated(self) -> list[Figures]:
        return [evaluate(member.setup.training, member.setup.test) for member in self.members]

    def _diverged(self, trained: list[Figures], tested: list[Figures]) -> None:
        broken = [
            not (of_train.finite and of_test.finite)
            for of_train, of_test in zip(trained, tested, strict=True)
        ]
        whose = "the loss" if broken[0] else "the partner's loss"
        self._log(
            f"{whose} is not finite at step {self.setup.training.step} (epoch "
            f"{self.standing.epoch + 1})"
        )
        self._set_status("diverged")

    def _set_status(self, status: str) -> None:
        for member in self.members:
            member.standing.status = status

    def _interrupted(self) -> None:
        """Write a checkpoint where training stopped, and end.

        Raises:
            InterruptionError: always.
        """
        step = self.setup.training.step
        self._set_status("running")
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

    def _epoch_line(self, member: Member) -> str:
        metrics = member.standing.metrics
        speed = len(self.setup.train) / max(metrics["wall_time"], 1e-9)
        return (
            f"epoch {member.standing.epoch}/{self.setup.recipe.train.epochs} "
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
        self._set_status(status)
        self._checkpoint()

    def _checkpoint_on_the_way(self) -> None:
        # The run is worth more than one of its middles: only the last checkpoint must succeed.
        try:
            self._checkpoint()
        except ResprobeError as error:
            self._say(f"warning: {error}")

    def _checkpoint(self, *, interim: bool = False) -> None:
        """Write a checkpoint, the partner's first: a run's then always has its partner's."""
        if self.processes.writes:
            for member in reversed(self.members):
                member.write_checkpoint(interim=interim)
            for member in self.members:
                member.drop_interim()

    def _restore(self, notes: list[str]) -> None:
        """Take up the run at its last checkpoint, or at its beginning if there is none."""
        step = self._last_checkpoint()
        if step is None:
            self._say("no checkpoint yet: the run starts again from its beginning")
            return
        more = [note for member in self.members for note in member.restore(step)]
        for note in dict.fromkeys([*notes, *more]):  # both have the same circumstances
            self._say(note)
        if self.standing.status == "running":
            self._say(f"resuming at step {step}, epoch {self.standing.epoch}")

    def _last_checkpoint(self) -> int | None:
        """Give the step of the last checkpoint that the run, and its partner, have."""
        ours = set(checkpoints.steps(self.run))
        if self.partner is None:
            return max(ours, default=None)
        theirs = set(checkpoints.steps(self.partner.run))
        last = max(ours & theirs, default=None)
        # Of what the partner has beyond it, a kill kept the run from writing its own.
        for step in theirs - ours:
            if last is None or step > last:
                self.partner.drop(step)
        return last

    @contextmanager
    def _recording(self, *, resume: bool) -> Iterator[None]:
        """Record every member for the time of the training."""
        with ExitStack() as stack:
            paired = self.partner is not None
            stack.enter_context(self.own.recording(resume=resume, tell=self._say, pair=paired))
            if self.partner is not None:
                stack.enter_context(
                    self.partner.recording(
                        resume=resume, tell=lambda text: self._say(f"partner: {text}")
                    )
                )
            yield

    def _mark(self, status: str) -> None:
        for member in self.members:
            if member.recorder is not None:
                member.recorder.status = status

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
            for member in self.members:
                member.log.write(text)


_MESSAGES = {
    "finished": "finished, all epochs done",
    "reached_target": "finished, the training target was reached",
    "reached_cap": "ended at the cap of epochs; the training target was not reached",
    "diverged": (
        "the run diverged: its loss is not finite any more. What was recorded is kept; lower "
        "schedule.learning_rate and train again"
    ),
}
