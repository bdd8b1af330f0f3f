"""A network in training with a run directory of its own: the run's, or its partner's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resprobe import checkpoints
from resprobe_models import checkpoint
from resprobe_models.loop import Figures
from resprobe_models.recipe import to_toml
from resprobe_models.run_directory import RunLog
from resprobe_models.setup import Setup
from resprobe_models.standing import Standing, restore, write_checkpoint


class Member:
    """A set-up network, the directory it is written to, and where it stands.

    Attributes:
        setup: network, optimizer, data and generators.
        run: the directory.
        log: its `log.txt`.
        standing: where it stands.
        recorder: of its steps, None where nothing is recorded.
    """

    def __init__(self, setup: Setup, run: Path) -> None:
        self.setup, self.run = setup, run
        self.log, self.standing = RunLog(run), Standing()
        self.recorder: Any = None

    def end_epoch(self, trained: Figures, tested: Figures, rate: float, seconds: float) -> None:
        """Keep and record the figures of an epoch that was completed.

        Args:
            trained: over its batches, as the weights changed.
            tested: after it.
            rate: of its last step.
            seconds: that it took.
        """
        self.standing.epoch += 1
        self.standing.under_way = None
        self.standing.metrics = {
            "train_loss": trained.loss,
            "train_error": trained.error,
            "test_loss": tested.loss,
            "test_error": tested.error,
            "learning_rate": rate,
            "wall_time": seconds,
        }
        if self.recorder is not None:
            self.recorder.epoch(**self.standing.metrics)

    def write_checkpoint(self, *, interim: bool) -> None:
        """Write a checkpoint, after every row that was recorded so far.

        Raises:
            ResprobeError: it cannot be written.
        """
        if self.recorder is not None:
            self.recorder.flush()
        write_checkpoint(self.run, self.setup, self.standing, interim=interim)

    def drop_interim(self) -> None:
        """Delete the checkpoint that an interruption left, unless it is the one just written."""
        step, self.standing.interim = self.standing.interim, None
        if step is not None and step != self.setup.training.step:
            self.drop(step)

    def drop(self, step: int) -> None:
        """Delete a checkpoint, unless somebody measured it."""
        if not (self.run / "collected" / checkpoints.stem(step)).exists():
            checkpoint.remove(self.run, step)

    def restore(self, step: int) -> list[str]:
        """Take up the run at a checkpoint; give sentences on what may change the bits.

        Raises:
            InputError: see `standing.restore`.
        """
        self.standing, notes = restore(self.run, self.setup, step)
        return notes

    @contextmanager
    def recording(
        self, *, resume: bool, tell: Callable[[str], None], pair: bool = False
    ) -> Iterator[None]:
        """Record for the time of the training, into a file that goes on where it was resumed.

        Several processes record together, and the first of them writes.

        Args:
            resume: whether it may go on in a file that is there.
            tell: called with a sentence on what went wrong but does not end the training.
            pair: whether every step is compared with that of a partner.
        """
        recipe, training = self.setup.recipe, self.setup.training
        if recipe.record.every == 0:
            yield
            return
        from resprobe import Recorder

        provenance = {
            name: value
            for name, value in self.setup.provenance().items()
            if isinstance(value, str | int | float)
        }
        samples = None
        if recipe.record.jacobian_every:
            indices, samples = self.setup.fixed_samples()
            provenance["jacobian_samples"] = f"test images {', '.join(map(str, indices))}"
        recorder = Recorder(
            training.model,
            self.run,
            optimizer=training.optimizer,
            every=recipe.record.every,
            distributed=training.processes.count > 1,
            jacobian_every=recipe.record.jacobian_every,
            jacobian_samples=samples,
            pair=pair,
            start_step=training.step,
            resume=resume,
            tell=tell,
            attributes={"recipe": to_toml(recipe), "seed": recipe.train.seed, **provenance},
        )
        with recorder:
            self.recorder = recorder
            yield
        self.recorder, replay = None, recorder.replay
        if replay.compared and not replay.differing:
            self.log.write(f"{replay.compared} recorded rows were repeated: all are equal")
