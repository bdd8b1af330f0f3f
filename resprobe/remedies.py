"""What to do where an input lacks what an analysis reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resprobe import checkpoints
from resprobe.store.reader import collected_checkpoint, enclosing_run, recording_in

if TYPE_CHECKING:
    import xarray as xr


def remedy(path: Path, tree: xr.DataTree, absent: Sequence[str]) -> str:
    """Say what gets the families that an input lacks, as the end of a sentence."""
    from resprobe.source import collect_command

    extra = _extra(absent)
    chosen = collected_checkpoint(path)
    if chosen is not None:
        return f"run `{collect_command(chosen[0])} --checkpoint {chosen[1]}{extra}`."
    if path.is_dir() and recording_in(path) is None:
        return f"run `{collect_command(path)}{extra}`."
    run = enclosing_run(path)
    if run is not None:
        step = _earlier_step(run, path)
        again = run if step is None else run / "collected" / checkpoints.stem(step)
        asked = "" if step is None else f" --checkpoint {step}"
        return f"run `{collect_command(run)}{asked}{extra}`, then `resprobe analyze {again}`."
    return _of_lone_file(path, tree, absent)


def unread(path: Path, tree: xr.DataTree, needs: Mapping[str, Sequence[str]]) -> str:
    """Say that no analysis can be run on an input, and what gets one with the least effort.

    Args:
        path: of the input.
        tree: what `open` gave of it.
        needs: the families that each analysis lacks, by its name; at least one.
    """
    name = min(needs, key=lambda name: (bool(_extra(needs[name])), len(needs[name])))
    told = remedy(path, tree, needs[name])
    if list(tree.children) == ["training"]:
        return (
            f"{path} holds only what was recorded in training, which no analysis reads alone: "
            f"plot it from what resprobe.open gives, or {told}"
        )
    return (
        f"nothing of {path} can be analyzed yet: {name} needs {' and '.join(needs[name])}: {told}"
    )


def _of_lone_file(path: Path, tree: xr.DataTree, absent: Sequence[str]) -> str:
    if tree.attrs.get("command") == "resprobe.measure":
        return (
            f"measure them with its model: resprobe.measure(…, {str(path)!r}, quantities="
            f"{_first_names(absent)})."
        )
    if list(tree.children) == ["training"] and "recipe" not in tree.attrs:  # of a Recorder
        return (
            "run `resprobe collect --model … --weights … --data … -o OUT` with a checkpoint of the "
            "training, then `resprobe analyze OUT`."
        )
    if any("/" in node.path.strip("/") for node in tree.leaves):
        return "run `resprobe collect` on the run that it was exported from, and export it again."
    asked = " ".join(f"--quantity +{name}" for name in _first_names(absent))
    return (
        f"run `resprobe collect --model … --weights … --data … {asked} -o {path}` with its model."
    )


def _earlier_step(run: Path, file: Path) -> int | None:
    """Give the step of the checkpoint that a file of a run is of, None for the last one."""
    chosen = collected_checkpoint(file.parent)
    if chosen is None or chosen[1] == max(checkpoints.steps(run), default=chosen[1]):
        return None
    return chosen[1]


def _first_names(families: Sequence[str]) -> list[str]:
    """Give a quantity of each family, by which it is asked for."""
    from resprobe.quantities.quantity import of_family

    return [of_family(family)[0].name for family in families if of_family(family)]


def _extra(families: Sequence[str]) -> str:
    """Give the options of `collect` for families that no usual preset measures."""
    from resprobe.quantities.quantity import of_family

    asked = [of_family(family) for family in families]
    return "".join(
        f" --quantity +{quantities[0].name}"
        for quantities in asked
        if quantities and not any(quantity.standard for quantity in quantities)
    )
