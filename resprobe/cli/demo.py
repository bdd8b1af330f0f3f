"""The command `demo`: the whole way from recipes to findings on embedded data."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from resprobe import registry
from resprobe.cli.common import emit, output_options, say
from resprobe.errors import DivergedError, InputError

SEEDS = (0, 1)
# What its analysis reads; Jacobians of nets of depth 56 would take longer than all the rest.
ASKED = tuple(
    word
    for name in ("branch_norm", "block_influence", "lesion_error")
    for word in ("--quantity", name)
)
TARGET = 0.99
CAP = 24
# One setting for all, at which the plain network of this depth learns too.
SETTINGS = (
    f"train.epochs={CAP}",
    f"train.stop_train_accuracy={TARGET}",
    "train.batch_size=32",
    "schedule.learning_rate=0.03",
    "data.augment=none",
)


@dataclass(frozen=True)
class _Network:
    label: str
    recipe: str
    settings: tuple[str, ...]


NETWORKS = (
    _Network("h1", "resnet-56-digits", ("model.h=1.0",)),
    _Network("h01", "resnet-56-digits", ("model.h=0.1",)),
    _Network("plain", "plain-56-digits", ()),
)


@click.command()
@click.option(
    "-o",
    "--output",
    "out",
    default="resprobe-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Directory of the runs and results.",
)
@output_options
def demo(out: Path, as_json: bool, quiet: bool) -> None:
    """Train, measure and analyze six small networks on embedded data, offline.

    Residual networks of depth 56 with step size h = 1 and h = 0.1 and a plain one, two seeds
    each, on scikit-learn's digits; every block is then dropped in turn. Run again, it reuses the
    runs that are finished. A few minutes on two cores.

    \b
    Example:
        resprobe demo
    """
    runs: list[Path] = []
    notes: list[str] = []
    total = len(NETWORKS) * len(SEEDS)
    for network in NETWORKS:
        for seed in SEEDS:
            run = out / f"{network.label}-seed{seed}"
            say(f"{run} ({len(runs) + len(notes) + 1} of {total})", quiet=quiet)
            note = _train(network, seed, run, quiet)
            if note is None:
                _call("collect", [str(run), *ASKED, *_quiet(quiet)])
                runs.append(run)
            else:
                notes.append(note)
    if not runs:
        raise InputError("every network of the demo diverged, so there is nothing to analyze.")
    report = _call("analyze", ["lesion", *map(str, runs), "-o", str(out / "lesion"), "--json"])
    found = report["analyses"][0]
    told = [_told(run) for run in runs]
    figures = sorted(str(path) for path in Path(found["path"]).glob("figure-*.png"))
    lines = [
        *told,
        *notes,
        "",
        *found["summary"],
        "",
        f"figures: {', '.join(figures)}",
        f"next: resprobe inspect {runs[0]}; the files open with "
        f'xarray.open_datatree(..., engine="h5netcdf")',
    ]
    document = {
        "runs": [str(run) for run in runs],
        "networks": [*told, *notes],
        "summary": found["summary"],
        "figures": figures,
        "verdict": found["verdict"],
    }
    emit(as_json, document, "\n".join(lines))


def _train(network: _Network, seed: int, run: Path, quiet: bool) -> str | None:
    """Train one network, or go on with or reuse what is there; say so if it diverged."""
    arguments = [network.recipe, "-o", str(run), "--seed", str(seed)]
    for setting in (*network.settings, *SETTINGS):
        arguments += ["--set", setting]
    if (run / "recipe.toml").exists():
        arguments.append("--resume")
    try:
        _call("train", [*arguments, *_quiet(quiet)])
    except DivergedError as error:
        return f"{run} diverged and is left out: {error}"
    return None


def _told(run: Path) -> str:
    """Say how a run's training ended, from what it recorded."""
    import resprobe

    tree = resprobe.open(run / "training.h5")
    epochs = tree["training/epoch"].to_dataset()
    last = epochs.isel(epoch=-1)
    ended = {
        "reached_target": f"reached {TARGET:.0%} training accuracy",
        "reached_cap": f"did not reach {TARGET:.0%} training accuracy",
    }.get(epochs.attrs["status"], f"ended as {epochs.attrs['status']}")
    return (
        f"{run.name}: {ended} after {int(last['epoch'])} epochs (cap {CAP}); training accuracy "
        f"{1 - float(last['train_error']):.3f}, test accuracy {1 - float(last['test_error']):.3f}"
    )


def _quiet(quiet: bool) -> list[str]:
    return ["--quiet"] if quiet else []


def _call(name: str, arguments: list[str]) -> Any:
    """Run another command in this process and give its JSON document."""
    command: click.Command = registry.load("commands", name)
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        command.main(
            [*arguments, *([] if "--json" in arguments else ["--json"])],
            prog_name=name,
            standalone_mode=False,
        )
    return json.loads(stdout.getvalue())
