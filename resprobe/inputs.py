"""The inputs of an analysis: read, parted into groups, named and put in order."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resprobe import checkpoints
from resprobe.errors import InputError
from resprobe.files import real_path
from resprobe.reference import quoted
from resprobe.remedies import remedy
from resprobe.result import Input
from resprobe.store.reader import collected_checkpoint, enclosing_run, grouping, is_run

if TYPE_CHECKING:
    import xarray as xr


def describe_all(
    paths: Sequence[Path], trees: Sequence[xr.DataTree], families: Sequence[str]
) -> list[Input]:
    """Give all inputs as an analysis sees them.

    Inputs of one training are one group, as `describe` says. Where checkpoints of it were named
    and their steps differ, each step is a group of its own, and the latest comes first: a
    difference of two groups in order is then the later minus the earlier.

    Args:
        paths: of the inputs.
        trees: what `open` gave of each.
        families: that the analysis needs.

    Returns:
        The inputs in the order of `paths`, but for checkpoints of one training.

    Raises:
        InputError: an input has no checkpoint with all families, or two are one checkpoint.
    """
    found = [describe(*one, families) for one in zip(paths, trees, strict=True)]
    _refuse_one_checkpoint_twice(paths, found)
    found = _named_apart(paths, found)
    for training in dict.fromkeys(given.group for given in found):
        places = [place for place, given in enumerate(found) if given.group == training]
        members = [found[place] for place in places]
        if _told_by_step([paths[place] for place in places], members):
            for place, given in zip(places, _latest_first(members), strict=True):
                found[place] = given
    return found


def describe(path: Path, tree: xr.DataTree, families: Sequence[str]) -> Input:
    """Give one input as an analysis sees it, at the last checkpoint that has all `families`.

    Raises:
        InputError: no checkpoint has them all.
    """
    step, node = _node(tree, families, path)
    chosen = collected_checkpoint(path)
    if chosen is not None:
        step = chosen[1]
    recipe_text = tree.attrs.get("recipe")
    # one place of weights may hold others by now
    source = f"{tree.attrs.get('source', real_path(path))} {tree.attrs.get('weights_sha256', '')}"
    group: dict[str, Any] = {"group": source}
    try:
        if isinstance(recipe_text, str):
            group = grouping(tomllib.loads(recipe_text))
        seed = group.get("seed", tree.attrs.get("seed"))
        seed = None if seed is None else int(seed)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: its attribute recipe or seed is damaged ({quoted(error)}); take the file "
            "from a copy, or measure it again."
        ) from error
    return Input(
        label=_label(path),
        tree=tree,
        families={name: node[name].to_dataset() for name in families},
        step=step,
        group=str(group["group"]),
        seed=seed,
        checkpoint=_checkpoint(path, tree, step),
    )


def checkpoint_nodes(tree: xr.DataTree) -> list[tuple[int | None, xr.DataTree]]:
    """Give the places where families lie: a lone file itself, or each collected checkpoint."""
    steps = sorted(child for child in tree.children if child.startswith("step-"))
    if not steps:
        return [(None, tree)]
    return [(int(name.removeprefix("step-")), tree.children[name]) for name in steps]


def run_of(path: Path) -> Path | None:
    """Give the run that an input is, or is a checkpoint or a file of; None for another file."""
    if path.is_dir():
        chosen = collected_checkpoint(path)
        return path if chosen is None else chosen[0]
    return enclosing_run(path)


def _label(path: Path) -> str:
    chosen = collected_checkpoint(path)
    if chosen is not None:
        return f"{real_path(chosen[0]).name} step {chosen[1]}"
    return path.resolve().name.removesuffix(".h5")


def _node(tree: xr.DataTree, families: Sequence[str], path: Path) -> tuple[int | None, xr.DataTree]:
    for step, node in reversed(checkpoint_nodes(tree)):
        if all(name in node.children for name in families):
            return step, node
    absent = [f for f in families if all(f not in n.children for _, n in checkpoint_nodes(tree))]
    raise InputError(
        f"{path} lacks {' and '.join(absent or families)}: {remedy(path, tree, absent)}"
    )


def _checkpoint(path: Path, tree: xr.DataTree, step: int | None) -> dict[str, Any]:
    """Read what the trainer wrote beside the checkpoint of an input, also of a run's lone file."""
    run = run_of(path)
    step = tree.attrs.get("checkpoint_step") if step is None else step
    if run is None or step is None:
        return {}
    try:
        return checkpoints.read_info(run, int(step))
    except InputError:
        return {}  # checkpoints may be deleted; what was measured can be analyzed without them


def _refuse_one_checkpoint_twice(paths: Sequence[Path], inputs: Sequence[Input]) -> None:
    """Refuse a checkpoint that is given once by its run and once by itself."""
    seen: dict[tuple[Path, int], Path] = {}
    for path, given in zip(paths, inputs, strict=True):
        run, step = run_of(path), _step(given)
        if run is None or step is None:
            continue
        other = seen.get((real_path(run), step))
        if other is not None:
            raise InputError(
                f"{path} and {other} are the same checkpoint, step {step} of {run}; give one of "
                "them."
            )
        seen[real_path(run), step] = path


def _step(given: Input) -> int | None:
    """Give the step of the checkpoint that is analyzed, as a lone file says it too."""
    step = given.tree.attrs.get("checkpoint_step") if given.step is None else given.step
    return None if step is None else int(step)


def _told_by_step(paths: Sequence[Path], members: Sequence[Input]) -> bool:
    """Tell whether inputs of one training are to be told apart by their steps.

    Runs that ended at different steps are not: nobody named these steps.
    """
    if len({_step(given) for given in members}) < 2:
        return False
    if any(collected_checkpoint(path) is not None for path in paths):
        return True
    seeds = [given.seed for given in members]
    return len(set(seeds)) < len(seeds) and not all(is_run(path) for path in paths)


def _latest_first(members: Sequence[Input]) -> list[Input]:
    """Make each step a group, and put the latest first."""
    told = []
    for given in sorted(members, key=lambda one: -(_step(one) or 0)):
        step = _step(given)
        suffix = f" step {step}"
        label = given.label if step is None else f"{given.label.removesuffix(suffix)}{suffix}"
        told.append(replace(given, label=label, group=f"{given.group}{suffix}"))
    return told


def _named_apart(paths: Sequence[Path], inputs: Sequence[Input]) -> list[Input]:
    """Name inputs of different groups by their folder too, where their names are equal."""
    groups = {(given.label, given.group) for given in inputs}
    shared = {label for label, count in Counter(label for label, _ in groups).items() if count > 1}
    told = []
    for path, given in zip(paths, inputs, strict=True):
        place = (run_of(path) if collected_checkpoint(path) else path) or path
        name = f"{real_path(place).parent.name}/{given.label}"
        told.append(replace(given, label=name) if given.label in shared else given)
    return told
