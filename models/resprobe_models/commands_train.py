"""The command `train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resprobe.errors import DivergedError
from resprobe.files import real_path

if TYPE_CHECKING:
    from resprobe_models.train import TrainOutcome


@click.command()
@click.argument("recipe")
@click.option(
    "-o",
    "--output",
    "run",
    required=True,
    type=click.Path(path_type=Path),
    help="Run directory to write.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace one key of the recipe, such as train.epochs=5; may be repeated.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of the data set's files; the run remembers it. Without it they are downloaded.",
)
@click.option("--seed", type=int, help="Seed of weights, order and augmentation (train.seed).")
@click.option("--device", help="auto, cpu, cuda, cuda:1, … (train.device).")
@click.option("--resume", is_flag=True, help="Continue the run from its last checkpoint.")
@click.option("--overwrite", is_flag=True, help="Replace the run that is there.")
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--quiet", is_flag=True, help="No progress and no log on stderr.")
def train(  # noqa: PLR0917  # click passes every option by name
    recipe: str,
    run: Path,
    overrides: tuple[str, ...],
    data_dir: Path | None,
    seed: int | None,
    device: str | None,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train a network by RECIPE, the name of a registered recipe or the path of a .toml file.

    The run directory then holds the resolved recipe, checkpoints, what was recorded while
    training, and a log. 'resprobe list recipes' shows the names.

    \b
    Example:
        resprobe train resnet-20-digits -o r20
        resprobe train resnet-20-cifar10 --data-dir data --set train.epochs=5 -o r20
    """
    from resprobe_models.pair import partner_recipe
    from resprobe_models.progress import make_progress
    from resprobe_models.recipe import apply_overrides, load_recipe, to_toml

    chosen = {"train.seed": seed, "train.device": device}
    extra = [f"{name}={value}" for name, value in chosen.items() if value is not None]
    if data_dir is not None:
        # As a TOML literal, or a folder called 2024 would be a number; absolute, because later
        # commands start elsewhere.
        extra.append(f"data.dir={json.dumps(str(real_path(data_dir)), ensure_ascii=False)}")
    resolved = apply_overrides(load_recipe(recipe), [*overrides, *extra])
    partner_recipe(resolved)  # a pair that cannot be is refused in a dry run, too
    if dry_run:
        click.echo(json.dumps(resolved.tables(), indent=2) if as_json else to_toml(resolved))
        return
    from resprobe_models.train import train as run_training

    outcome = run_training(
        resolved,
        run,
        resume=resume,
        overwrite=overwrite,
        progress=make_progress(quiet=quiet),
    )
    document = _document(outcome, pair=resolved.pair.network != "none")
    if not outcome.writes:
        return
    if as_json:
        click.echo(json.dumps(document, indent=2))
    if outcome.status == "diverged":
        raise DivergedError(outcome.message)
    if not as_json:
        click.echo(_sentences(outcome, document["next"]))


def _document(outcome: TrainOutcome, *, pair: bool) -> dict[str, Any]:
    metrics = outcome.metrics
    return {
        "run": str(outcome.run),
        "status": outcome.status,
        "message": outcome.message,
        "step": outcome.step,
        "epochs": outcome.epochs,
        "checkpoint": None if outcome.checkpoint is None else str(outcome.checkpoint),
        "metrics": metrics,
        "next": None if outcome.checkpoint is None else _next(outcome.run, pair=pair),
    }


def _next(run: Path, *, pair: bool) -> str:
    return f"resprobe analyze equivalence {run}" if pair else f"resprobe collect {run}"


def _sentences(outcome: TrainOutcome, following: str | None) -> str:
    error = outcome.metrics.get("test_error")
    lines = [f"{outcome.run}: {outcome.message}"]
    if error is not None:
        lines.append(f"test accuracy {1 - error:.4f} after step {outcome.step}")
    if following is not None:
        lines.append(f"next: {following}")
    return "\n".join(lines)
