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
    """Write everything recorded and collected in INPUT as one HDF5 file.

    xarray.open_datatree(FILE, engine="h5netcdf") opens it with no code of resprobe.

    \b
    Example:
        resprobe export r20 -o r20.h5
    """
    from resprobe.files import refuse_special
    from resprobe.source import collect_command
    from resprobe.store.export import write_tree
    from resprobe.store.reader import enclosing_run, flat_attributes
    from resprobe.store.reader import open as open_tree

    if out.suffix != ".h5":
        raise InputError(f"-o {out}: give a name that ends in .h5, such as {out.stem}.h5.")
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
