"""Where a training run stands, as its checkpoints keep it and a resume takes it up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resprobe import checkpoints
from resprobe.errors import InputError
from resprobe_models import checkpoint
from resprobe_models.loop import Epoch, Tally
from resprobe_models.setup import Setup


@dataclass
class Standing:
    """Where a run stands.

    Attributes:
        epoch: whole epochs done.
        metrics: of the last one.
        status: `running`, or how it ended.
        under_way: the epoch that an interruption cut, until it is done.
        interim: step of the checkpoint that an interruption left, None if there is none.
    """

    epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    status: str = "running"
    under_way: Epoch | None = None
    interim: int | None = None


def write_checkpoint(run: Path, setup: Setup, standing: Standing, *, interim: bool) -> None:
    """Write a checkpoint of a run as it stands.

    Args:
        run: its directory.
        setup: network, optimizer and generators.
        standing: within an epoch, the generators are kept as they were before its draws.
        interim: whether an interruption asks for it, not the recipe.

    Raises:
        ResprobeError: see `checkpoint.write`.
    """
    epoch = standing.under_way
    states = {name: item.get_state() for name, item in setup.generators.items()}
    checkpoint.write(
        run,
        setup.training.step,
        model=setup.training.model,
        optimizer=setup.training.optimizer,
        generators=states if epoch is None else epoch.generators,
        info={
            "epoch": standing.epoch,
            "status": standing.status,
            # Those of the last epoch are not of these weights.
            "metrics": standing.metrics if epoch is None else {},
            "interim": interim,
            "under_way": None if epoch is None else _cut(epoch),
            "recipe_fingerprint": setup.recipe.fingerprint(),
            **setup.provenance(),
        },
    )


def restore(run: Path, setup: Setup, step: int) -> tuple[Standing, list[str]]:
    """Put network, optimizer and generators back to a checkpoint of a run.

    Args:
        run: its directory.
        setup: of its recipe; its network, optimizer and generators are put back.
        step: of the checkpoint.

    Returns:
        Where the run stands, and sentences on circumstances that may change the bits.

    Raises:
        InputError: the checkpoint is damaged, belongs to another network, or the run was trained
            on other images.
    """
    info = checkpoints.read_info(run, step)
    notes = _other_circumstances(run, setup, info)
    weights = run / checkpoints.FOLDER / f"{checkpoints.stem(step)}.safetensors"
    checkpoints.load_weights(weights, setup.training.model)
    checkpoint.load_trainer_state(
        run,
        step,
        model=setup.training.model,
        optimizer=setup.training.optimizer,
        generators=setup.generators,
    )
    setup.training.step = step
    try:
        standing = Standing(
            info["epoch"],
            info["metrics"],
            info["status"],
            _epoch_again(setup, info["under_way"]),
            step if info["interim"] else None,
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{run / checkpoints.FOLDER / checkpoints.stem(step)}.json lacks {error}: the "
            "checkpoint is damaged; delete its files to resume from an earlier one."
        ) from error
    return standing, notes


def _cut(epoch: Epoch) -> dict[str, Any]:
    """Give what tells where an epoch was cut, JSON-ready and exact."""
    return {"batches": epoch.batches, "tally": epoch.tally.state(), "seconds": epoch.seconds}


def _epoch_again(setup: Setup, cut: dict[str, Any] | None) -> Epoch | None:
    """Draw the epoch again that an interruption cut; the generators are where it began."""
    if cut is None:
        return None
    epoch = setup.draw_epoch()
    epoch.tally = Tally(setup.train.labels.device, **cut["tally"])
    epoch.batches, epoch.seconds = cut["batches"], cut["seconds"]
    return epoch


def _other_circumstances(run: Path, setup: Setup, info: dict[str, Any]) -> list[str]:
    now = setup.provenance()
    if info.get("data_fingerprint") != now["data_fingerprint"]:
        raise InputError(
            f"{run} was trained on other images than those of data set "
            f"{setup.recipe.data.name!r} here (their fingerprints differ): give the same data, or "
            "train into another directory."
        )
    return [
        f"warning: {words} was {info.get(name)}, now {now[name]}: the results will not be bit for "
        "bit those of an uninterrupted run"
        for name, words in (
            ("threads", "the number of threads"),
            ("processes", "the number of processes"),
            ("device", "the device"),
            ("torch_version", "the version of torch"),
        )
        if info.get(name) != now[name]
    ]
