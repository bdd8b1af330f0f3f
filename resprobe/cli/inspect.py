"""The command `inspect`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resprobe import registry
from resprobe.cli.common import emit, output_options
from resprobe.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    import xarray as xr

_COLUMNS = ("block", "stage", "skip", "activation", "scale", "elements")


@click.command()
@click.argument("what", metavar="MODEL|INPUT")
@click.option(
    "--model-arg",
    "model_args",
    multiple=True,
    metavar="KEY=VALUE",
    help="Argument of the model; may be repeated.",
)
@click.option(
    "--input-shape",
    show_default="3,32,32",
    metavar="C,H,W",
    help="Shape of one sample for a model.",
)
@output_options
def inspect(
    what: str, model_args: tuple[str, ...], input_shape: str | None, as_json: bool, quiet: bool
) -> None:
    """Show the residual blocks of a registered MODEL, or what an INPUT holds.

    The blocks of a model are found from its executed operations; additions that are no blocks
    are listed with the reason.

    \b
    Example:
        resprobe inspect cifar-resnet --model-arg depth=20
        resprobe inspect r20
    """
    path = Path(what)
    if path.exists():
        for option, value in (("--model-arg", model_args), ("--input-shape", input_shape)):
            if value:
                raise InputError(
                    f"{option} belongs to a MODEL, but {path} exists and is taken as an INPUT: "
                    f"leave {option} out, or give the name of a registered model."
                )
        _inspect_input(path, as_json)
        return
    if what not in registry.entries("models"):
        raise UnknownNameError(
            "model or INPUT (no such path exists)", what, registry.entries("models")
        )
    _inspect_model(what, model_args, _shape(input_shape or "3,32,32"), as_json)


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(f"--input-shape {text!r}: give positive numbers, such as 3,32,32.")
    return shape


def _inspect_model(
    name: str, model_args: tuple[str, ...], shape: tuple[int, ...], as_json: bool
) -> None:
    import torch

    from resprobe.blocks.discover import find_blocks
    from resprobe.cli.collect import arguments
    from resprobe.source import build

    model = build(name, arguments(model_args))
    try:
        blocks = find_blocks(model, torch.zeros(1, *shape))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{name} does not take one sample of shape {shape} ({reason}); give --input-shape."
        ) from error
    parameters = sum(p.numel() for p in model.parameters())
    rows = [
        {
            "block": b.name,
            "stage": b.stage,
            "skip": b.skip,
            "activation": b.activation,
            "scale": b.scale,
            "elements": b.elements,
            "input_shape": list(b.input_shape),
            "output_shape": list(b.output_shape),
        }
        for b in blocks
    ]
    refused = [{"addition": r.addition, "reason": r.reason} for r in blocks.refused]
    kind = "units of a plain network" if blocks.plain else "residual blocks"
    lines = [f"{name}: {parameters:,} parameters, {len(blocks)} {kind}", *_table(rows)]
    lines += [f"no block: {r['addition']}: {r['reason']}" for r in refused]
    document = {"model": name, "parameters": parameters, "blocks": rows, "refused": refused}
    emit(as_json, document, "\n".join(lines))


def _inspect_input(path: Path, as_json: bool) -> None:
    from resprobe.store.reader import open as open_tree

    tree = open_tree(path)
    groups: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for node in tree.leaves:
        if "rows" not in node.attrs:
            continue
        dataset = node.to_dataset()
        along = dataset.attrs["rows"]
        groups.append(
            {
                "group": node.path,
                "rows": f"{dataset.sizes[along]} {along}s",
                "status": dataset.attrs["status"],
                "variables": sorted(str(name) for name in dataset.data_vars),
            }
        )
        if "block" in dataset.dims and not rows:
            rows = _block_rows(dataset)
    lines = [str(path)]
    lines += [f"  {g['group']}: {g['rows']}, {g['status']}" for g in groups]
    lines += [f"  {sentence}" for sentence in _errors(tree)]
    lines += _table(rows)
    if not groups:
        lines.append("  nothing is recorded or collected yet")
    document = {"input": str(path), "groups": groups, "blocks": rows}
    emit(as_json, document, "\n".join(lines))


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


def _table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    columns = [name for name in _COLUMNS if name in rows[0]]
    cells = [columns, *[[str(row[name]) for name in columns] for row in rows]]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
