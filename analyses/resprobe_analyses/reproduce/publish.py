"""A ledger copied to where a repository keeps it: the page, its JSON, evidence and pictures.

`python -m resprobe_analyses.reproduce.publish DIR… -o analyses` writes `analyses/LEDGER.md` and
`analyses/ledger/` from what `resprobe reproduce` left in one or more directories, such as one of
each scale.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from resprobe.errors import InputError, ResprobeError
from resprobe_analyses.reproduce.document import document
from resprobe_analyses.reproduce.evidence_file import FILE as EVIDENCE
from resprobe_analyses.reproduce.files import make_folder, write_text
from resprobe_analyses.reproduce.ledger import JSON, Row, as_json, in_order, read_ledger

PAGE, FOLDER = "LEDGER.md", "ledger"
# Of a row's folder; data sets and vector pictures can be made again.
_COPIED = (EVIDENCE, "summary.txt")


def publish(sources: Sequence[Path], target: Path) -> Path:
    """Copy the ledgers of several directories into one page with its files.

    Args:
        sources: directories that `resprobe reproduce` wrote.
        target: gets `LEDGER.md` and `ledger/`; an earlier `ledger/` is replaced.

    Returns:
        The page.

    Raises:
        InputError: a source has no ledger, two sources have one row, or rows of one study come
            from different versions; or `target` can't be written.
    """
    found = _rows(sources)
    kept = target / FOLDER
    if kept.exists() and not (kept / JSON).exists():
        raise InputError(f"{kept} holds no {JSON}, so it is no ledger; give another -o.")
    rows = in_order(row for _, row in found)
    # whole before the earlier one goes: nothing is lost to a kill or a full disk
    unborn, gone = target / f".{FOLDER}.new", target / f".{FOLDER}.old"
    try:
        for left in filter(Path.exists, (unborn, gone)):
            shutil.rmtree(left)
        for source, row in found:
            _copy(row, source, unborn)
        write_text(unborn / JSON, as_json(rows))
        if kept.exists():
            kept.rename(gone)
        unborn.rename(kept)
        shutil.rmtree(gone, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{kept} can't be written ({error}); give another -o.") from error
    write_text(target / PAGE, document(rows, f"{FOLDER}/"))
    return target / PAGE


def _copy(row: Row, source: Path, target: Path) -> None:
    make_folder(target / row["folder"])
    pictures = [Path(figure).name for figure in row["figures"]]
    for name in (*_COPIED, *pictures):
        if (source / row["folder"] / name).exists():
            shutil.copyfile(source / row["folder"] / name, target / row["folder"] / name)


def _rows(sources: Sequence[Path]) -> list[tuple[Path, Row]]:
    found: dict[tuple[str, str, str], tuple[Path, Row]] = {}
    versions: dict[str, Row] = {}
    for source in sources:
        ledger = read_ledger(source)
        if not ledger.rows:
            raise InputError(f"{source} holds no {JSON}; give what resprobe reproduce wrote.")
        for key, row in ledger.rows.items():
            if key in found:
                raise InputError(
                    f"{' '.join(key)} is in {found[key][0]} and in {source}; a ledger has it once."
                )
            other = versions.setdefault(key[0], row)
            if other["version"] != row["version"]:
                raise InputError(
                    f"{source} has version {row['version']} of {key[0]}, another one has "
                    f"{other['version']}; a ledger has one version of a study."
                )
            found[key] = source, row
    return list(found.values())


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", "target", required=True, type=click.Path(path_type=Path))
def main(sources: tuple[Path, ...], target: Path) -> None:
    """Copy the ledgers of SOURCES to LEDGER.md and ledger/ in the output directory."""
    try:
        click.echo(publish(sources, target))
    except ResprobeError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from error


if __name__ == "__main__":
    main()
