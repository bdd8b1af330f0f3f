"""Run analyses on recorded data and write what they give; needs neither the model nor torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resprobe import checkpoints, registry
from resprobe.errors import InputError, UnknownNameError
from resprobe.files import real_path
from resprobe.inputs import checkpoint_nodes, describe, describe_all, run_of
from resprobe.remedies import remedy, unread
from resprobe.result import Analysis, Result
from resprobe.store.reader import collected_checkpoint, is_run, is_sweep, runs_of_sweep
from resprobe.store.reader import open as open_tree

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Written", "analyze", "describe", "split_words", "write"]

# Collects what is missing of a run or of a collected checkpoint: called with its path, the
# quantities to ask for, and whether the analysis can't do without them.
Collector = Callable[[Path, tuple[str, ...], bool], None]


@dataclass(frozen=True)
class Written:
    """An analysis that was run: its name, where its files are, and what it gave."""

    name: str
    folder: Path
    result: Result


def split_words(words: Sequence[str]) -> tuple[str | None, list[Path]]:
    """Tell the name of an analysis from inputs: the first word is a name if it is registered.

    Raises:
        UnknownNameError: the first word is neither an analysis nor a path.
        InputError: no input is given.
    """
    known = registry.entries("analyses")
    name = words[0] if words and words[0] in known else None
    inputs = [Path(word) for word in words[int(name is not None) :]]
    if name is None and words and not inputs[0].exists() and not collected_checkpoint(inputs[0]):
        raise UnknownNameError("analysis or INPUT (no such path exists)", words[0], known)
    if not inputs:
        raise InputError("give at least one INPUT: a run directory or an .h5 file.")
    missing = [path for path in inputs if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]} does not exist; {_instead(missing[0])}")
    return name, inputs


def _instead(path: Path) -> str:
    chosen = collected_checkpoint(path)
    if chosen is None or chosen[1] not in checkpoints.steps(chosen[0]):
        return "give a run directory or an .h5 file."
    from resprobe.source import collect_command

    return f"run `{collect_command(chosen[0])} --checkpoint {chosen[1]}` first."


def analyze(
    name: str | None,
    inputs: Sequence[Path],
    out: Path | None,
    *,
    collector: Collector,
    tell: Callable[[str], None],
) -> tuple[list[Written], list[str]]:
    """Run one analysis, or every one whose families are there, and write the results.

    Args:
        name: of the analysis; None for all that the data allow.
        inputs: run directories, folders of collected checkpoints or files; the directory of a
            sweep stands for those of its runs that were trained to their end.
        out: where to write; by default beside a single input (of a checkpoint in
            `RUN/analyses/step-00001950/NAME/`), or `./NAME/` for several.
        collector: called for a run or checkpoint that lacks a family of a named analysis.
        tell: gets sentences on runs of a sweep that are left out.

    Returns:
        What was written, and one sentence for each analysis that lacks data or, with no name
        given, refuses these inputs.

    Raises:
        InputError: an input is damaged, lacks what a named analysis needs and can't collect, lacks
            something that every analysis needs, or is refused by the named analysis or by every
            one that there are data for.
    """
    given, inputs = inputs, _without_sweeps(inputs, tell)
    _refuse_twice(inputs)
    _refuse_no_folder(out if out is not None else _folder(name or "", given))
    if name is not None:
        analysis: Analysis = registry.load("analyses", name)
        trees = [_complete(path, analysis, collector) for path in inputs]
        result = analysis.function(describe_all(inputs, trees, analysis.families))
        return [_written(result, analysis, given, out)], []
    trees = [open_tree(path) for path in inputs]
    written, lacking, refused = [], [], []
    needs: dict[str, list[str]] = {}  # what the first input lacks
    by_name: list[str] = []  # that could be run, but that such inputs don't ask for
    for offered in registry.entries("analyses"):
        analysis = registry.load("analyses", offered)
        missing = [
            (path, tree, absent)
            for path, tree in zip(inputs, trees, strict=True)
            if (absent := _absent(tree, analysis.families))
        ]
        if missing:
            path, tree, absent = missing[0]
            if path is inputs[0]:
                needs[offered] = absent
            told = remedy(path, tree, absent)
            lacking.append(f"{offered} needs {' and '.join(absent)}: {told}")
            continue
        folder = None if out is None else out / offered
        try:
            described = describe_all(inputs, trees, analysis.families)
            if analysis.unasked is not None and not analysis.unasked(described):
                by_name += [offered] if analysis.families else []
                continue
            result = analysis.function(described)
        except InputError as error:
            refused.append(error)
            lacking.append(f"{offered}: {error}")
        else:
            written.append(_written(result, analysis, given, folder))
    if refused and not written:
        raise refused[0]
    if needs and not written and not by_name:
        raise InputError(unread(inputs[0], trees[0], needs))
    if not written:
        words = " ".join(map(str, given))
        lacking += [
            f"{name}, asked by name: run `resprobe analyze {name} {words}`." for name in by_name
        ]
    return written, lacking


def _without_sweeps(inputs: Sequence[Path], tell: Callable[[str], None]) -> list[Path]:
    """Put the runs of a sweep that were trained to their end in its place."""
    found: list[Path] = []
    for path in inputs:
        if not (path.is_dir() and is_sweep(path)):
            found.append(path)
            continue
        trained, others = runs_of_sweep(path)
        if not trained:
            raise InputError(
                f"no run of the sweep {path} is trained to its end; `resprobe sweep` goes on with "
                "them."
            )
        if others:
            names = ", ".join(run.name for run in others)
            tell(f"{path}: left out, because not trained to the end: {names}")
        found += trained
    return found


def _refuse_twice(inputs: Sequence[Path]) -> None:
    """Refuse one run under two names: it would be pooled as if it were two."""
    seen: dict[Path, Path] = {}
    for path in inputs:
        other = seen.get(real_path(path))
        if other is not None:
            raise InputError(f"{path} is given twice, also as {other}; give every input once.")
        seen[real_path(path)] = path


def _refuse_no_folder(folder: Path) -> None:
    """Refuse a place that can't be a folder before anything is computed."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"{folder} can't be written ({there} is no folder); give another -o.")


def write(result: Result, folder: Path) -> None:
    """Write dataset.nc, figure-*.svg and .png, verdict.json and summary.txt.

    Figures of an earlier result, which has a verdict.json, are removed; nothing else in the folder
    is touched.

    Raises:
        InputError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = _refuse_another(result, folder)  # else the figures are somebody else's
        for old in folder.glob("figure-*.*") if earlier else ():
            if old.suffix in (".svg", ".png"):
                old.unlink()
        unborn = folder / ".dataset.nc.new"
        try:
            result.dataset.to_netcdf(unborn, engine="h5netcdf")
            unborn.replace(folder / "dataset.nc")
        finally:
            unborn.unlink(missing_ok=True)
        for name, figure in result.figures.items():
            figure.savefig(folder / f"figure-{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"figure-{name}.png", dpi=150)
        verdict = json.dumps(result.verdict, indent=2, default=str)
        (folder / "verdict.json").write_text(verdict + "\n", encoding="utf-8")
        (folder / "summary.txt").write_text(result.summary.rstrip() + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} can't be written ({error}); give another -o.") from error


def _refuse_another(result: Result, folder: Path) -> bool:
    """Tell whether a folder holds an earlier result of the same analysis; refuse another's."""
    try:
        text = (folder / "verdict.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    try:
        there = json.loads(text).get("analysis")
    except (ValueError, AttributeError):
        there = None
    own = result.verdict.get("analysis")
    if there not in (None, own):
        raise InputError(f"{folder} holds what {there} gave; give {own} another -o.")
    return True


def _written(
    result: Result, analysis: Analysis, inputs: Sequence[Path], out: Path | None
) -> Written:
    folder = out if out is not None else _folder(analysis.name, inputs)
    write(result, folder)
    return Written(analysis.name, folder, result)


def _folder(name: str, inputs: Sequence[Path]) -> Path:
    if len(inputs) > 1:
        return Path(name)
    chosen = collected_checkpoint(inputs[0])
    if chosen is not None:  # families alone lie in its own folder
        return chosen[0] / "analyses" / checkpoints.stem(chosen[1]) / name
    if inputs[0].is_dir():
        return inputs[0] / "analyses" / name
    return inputs[0].with_name(f"{inputs[0].stem}.analyses") / name


def _complete(path: Path, analysis: Analysis, collector: Collector) -> xr.DataTree:
    """Give an input; what a named analysis lacks is collected first, where it can be."""
    tree = open_tree(path)
    absent = _absent(tree, analysis.families)
    useful = _absent(tree, (*analysis.families, *analysis.also))
    from resprobe.source import code_of

    run = run_of(path) if path.is_dir() else None
    at_hand = run is not None and is_run(run)
    code = code_of(run) if run is not None and at_hand else []
    if not useful or not (absent or (at_hand and not code)):
        return tree
    tree.close()
    if not at_hand:
        raise InputError(
            f"{path} lacks {' and '.join(absent)}, which {analysis.name} needs: "
            f"{remedy(path, tree, absent)}"
        )
    from resprobe.quantities.quantity import of_family

    if code:
        raise InputError(
            f"{path} lacks {' and '.join(absent)}, which {analysis.name} needs, and it names code, "
            f"{' and '.join(code)}, which is not run unasked; read it, and if you trust it "
            f"{remedy(path, tree, absent)}"
        )
    for families, needed in ((absent, True), ([f for f in useful if f not in absent], False)):
        named = [next(q.name for q in of_family(family) if q.measured_by) for family in families]
        if named:
            collector(path, tuple(named), needed)
    return open_tree(path)


def _absent(tree: xr.DataTree, families: Sequence[str]) -> list[str]:
    """Give the families that no single checkpoint of the input has together with the others."""
    best = list(families)
    for _, node in checkpoint_nodes(tree):
        absent = [name for name in families if name not in node.children]
        if len(absent) < len(best) or not absent:
            best = absent
    return best
