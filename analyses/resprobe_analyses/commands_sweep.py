"""The command `sweep`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resprobe.cli.common import emit, output_options
from resprobe.errors import InterruptionError

if TYPE_CHECKING:
    from resprobe_analyses.sweeps.outcomes import PointOutcome


@click.command()
@click.argument("file", metavar="SWEEP.toml", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory of the sweep: its runs, and one table of them.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="An existing dask cluster, such as tcp://10.0.0.1:8786; default: this machine's cores or "
    "GPUs.",
)
@click.option(
    "--runs-per-device",
    type=int,
    default=1,
    show_default=True,
    metavar="K",
    help="Runs at once on each GPU, or on each core where there is none.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of the data sets' files. Without it they are downloaded.",
)
@click.option("--retry-failed", is_flag=True, help="Try the runs again that failed before.")
@output_options
def sweep(  # noqa: PLR0917  # click passes every option by name
    file: Path,
    out: Path,
    scheduler: str | None,
    runs_per_device: int,
    data_dir: Path | None,
    retry_failed: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train and measure a grid of runs, over keys of recipes and over seeds.

    SWEEP.toml names a recipe, seeds and, for the keys that vary, lists of values. Every point
    becomes a run directory in DIR/runs; sweep.csv and sweep.h5 hold a row for each. Run again, the
    command goes on with what is missing; a sweep may get more seeds and values.

    \b
    Example:
        cat > depths.toml <<END
        recipe = "resnet-20-digits"
        seeds = [0, 1, 2, 3, 4]
        [grid]
        model.depth = [8, 14, 20]
        [[collect]]
        quantities = ["branch_norm"]
        END
        resprobe sweep depths.toml -o depths
        resprobe analyze norm-vs-depth depths
    """
    from resprobe_analyses.sweeps import read_sweep, run_sweep
    from resprobe_analyses.sweeps.progress import make_progress

    progress = make_progress(quiet=quiet)
    try:
        outcomes = run_sweep(
            read_sweep(file),
            out,
            scheduler=scheduler,
            runs_per_device=runs_per_device,
            data_dir=data_dir,
            retry_failed=retry_failed,
            progress=progress,
            tell=progress.line,
        )
    except KeyboardInterrupt as error:
        raise InterruptionError(
            f"interrupted; {out} keeps what was trained, and the same command goes on from there."
        ) from error
    emit(as_json, _document(out, outcomes), _sentences(out, outcomes))
    if any(outcome.status in ("failed", "diverged") for outcome in outcomes):
        raise SystemExit(1)


def _document(out: Path, outcomes: Sequence[PointOutcome]) -> dict[str, Any]:
    return {
        "sweep": str(out),
        "table": str(out / "sweep.h5"),
        "runs": [
            {
                "name": item.name,
                "run": str(item.run),
                "arm": item.arm,
                "settings": dict(item.settings),
                "seed": item.seed,
                "status": item.status,
                "attempts": item.attempts,
                "seconds": item.seconds,
                "metrics": dict(item.metrics),
                "message": item.message,
            }
            for item in outcomes
        ],
        "next": f"resprobe analyze {out}",
    }


def _sentences(out: Path, outcomes: Sequence[PointOutcome]) -> str:
    counts = Counter(item.status.replace("_", " ") for item in outcomes)
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    lines = [f"{out}: {len(outcomes)} runs, {words}"]
    lines += [
        f"{item.name} {item.status}: {item.message}"
        for item in outcomes
        if item.status in ("failed", "diverged")
    ]
    if counts["failed"]:
        lines.append("failed runs are tried again with --retry-failed")
    lines += [f"table: {out / 'sweep.csv'}, {out / 'sweep.h5'}", f"next: resprobe analyze {out}"]
    return "\n".join(lines)
