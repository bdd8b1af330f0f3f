"""What is known of a point beside its run: a small file that is there before a run begins.

The run directory is the truth on what was trained; this adds what it can't say: how often the run
was begun, that it diverged or failed, and which collections are complete.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tomli_w

from resprobe import checkpoints
from resprobe.errors import InputError
from resprobe.files import read_text
from resprobe_analyses.sweeps.outcomes import TRAINED, PointOutcome
from resprobe_analyses.sweeps.points import Point
from resprobe_analyses.sweeps.specification import Collection

RUNS, POINTS = "runs", "points"
METRICS = ("train_loss", "train_error", "test_loss", "test_error")


@dataclass(frozen=True)
class State:
    """What is known of a point.

    Attributes:
        attempts: how often its run was begun.
        ended: `diverged`, `failed`, or empty.
        seconds: wall time of the attempts that were trained and measured to their end, in seconds.
        collected: the collections that are complete, as `fingerprint` gives them.
        message: what went wrong, in one sentence.
    """

    attempts: int = 0
    ended: str = ""
    seconds: float = 0.0
    collected: tuple[str, ...] = ()
    message: str = ""


def run_of(folder: Path, name: str) -> Path:
    """Give the run directory of a point of the sweep in `folder`."""
    return folder / RUNS / name


def recipe_of(folder: Path, name: str) -> Path:
    """Give the file of a point's resolved recipe."""
    return folder / POINTS / f"{name}.toml"


def fingerprint(collection: Collection) -> str:
    """Give a text that two collections share if and only if they are equal."""
    return json.dumps(asdict(collection), sort_keys=True, default=str)


def read_state(folder: Path, name: str) -> State:
    """Read what is known of a point; nothing is known before its first attempt.

    Raises:
        InputError: the file is damaged.
    """
    path = _state_path(folder, name)
    try:
        fields = json.loads(read_text(path))
        return State(**{**fields, "collected": tuple(fields["collected"])})
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(
            f"{path} can't be read ({error}); delete it to begin that point's count of attempts "
            "again: its run is kept."
        ) from error


def write_state(folder: Path, name: str, state: State) -> None:
    """Write what is known of a point; a kill leaves the earlier file or the new one."""
    write_whole(_state_path(folder, name), json.dumps(asdict(state), indent=2) + "\n")


def write_recipe(folder: Path, point: Point) -> None:
    """Write the resolved recipe that a point is trained by."""
    write_whole(recipe_of(folder, point.name), tomli_w.dumps(point.recipe))


def write_whole(path: Path, text: str) -> None:
    """Write a text file that is never seen half written."""
    new = unborn(path)
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def unborn(path: Path) -> Path:
    """Give the name under which a file is written; a kill may leave it there."""
    return path.with_name(f".{path.name}.new")


def trained_status(run: Path) -> tuple[str, dict[str, float]]:
    """Give the status and metrics of a run that was trained to its end, else "" and none."""
    known = checkpoints.steps(run)
    if not known:
        return "", {}
    try:
        info = checkpoints.read_info(run, known[-1])
    except InputError:
        return "", {}  # the trainer, which goes on with the run, says more
    if info.get("status") not in TRAINED:
        return "", {}
    metrics = info.get("metrics")
    found = metrics if isinstance(metrics, dict) else {}
    return str(info["status"]), {name: found[name] for name in METRICS if name in found}


def status_of(
    folder: Path, name: str, collections: Sequence[Collection]
) -> tuple[str, State, dict[str, float]]:
    """Say how a point stands, from its run directory and what is known beside it.

    Returns:
        A status as of `PointOutcome`, what is known beside the run, and the run's metrics.

    Raises:
        InputError: the file beside it is damaged.
    """
    state = read_state(folder, name)
    status, metrics = trained_status(run_of(folder, name))
    if state.ended:
        status = state.ended
    elif not {fingerprint(item) for item in collections} <= set(state.collected):
        status = ""
    return status or "missing", state, metrics


def outcome_of(folder: Path, point: Point, collections: Sequence[Collection]) -> PointOutcome:
    """Say how a point stands, with all that is told of it.

    Raises:
        InputError: see `status_of`.
    """
    status, state, metrics = status_of(folder, point.name, collections)
    return PointOutcome(
        name=point.name,
        run=run_of(folder, point.name),
        arm=point.arm,
        settings=point.settings,
        seed=point.seed,
        status=status,
        attempts=state.attempts,
        seconds=state.seconds,
        metrics=metrics if status in TRAINED else {},
        message=state.message,
    )


def begun(state: State) -> State:
    """Count another attempt; what the last one said no longer holds."""
    return replace(state, attempts=state.attempts + 1, ended="", message="")


def _state_path(folder: Path, name: str) -> Path:
    return folder / POINTS / f"{name}.json"
