"""The run directory as the trainer finds it: new, to be continued, or to be replaced."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from resprobe.errors import InputError
from resprobe.store.lock import run_lock
from resprobe.store.reader import PARTNER
from resprobe_models.recipe import Recipe, from_toml, to_toml

RECIPE, LOG, LOCK = "recipe.toml", "log.txt", ".lock"
# The recipe's while it is written; a kill may leave it there.
PARTIAL = f".{RECIPE}.partial"
# The certificate is that of `convert`, of the weights that the run began with.
REPLACED = ("training.h5", "checkpoints", "collected", "analyses", "certificate.json")
# Where the bits may change but not the meaning of the run: the trainer warns instead.
MAY_DIFFER = ("data.dir", "train.device", "train.threads")


def refuse_unusable(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Check, before anything is read or written, that the directory suits the intention.

    Raises:
        InputError: both options are given, the directory holds something and neither is, there
            is nothing to resume, or what would be overwritten is not a run.
    """
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other: give one of them.")
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is a file: expected a directory for the run.")
    has_recipe = (run / RECIPE).is_file()
    if resume and not has_recipe:
        raise InputError(f"{run} holds no {RECIPE}: there is no run to resume; leave out --resume.")
    there = [path.name for path in run.iterdir()] if run.is_dir() else []
    content = [name for name in there if not (name.startswith(LOCK) or name == PARTIAL)]
    if content and overwrite and not has_recipe:
        raise InputError(
            f"{run} holds {', '.join(sorted(content)[:3])} but no {RECIPE}: it is no run, and "
            "--overwrite deletes only runs; give another directory."
        )
    if content and not (resume or overwrite):
        raise InputError(
            f"{run} exists and is not empty: give another directory, --resume to continue the run "
            "in it, or --overwrite to replace it."
        )


def clear(run: Path) -> None:
    """Delete the results of a run, and its partner's run; its own log is kept and goes on.

    Raises:
        InputError: another process writes into the partner's.
    """
    partner = run / PARTNER
    if partner.is_dir():
        with run_lock(partner):  # nobody else trains or measures there
            _delete(partner)
    for name in REPLACED:
        _delete(run / name)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make(run: Path) -> None:
    """Make the directory of a run where it is missing.

    Raises:
        InputError: it cannot be made.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the run directory {run} cannot be made ({error.strerror}): give another one."
        ) from error


def write_recipe(run: Path, recipe: Recipe) -> None:
    """Write the resolved recipe of the run.

    Raises:
        InputError: the directory cannot be written.
    """
    # Under another name first: a run must never be left with half a recipe.
    temporary = run / PARTIAL
    try:
        temporary.write_text(to_toml(recipe), encoding="utf-8")
        temporary.replace(run / RECIPE)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{run} cannot be written ({error.strerror}): make room or give another directory."
        ) from error


def refuse_changed(run: Path, recipe: Recipe) -> list[str]:
    """Compare a recipe with the one that the run was started with.

    Returns:
        Sentences on the keys that differ and may.

    Raises:
        InputError: the run's recipe can't be read; or another key differs: all of them are listed
            with both values.
    """
    path = run / RECIPE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(
            f"{path} cannot be read ({reason}): take it from a copy, or train into another "
            "directory."
        ) from error
    before = from_toml(text, str(path)).keys()
    changes = _differences(before, recipe.keys())
    refused = [text for name, text in changes.items() if name not in MAY_DIFFER]
    if refused:
        raise InputError(
            f"{run} was started with another recipe: {'; '.join(refused)}. Resume with the recipe "
            "in it, or train into another directory."
        )
    return [f"resuming with {text}" for text in changes.values()]


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    changed = sorted(
        name for name in {*before, *now} if before.get(name, None) != now.get(name, None)
    )
    return {
        name: f"{name} was {before.get(name, 'absent')!r}, now {now.get(name, 'absent')!r}"
        for name in changed
    }


class RunLog:
    """`log.txt` of a run: plain lines with the time of day, appended and flushed."""

    def __init__(self, run: Path) -> None:
        self._path = run / LOG

    def write(self, line: str) -> None:
        """Append one line."""
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        # A full disk may stop the log, never the training: a checkpoint may still fit later.
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {line}\n")
