"""The command `reproduce`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from resprobe.cli.common import emit, output_options, say
from resprobe.errors import ViolationError
from resprobe_analyses.reproduce.words import counted

if TYPE_CHECKING:
    from resprobe_analyses.reproduce.run import Reproduced
    from resprobe_analyses.sweeps.outcomes import PointOutcome
    from resprobe_analyses.sweeps.specification import Sweep


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--scale",
    default="small",
    show_default=True,
    help="How large the runs are: smoke (seconds), small, medium (hours) or paper.",
)
@click.option(
    "-o",
    "--output",
    "out",
    default="reproduced",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Directory of the ledger, the runs and the figures.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of the data sets' files; without it they are downloaded.",
)
@click.option("--scheduler", help="Address of a dask scheduler; without it this machine runs all.")
@click.option(
    "--runs-per-device",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs at once on each GPU, or on each core where there is none.",
)
@click.option("--list", "listed", is_flag=True, help="Show the studies, what they cost, and stop.")
@output_options
def reproduce(  # noqa: PLR0917  # click passes every option by name
    ids: tuple[str, ...],
    scale: str,
    out: Path,
    data_dir: Path | None,
    scheduler: str | None,
    runs_per_device: int,
    listed: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run studies of the papers' claims and enter their verdicts in a ledger.

    Each study ID (all, if none is given) declares a claim, the runs that test it and the rule that
    judges them. What is missing is run, measured and judged; ledger.json and ledger.md in the
    directory say after every study what came out. Begun again, it goes on where it stopped.

    \b
    Example:
        resprobe reproduce --list
        resprobe reproduce ML-T5 ML-F3 --scale smoke -o reproduced
    """
    from resprobe_analyses.reproduce.plan import plan

    if listed:
        _list(ids, as_json)
        return
    planned, without = plan(ids, scale)
    for study in without:
        say(f"{study.id} declares no scale {scale} and is left out", quiet=quiet)
    from resprobe_analyses.reproduce.data_at_hand import DataAtHand
    from resprobe_analyses.reproduce.run import Means
    from resprobe_analyses.reproduce.run import reproduce as make_rows
    from resprobe_analyses.sweeps.progress import make_progress
    from resprobe_analyses.sweeps.run import run_sweep

    progress = make_progress(quiet=quiet)

    def train(sweep: Sweep, folder: Path) -> list[PointOutcome]:
        return run_sweep(
            sweep,
            folder,
            scheduler=scheduler,
            runs_per_device=runs_per_device,
            data_dir=data_dir,
            retry_failed=True,
            progress=progress,
            tell=progress.line,
        )

    at_hand = DataAtHand(out, data_dir)
    tell = partial(say, quiet=quiet)
    _report(make_rows(planned, out, Means(train, at_hand.lacking, tell)), as_json)


def _list(ids: tuple[str, ...], as_json: bool) -> None:
    from resprobe_analyses.reproduce.listing import as_text, listing
    from resprobe_analyses.reproduce.plan import chosen

    listed = listing(chosen(ids))
    emit(as_json, listed, as_text(listed))


def _report(done: Reproduced, as_json: bool) -> None:
    from resprobe_analyses.reproduce.document import line_of
    from resprobe_analyses.reproduce.ledger import JSON, PAGE

    folder = done.ledger.folder
    lines = [*(line_of(row) for row in done.rows), f"ledger: {folder / PAGE} and {folder / JSON}"]
    document = {
        "ledger": str(folder / JSON),
        "page": str(folder / PAGE),
        "rows": done.rows,
        "kept": done.kept,
    }
    emit(as_json, document, "\n".join(lines))
    # rows of one sweep share its runs
    failed = sum({row["settings"]: row["budget"]["runs"]["failed"] for row in done.rows}.values())
    if failed:
        raise ViolationError(
            f"{counted(failed, 'run')} failed; {folder / PAGE} says what came of the others, and "
            "the same command tries them again."
        )
