"""Read a run or a file as one `xarray.DataTree`, finished or still being written."""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from resprobe import checkpoints
from resprobe.errors import InputError
from resprobe.files import real_path
from resprobe.run_recipe import read_run_recipe
from resprobe.store.arrange import arranged, arranged_attributes
from resprobe.store.hdf5 import FLUSH, PATIENCE, hdf5, require_ours, require_storage, snapshot
from resprobe.store.schema import BLOCK_COORDINATES, ENDED, REPLAY, STATUS

if TYPE_CHECKING:
    import xarray as xr

# The folder of a run in which the network trained in lockstep with it has a run of its own.
PARTNER = "partner"
_STEP = re.compile(r"step-(\d{8,})")
# Root attributes of a tree whose names begin so are those of its node `/partner`.
_OF_PARTNER = f"{PARTNER}_"


def open(path: str | Path) -> xr.DataTree:  # noqa: A001 - `resprobe.open` by contract
    """Give everything recorded at `path` as one tree.

    Args:
        path: a run directory, the folder of one of its collected checkpoints
            (`RUN/collected/step-00001950`), a directory that a Recorder wrote, or a resprobe .h5
            file.

    Returns:
        For a run: `/training/step`, `/training/epoch` and `/step-00001950/FAMILY` for each
        checkpoint that was collected, and the same of its partner under `/partner`, whose
        attributes are that node's; for a checkpoint's folder: `/FAMILY` alone, with the run's
        attributes and `checkpoint_step`; for a file: its groups. Rows that are not committed do
        not appear; the bookkeeping variables become attributes. Finished files are read lazily;
        files that are being written, or that a resume may go on in, at once.

    Raises:
        InputError: the path does not exist, is no resprobe file or run, is damaged, or was
            written by a newer resprobe.
    """
    path = Path(path)
    path = recording_in(path) or path
    if path.is_dir():
        chosen = collected_checkpoint(path)
        return _open_run(path) if chosen is None else _open_checkpoint(path, *chosen)
    groups, attributes = read_file(path)
    return _tree(groups, attributes)


def is_run(path: Path) -> bool:
    """Whether a directory is a run: it holds a resolved recipe or source."""
    return (path / "recipe.toml").exists() or (path / "source.toml").exists()


def recording_in(folder: Path) -> Path | None:
    """Give the file of a directory that a Recorder wrote and that is no run, None for another."""
    file = folder / "training.h5"
    return file if file.exists() and not is_run(folder) else None


def collected_checkpoint(path: Path) -> tuple[Path, int] | None:
    """Give the run and the step of the folder of a collected checkpoint, None for another path.

    It need not be there: nothing may have been collected at that step.
    """
    for place in (path, real_path(path)):
        run, step = place.parent.parent, _STEP.fullmatch(place.name)
        if step is not None and place.parent.name == "collected" and is_run(run):
            return run, int(step[1])
    return None


def is_sweep(path: Path) -> bool:
    """Whether a directory is that of `resprobe sweep`, which holds runs."""
    return (path / "sweep.toml").exists() and (path / "runs").is_dir()


def runs_of_sweep(path: Path) -> tuple[list[Path], list[Path]]:
    """Give the runs of a sweep that were trained to their end, and the others, by name."""
    runs = sorted(run for run in (path / "runs").iterdir() if run.is_dir())
    trained = [run for run in runs if is_run(run) and _is_trained(run)]
    return trained, [run for run in runs if run not in trained]


def _is_trained(run: Path) -> bool:
    """Whether the last checkpoint of a run is that of its end; a diverged run has none."""
    known = checkpoints.steps(run)
    try:
        return bool(known) and checkpoints.read_info(run, known[-1]).get("status") in ENDED
    except InputError:
        return False


def enclosing_run(path: Path) -> Path | None:
    """Give the run directory that a file lies in, None if it lies in none.

    A folder that merely holds a recipe, such as the one a recipe was written in, is none.
    """
    for folder in (*path.parents, *real_path(path).parents):
        filled = (folder / "checkpoints").is_dir() or (folder / "training.h5").exists()
        if filled and is_run(folder):
            return folder
    return None


def run_files(run: Path) -> Iterator[tuple[str, Path]]:
    """Give each finished or live file of a run with the tree's path for it."""
    if (run / "training.h5").exists():
        yield "/", run / "training.h5"
    for file in sorted((run / "collected").glob("step-*/*.h5")):
        yield f"/{file.parent.name}", file


def partner_of(run: Path) -> Path | None:
    """Give the run of the network that was trained in lockstep with a run's, None without one."""
    partner = run / PARTNER
    return partner if is_run(partner) else None


def read_file(path: Path) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """Give the groups of one file by path, and its root attributes.

    Raises:
        InputError: not there, not HDF5, not resprobe's, of a newer schema, or damaged.
    """
    try:
        with hdf5(path) as file:
            attributes, live = _look(file, path)
            if not live:
                require_storage(file, path)
        if not live:
            return _load_groups(path), attributes
    except InputError:
        if not path.is_file():
            raise
    return _read_live(path)


def read_attributes(path: Path) -> dict[str, Any]:
    """Give the root attributes of one file, which is closed again.

    Raises:
        InputError: see `read_file`.
    """
    with hdf5(path) as file:
        return _look(file, path)[0]


def family(tree: xr.DataTree, name: str) -> tuple[int | None, xr.Dataset] | None:
    """Give a family's dataset with the step of its checkpoint: of the last one that has it.

    Args:
        tree: from `open`.
        name: such as "norms".

    Returns:
        `(step, dataset)`, the step None for a lone file; None if nobody collected it.
    """
    if name in tree.children:
        return None, tree[name].to_dataset()
    steps = sorted(
        child for child in tree.children if child.startswith("step-") and name in tree[child]
    )
    if not steps:
        return None
    return int(steps[-1].removeprefix("step-")), tree[steps[-1]][name].to_dataset()


def run_in(folder: Path) -> str:
    """Name a run of a sweep where that is given for a run, for a message."""
    if not is_sweep(folder):
        return ""
    runs = next(iter(runs_of_sweep(folder)[0]), folder / "runs" / "…")
    return f", or one of the runs of this sweep, such as {runs}"


def _open_run(run: Path) -> xr.DataTree:
    if not is_run(run):
        raise InputError(
            f"{run} is no run directory (it holds neither recipe.toml nor source.toml, nor the "
            "training.h5 of a Recorder); give the directory that `resprobe train -o`, `resprobe "
            f"collect -o` or a Recorder wrote{run_in(run)}."
        )
    groups, attributes = _read_run(run)
    partner = partner_of(run)
    if partner is not None:
        theirs, own = _read_run(partner)
        groups.update({f"/{PARTNER}{name}": data for name, data in theirs.items()})
        attributes.update({f"{_OF_PARTNER}{name}": value for name, value in own.items()})
    return _tree(groups, attributes)


def _open_checkpoint(folder: Path, run: Path, step: int) -> xr.DataTree:
    groups: dict[str, xr.Dataset] = {}
    attributes: dict[str, Any] = {}
    for path in sorted(folder.glob("*.h5")):
        read, own = read_file(path)
        groups.update(read)
        attributes = {**own, **attributes}
    return _tree(groups, {**attributes, **_recipe_attributes(run), "checkpoint_step": step})


def _read_run(run: Path) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    groups: dict[str, xr.Dataset] = {}
    attributes: dict[str, Any] = {}
    for prefix, path in run_files(run):
        read, own = read_file(path)
        groups.update({(prefix + name).replace("//", "/"): data for name, data in read.items()})
        attributes = {**own, **attributes}
    return groups, {**attributes, **_recipe_attributes(run)}


def _tree(groups: dict[str, xr.Dataset], attributes: dict[str, Any]) -> xr.DataTree:
    import xarray as xr

    tree = xr.DataTree.from_dict(arranged(groups))
    attributes = arranged_attributes(attributes)
    tree.attrs = {n: value for n, value in attributes.items() if not n.startswith(_OF_PARTNER)}
    if PARTNER in tree.children:
        tree[PARTNER].attrs = {
            name.removeprefix(_OF_PARTNER): value
            for name, value in attributes.items()
            if name.startswith(_OF_PARTNER)
        }

    def close() -> None:
        for dataset in groups.values():
            dataset.close()

    tree.set_close(close)
    return tree


def flat_attributes(tree: xr.DataTree) -> dict[str, Any]:
    """Give the attributes of a tree as those of one file's root, from which `open` makes them."""
    partner = tree.children.get(PARTNER)
    own = {} if partner is None else partner.attrs
    return {
        **{str(name): value for name, value in tree.attrs.items()},
        **{f"{_OF_PARTNER}{name}": value for name, value in own.items()},
    }


def _recipe_attributes(run: Path) -> dict[str, Any]:
    """Give what names and groups a run: its resolved recipe, and that without seed and place."""
    text, recipe = read_run_recipe(run)
    return {"recipe": text, **grouping(recipe)}


def grouping(recipe: dict[str, Any]) -> dict[str, Any]:
    """Give the training seed of a recipe, and what is equal for runs that differ in it alone."""
    rest = {
        name: dict(table) if isinstance(table, dict) else table for name, table in recipe.items()
    }
    seed = rest.get("train", {}).pop("seed", None)
    for table in ("record", "checkpoint"):  # what is written does not change what is trained
        rest.pop(table, None)
    for table, key in (("data", "dir"), ("train", "device"), ("train", "threads")):
        rest.get(table, {}).pop(key, None)
    found: dict[str, Any] = {"group": json.dumps(rest, sort_keys=True, default=str)}
    if seed is not None:
        found["seed"] = seed
    return found


def _look(file: h5py.File, path: Path) -> tuple[dict[str, Any], bool]:
    """Give root attributes and whether somebody writes the file, or may go on in it later."""
    require_ours(file, path)
    try:
        attributes = {
            name: _plain(value)
            for name, value in file.attrs.items()
            if name != "_NCProperties"  # which netCDF keeps for itself
        }
        statuses: list[int] = []
        file.visititems(
            lambda name, item: statuses.append(int(item[()])) if name.endswith("/status") else None
        )
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}); take it from a copy, or record it again."
        ) from error
    ended = {STATUS.index(status) for status in ENDED}
    return attributes, not ended.issuperset(statuses)


def _read_live(path: Path) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """Read a file that may be written meanwhile, as it was at one moment."""
    deadline = time.monotonic() + PATIENCE
    content = b""
    while True:
        before, content = content, snapshot(path)
        try:
            with hdf5(path, content) as file:
                attributes, _ = _look(file, path)
                require_storage(file, path)
            return _load_groups(path, content), attributes
        except InputError:
            # Between two writes the file is whole: this is damage, or another program's doing.
            if content == before or time.monotonic() > deadline:
                raise
        time.sleep(FLUSH)


def _load_groups(path: Path, content: bytes | None = None) -> dict[str, xr.Dataset]:
    """Read all groups of a file: lazily, or at once from its `content` at one moment."""
    try:
        groups = _open_groups(path, content)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); `resprobe check {path}` says "
            "more."
        ) from error
    found = {}
    try:
        for name, dataset in groups.items():
            if "committed" in dataset:
                trimmed = _trim(dataset, path, name)
                trimmed.set_close(dataset.close)
                found[name] = trimmed if content is None else trimmed.load()
    except (OSError, RuntimeError, KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{path} is damaged ({error}); `resprobe check {path}` says more."
        ) from error
    finally:
        if content is not None:
            for dataset in groups.values():
                dataset.close()
    return found


def _open_groups(path: Path, content: bytes | None) -> dict[str, xr.Dataset]:
    import xarray as xr

    from resprobe.store import lazy

    with contextlib.suppress(lazy.OtherFormError):
        return lazy.open_groups(path if content is None else io.BytesIO(content))
    if content is not None:
        return xr.open_groups(io.BytesIO(content), engine="h5netcdf", phony_dims="access")
    # With or without the lock as in `lazy`.
    try:
        return xr.open_groups(path, engine="h5netcdf", phony_dims="access")
    except OSError as error:
        if "flag values don't match" not in str(error):
            raise
        return xr.open_groups(
            path, engine="h5netcdf", phony_dims="access", driver_kwds={"locking": False}
        )


def _trim(dataset: xr.Dataset, path: Path, name: str) -> xr.Dataset:
    """Cut off rows that are not committed; turn the bookkeeping into attributes."""
    count, status = int(dataset["committed"]), int(dataset["status"])
    rows = str(dataset.attrs.get("rows", name.rsplit("/", 1)[-1]))
    trimmed = dataset.drop_vars(["committed", "status"])
    if not 0 <= count <= trimmed.sizes.get(rows, -1):
        raise InputError(
            f"{path} says that {count} rows of {name} are committed but holds "
            f"{trimmed.sizes.get(rows, f'none along {rows}')}; it is damaged: take it from a copy, "
            "or record it again."
        )
    if any(str(dimension).startswith("phony_dim") for dimension in trimmed.dims):
        raise InputError(
            f"{path} has variables of {name} without their dimensions; it is damaged: `resprobe "
            f"check {path}` says more."
        )
    trimmed = trimmed.isel({rows: slice(0, count)})
    # Plain xarray takes them for data where no variable has the dimension `block`.
    trimmed = trimmed.set_coords([name for name in BLOCK_COORDINATES if name in trimmed])
    for scalar in (variable.name for variable in REPLAY if variable.name in trimmed):
        trimmed.attrs[scalar] = trimmed[scalar].item()
        trimmed = trimmed.drop_vars(scalar)
    trimmed.attrs["status"] = STATUS[status] if 0 <= status < len(STATUS) else f"unknown {status}"
    return trimmed


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if getattr(value, "size", 0) == 1 else value
