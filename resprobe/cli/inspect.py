"""The command `inspect`."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resprobe import registry
from resprobe.cli.common import emit, output_options, say
from resprobe.cli.foreign import arguments, data_options, data_request, model_options
from resprobe.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    import xarray as xr

# The largest sample of zeros: beyond it the machine's memory ends before the network is asked.
_MOST_NUMBERS = 10**8
# Additions that are named where many were refused for one reason; --json has all.
_SHOWN = 3

# What is said in words of a run's `[data]`, where it is asked for; --json has all.
_DATA_KEYS = (
    "name",
    "subset",
    "test_subset",
    "resolution",
    "augment",
    "label_noise",
    "input_noise",
)
_COLUMNS = ("block", "stage", "skip", "activation", "scale", "elements")
_MODEL_COLUMNS = ("block", "stage", "index", "skip", "activation", "scale", "input", "output")


@click.command()
@click.argument("what", metavar="MODEL|INPUT")
@model_options
@click.option(
    "--input-shape",
    show_default="3,32,32; 16 tokens where the model takes input_ids",
    metavar="C,H,W",
    help="Shape of one sample for a model, such as 3,224,224 or 128.",
)
@click.option(
    "--input-dtype",
    show_default="that of the model's parameters",
    metavar="float32|float64|int64",
    help="Type of that sample, which is all zero: int64 for a model of tokens.",
)
@data_options
@output_options
def inspect(  # noqa: PLR0917  # click passes every option by name
    what: str,
    model_args: tuple[str, ...],
    weights: Path | None,
    input_shape: str | None,
    input_dtype: str | None,
    data: str | None,
    data_dir: Path | None,
    normalize: tuple[str, str] | None,
    resize: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show the residual blocks of a MODEL, or what an INPUT holds.

    The blocks of a model are found from its executed operations, on one sample of zeros or the
    first sample of --data; additions that are no blocks are listed with the reason. MODEL takes
    the forms of `resprobe collect --model`.

    \b
    Example:
        resprobe inspect cifar-resnet --model-arg depth=20
        resprobe inspect torchvision:resnet50 --input-shape 3,224,224
        resprobe inspect transformers:GPT2Model --model-arg n_layer=2
        resprobe inspect net.py:make --data photos/ --resize 64
        resprobe inspect r20
    """
    path = Path(what)
    if path.exists() and path.suffix != ".py":
        foreign = {
            "--model-arg": model_args,
            "--weights": weights,
            "--input-shape": input_shape,
            "--input-dtype": input_dtype,
            "--data": data,
        }
        for option, value in foreign.items():
            if value:
                raise InputError(
                    f"{option} belongs to a MODEL, but {path} exists and is taken as an INPUT: "
                    f"leave {option} out, or give the name of a registered model."
                )
        _inspect_input(path, as_json)
        return
    from resprobe.inspect_model import InspectRequest, inspect_model
    from resprobe.network import is_model

    if not is_model(what) and path.suffix != ".py":
        raise UnknownNameError(
            "model or INPUT (no such path exists)", what, registry.entries("models")
        )
    request = InspectRequest(
        model=what,
        arguments=arguments(model_args),
        weights=weights,
        shape=_shape(input_shape),
        dtype=input_dtype,
        data=None if data is None else data_request(data, data_dir, normalize, resize),
    )
    for option, value in (
        ("--data-dir", data_dir),
        ("--normalize", normalize),
        ("--resize", resize),
    ):
        if value and data is None:
            raise InputError(f"{option} belongs to --data; give that too, or leave {option} out.")
    document, notes = inspect_model(request)
    for note in notes:
        say(note, quiet=quiet)
    emit(as_json, document, "\n".join(_lines(document)))


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(f"--input-shape {text!r}: give positive numbers, such as 3,32,32.")
    if math.prod(shape) > _MOST_NUMBERS:
        raise InputError(
            f"--input-shape {text!r}: a sample of more than {_MOST_NUMBERS:,} numbers is not made; "
            "give a smaller shape, such as 3,32,32."
        )
    return shape


def _lines(document: dict[str, Any]) -> list[str]:
    """Say in words what blocks a model has and which additions are none."""
    rows, refused = document["blocks"], document["refused"]
    kind = "units of a plain network" if document["plain"] else "residual blocks"
    shown = [
        {
            **row,
            "input": "×".join(map(str, row["input_shape"])),
            "output": "×".join(map(str, row["output_shape"])),
        }
        for row in rows
    ]
    return [
        f"{document['model']}: {document['parameters']:,} parameters, {len(rows)} {kind}",
        *_table(shown, _MODEL_COLUMNS),
        *_refusals(refused),
    ]


def _inspect_input(path: Path, as_json: bool) -> None:
    from resprobe.converted import read_certificate
    from resprobe.store.reader import open as open_tree

    tree = open_tree(path)
    groups: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for node in tree.leaves:
        if "rows" not in node.attrs:
            continue
        dataset = node.to_dataset()
        groups.append(
            {
                "group": node.path,
                "rows": _rows(node.path, dataset),
                "status": dataset.attrs["status"],
                "variables": sorted(str(name) for name in dataset.data_vars),
            }
        )
        if "block" in dataset.dims and not rows:
            rows = _block_rows(dataset)
    data = _data_table(tree)
    lines = [str(path)]
    if asked := [f"{key} = {data[key]}" for key in _DATA_KEYS if data.get(key)]:
        lines.append(f"  data: {', '.join(asked)}")
    certificate = None
    try:
        certificate = read_certificate(path)
    except InputError as error:  # it says nothing of what is recorded
        lines.append(f"  {error}")
    lines += [f"  {sentence}" for sentence in _converted(certificate)]
    lines += [f"  {g['group']}: {g['rows']}, {g['status']}" for g in groups]
    lines += [f"  {sentence}" for sentence in _errors(tree)]
    lines += _table(rows)
    if not groups:
        lines.append("  nothing is recorded or collected yet")
    document = {
        "input": str(path),
        "data": data,
        "certificate": certificate,
        "groups": groups,
        "blocks": rows,
    }
    emit(as_json, document, "\n".join(lines))


def _rows(group: str, dataset: xr.Dataset) -> str:
    """Say how many rows a group has; what is of the weights alone has none."""
    from resprobe.quantities.quantity import DEFAULT_SAMPLES, of_family

    family = of_family(group.rsplit("/", maxsplit=1)[-1])
    if any(DEFAULT_SAMPLES.get(quantity.cost) == 0 for quantity in family):
        return "of the weights alone"
    along = dataset.attrs["rows"]
    return f"{dataset.sizes[along]} {along}s"


def _converted(certificate: dict[str, Any] | None) -> Iterable[str]:
    """Say what a conversion made a run from, and how well."""
    if certificate is None:
        return
    steps = ", ".join(str(row["step"]) for row in certificate["checkpoints"])
    yield f"converted: step {steps} made {certificate['to']} from {certificate['input']}"
    for row in certificate["checkpoints"]:
        found = " and ".join(
            f"{one['largest_difference']:.2g} in {one['dtype']} (bound {one['bound']:.2g})"
            for one in row["outputs"]
        )
        yield f"converted: step {row['step']}: outputs differ by at most {found}"


def _data_table(tree: xr.DataTree) -> dict[str, Any]:
    """Give `[data]` of the recipe that a run was trained by, empty where there is none."""
    try:
        table = tomllib.loads(tree.attrs.get("recipe", "")).get("data", {})
    except (ValueError, TypeError, RecursionError):
        return {}  # a foreign file's attribute of that name
    return table if isinstance(table, dict) else {}


def _errors(tree: xr.DataTree) -> Iterable[str]:
    """Say the test error of every collected checkpoint."""
    for node in tree.leaves:
        if "test_error" in node.data_vars and not node["test_error"].dims:
            samples = node.sizes.get("sample", 0)
            yield f"{node.path}: test error {float(node['test_error']):.4f} of {samples} samples"


def _block_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    there = [name for name in _COLUMNS if name in dataset.coords]
    return [
        {
            name: dataset[name].values[place].item()
            if name != "block"
            else str(dataset["block"].values[place])
            for name in there
        }
        for place in range(dataset.sizes["block"])
    ]


def _table(rows: list[dict[str, Any]], names: tuple[str, ...] = _COLUMNS) -> list[str]:
    if not rows:
        return []
    columns = [name for name in names if name in rows[0]]
    cells = [columns, *[[str(row[name]) for name in columns] for row in rows]]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _refusals(refused: Sequence[dict[str, str]]) -> Iterable[str]:
    """Give one line for each reason, with a few of the additions it was given for."""
    by_reason: dict[str, list[str]] = {}
    for item in refused:
        by_reason.setdefault(item["reason"], []).append(item["addition"])
    for reason, additions in by_reason.items():
        more = f" and {len(additions) - _SHOWN} more" if len(additions) > _SHOWN else ""
        yield f"no block: {', '.join(additions[:_SHOWN])}{more}: {reason}"
