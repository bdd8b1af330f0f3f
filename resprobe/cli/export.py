"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from resprobe.cli.common import emit, output_options
from resprobe.errors import InputError


@click.command()
@click.argument("input_", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="File to write."
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@output_options
def export(input_: Path, out: Path, overwrite: bool, as_json: bool, quiet: bool) -> None:
    """Write what was recorded and collected in INPUT as one HDF5 file, or the table of its blocks.

    An OUT ending in .h5 gets everything: xarray.open_datatree(FILE, engine="h5netcdf") opens it
    with no code of resprobe. An OUT ending in .csv gets one row a block (and checkpoint): means
    over the samples with their standard errors.

    \b
    Example:
        resprobe export r20 -o r20.h5
        resprobe export r20 -o blocks.csv
    """
    from resprobe.files import refuse_special
    from resprobe.store.reader import enclosing_run

    if out.suffix not in (".h5", ".csv"):
        raise InputError(
            f"-o {out}: give a name that ends in .h5 for everything, such as {out.stem}.h5, or in "
            f".csv for the table of blocks, such as {out.stem}.csv."
        )
    run = enclosing_run(out)
    if run is not None:
        raise InputError(f"-o {out} lies in the run {run}, whose files are its own; give another.")
    refuse_special(out)
    if (out.exists() or out.is_symlink()) and not overwrite:
        raise InputError(f"{out} exists; give another path or --overwrite.")
    if out.exists() and input_.exists() and out.samefile(input_):
        raise InputError(f"-o {out} is the INPUT itself; give another path.")
    if out.is_dir():
        raise InputError(f"-o {out} is a folder; give the path of a file.")
    if out.suffix == ".csv":
        _export_table(input_, out, as_json)
    else:
        _export_tree(input_, out, as_json)


def _export_tree(input_: Path, out: Path, as_json: bool) -> None:
    """Write everything as one file."""
    from resprobe.source import collect_command
    from resprobe.store.export import write_tree
    from resprobe.store.reader import flat_attributes
    from resprobe.store.reader import open as open_tree

    tree = open_tree(input_)
    groups: dict[str, Any] = {
        str(node.path): node.to_dataset() for node in tree.leaves if "rows" in node.attrs
    }
    if not groups:
        raise InputError(f"nothing is recorded in {input_} yet; run `{collect_command(input_)}`.")
    write_tree(groups, flat_attributes(tree), out)
    emit(
        as_json,
        {"path": str(out), "groups": sorted(groups)},
        f"{out}: {', '.join(sorted(groups))}\nnext: resprobe check {out}",
    )


def _export_table(input_: Path, out: Path, as_json: bool) -> None:
    """Write the table of blocks."""
    from resprobe.store.export import write_table
    from resprobe.table import block_table

    table = block_table(input_)
    write_table(table, out)
    rows = table.reset_index()
    left_out = table.attrs["left_out"]
    lines = [f"{out}: {len(rows)} rows of {len(rows.columns)} columns"]
    lines += [f"left out {name}: {reason}" for name, reason in left_out.items()]
    lines.append(f"next: resprobe analyze {input_}")
    emit(
        as_json,
        {
            "path": str(out),
            "rows": len(rows),
            "columns": list(rows.columns),
            "left_out": left_out,
        },
        "\n".join(lines),
    )
