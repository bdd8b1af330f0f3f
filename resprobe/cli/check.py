"""The command `check`."""

from __future__ import annotations

from pathlib import Path

import click

from resprobe.cli.common import emit, output_options


@click.command()
@click.argument("input_", metavar="INPUT", type=click.Path(path_type=Path))
@output_options
def check(input_: Path, as_json: bool, quiet: bool) -> None:
    """Check that a run, all runs of a sweep, a collected checkpoint or a file keeps its schema.

    Exit 0: nothing is wrong. 1: something is, each thing in a line. 2: INPUT is no resprobe run
    or file at all.

    \b
    Example:
        resprobe check r20
    """
    from resprobe.store.check import check as examine

    report = examine(input_)
    lines = [f"violation: {line}" for line in report.violations]
    lines += [f"note: {line}" for line in report.notes]
    lines.append(
        f"{input_}: {len(report.files)} files checked, "
        f"{len(report.violations) or 'no'} violation{'' if len(report.violations) == 1 else 's'}"
    )
    emit(
        as_json,
        {
            "input": str(input_),
            "files": [str(path) for path in report.files],
            "violations": report.violations,
            "notes": report.notes,
        },
        "\n".join(lines),
    )
    if report.violations:
        raise SystemExit(1)
