"""The command `collect`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resprobe.cli.common import counting, emit, output_options, say
from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe.collect import Collected, Estimate, Samples


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    default="last",
    show_default=True,
    metavar="last|best|all|STEP",
    help="Which checkpoint of the run.",
)
@click.option("--model", help="Registered model to measure instead of a run.")
@click.option(
    "--model-arg",
    "model_args",
    multiple=True,
    metavar="KEY=VALUE",
    help="Argument of the model; may be repeated.",
)
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights: .safetensors, or torch tensors."
)
@click.option("--data", help="Registered data set to measure --model on.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the data set's files.")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    help="With --model: a lone file if it ends in .h5, else a run directory.",
)
@click.option(
    "--preset",
    default="standard",
    show_default=True,
    metavar="economy|standard|full",
    help="economy: norms, loss, margin; standard: also the lesion of every block.",
)
@click.option(
    "--quantity",
    "quantities",
    multiple=True,
    metavar="NAME|+NAME",
    help="Only this quantity's family (NAME), or also it (+NAME); may be repeated.",
)
@click.option("--samples", type=int, metavar="N", help="Samples to measure; default: all.")
@click.option(
    "--sample-seed", type=int, default=0, show_default=True, help="Seed of the stratified draw."
)
@click.option("--sample-indices", metavar="I,J,…", help="These samples instead of a draw.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@click.option("--overwrite", is_flag=True, help="Replace what was measured with other settings.")
@click.option("--estimate", "only_estimate", is_flag=True, help="Print time and memory and stop.")
@output_options
def collect(  # noqa: PLR0917  # click passes every option by name
    run: Path | None,
    checkpoint: str,
    model: str | None,
    model_args: tuple[str, ...],
    weights: Path | None,
    data: str | None,
    data_dir: Path | None,
    out: Path | None,
    preset: str,
    quantities: tuple[str, ...],
    samples: int | None,
    sample_seed: int,
    sample_indices: str | None,
    device: str,
    overwrite: bool,
    only_estimate: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure the checkpoint of RUN, or any registered model with weights, on test images.

    Each family of quantities (norms, lesion, …) becomes one HDF5 file. What is there already
    with equal settings is kept.

    \b
    Example:
        resprobe collect r20
        resprobe collect r20 --checkpoint all --preset economy
        resprobe collect --model cifar-resnet --model-arg depth=20 \\
            --weights w.safetensors --data cifar10 --data-dir data -o w.h5
    """
    from resprobe.collect import Samples, chosen_families, left_alone

    if samples is not None and sample_indices is not None:
        raise InputError("--samples and --sample-indices exclude each other; give one of them.")
    families = chosen_families(preset, quantities)
    chosen = Samples(samples, sample_seed, _indices(sample_indices))
    leave = left_alone(families, quantities)
    if model is not None:
        if run is not None or weights is None or data is None:
            raise InputError(
                "--model needs --weights and --data and takes no RUN; see `resprobe collect -h`."
            )
        if checkpoint != "last":
            raise InputError("--checkpoint belongs to a RUN; --model takes its --weights.")
        from resprobe.collect_model import ModelRequest, collect_model

        if out is None and not only_estimate:
            raise InputError("--model needs -o OUT: a file ending in .h5 or a run directory.")
        request = ModelRequest(model, arguments(model_args), weights, data, data_dir, device)
        if only_estimate:
            from resprobe.collect import estimate

            _print_estimates(estimate(request.source(), families, samples=chosen), as_json)
            return
        assert out is not None
        with counting(quiet=quiet) as progress:
            done = collect_model(
                request,
                out,
                families,
                samples=chosen,
                overwrite=overwrite,
                leave=leave,
                progress=progress,
            )
        _print_collected(done, out, as_json, quiet)
        return
    if run is None:
        raise InputError("give a RUN directory, or --model, --weights and --data.")
    if out is not None:
        raise InputError("-o belongs to --model; what is collected of a RUN stays in it.")
    foreign = {"--model-arg": model_args, "--weights": weights, "--data": data}
    for option, value in foreign.items():
        if value:
            raise InputError(
                f"{option} belongs to --model; a RUN has its own model, weights and data: leave "
                f"{option} out, or give --model instead of {run}."
            )
    if only_estimate:
        from resprobe.collect import estimate
        from resprobe.source import from_run

        source, _ = from_run(run, _which(checkpoint), data_dir=data_dir, device=device)
        _print_estimates(estimate(source, families, samples=chosen), as_json)
        return
    done = collect_of_run(
        run,
        checkpoint,
        families,
        samples=chosen,
        overwrite=overwrite,
        leave=leave,
        data_dir=data_dir,
        device=device,
        quiet=quiet,
    )
    _print_collected(done, run, as_json, quiet)


def collect_of_run(
    run: Path,
    checkpoint: str,
    families: dict[str, str],
    *,
    samples: Samples | None = None,
    overwrite: bool = False,
    leave: Collection[str] = (),
    data_dir: Path | None = None,
    device: str = "auto",
    quiet: bool = True,
) -> list[Collected]:
    """Collect families of one or all checkpoints of a run, with progress on stderr.

    Raises:
        InputError: see `resprobe.collect.collect` and `resprobe.source.from_run`.
    """
    from resprobe import checkpoints
    from resprobe.collect import collect as measure
    from resprobe.source import from_run, read_recipe

    read_recipe(run)
    steps: Sequence[Any] = checkpoints.steps(run) if checkpoint == "all" else [_which(checkpoint)]
    if not steps:
        checkpoints.resolve(run, "last")  # says that there is none
    outcomes = []
    for which in steps:
        source, step = from_run(run, which, data_dir=data_dir, device=device)
        folder = run / "collected" / checkpoints.stem(step)
        announced = f"measuring {run} at step {step} on {source.device}"
        with counting(quiet=quiet) as progress:
            outcomes += measure(
                source,
                folder,
                families,
                samples=samples,
                overwrite=overwrite,
                leave=leave,
                progress=progress,
                begin=partial(say, announced, quiet=quiet),
            )
    return outcomes


def _which(text: str) -> Any:
    if text in ("last", "best", "all"):
        return "last" if text == "all" else text
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"--checkpoint {text!r}: give last, best, all or the number of a step.")
    return int(text)


def _indices(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--sample-indices {text!r}: give whole numbers with commas, such as 0,1,2."
        ) from error


def arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE with TOML's values; anything else is a string."""
    import tomllib

    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise InputError(f"--model-arg {pair!r}: give KEY=VALUE, such as depth=20.")
        try:
            found[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = text
    return found


def _print_estimates(estimates: Sequence[Estimate], as_json: bool) -> None:
    lines = [
        f"{e.family}: {e.samples} samples, about {e.seconds:.0f} s and {e.memory_mb:.0f} MB beside "
        "the model"
        for e in estimates
    ]
    emit(as_json, [vars(e) for e in estimates], "\n".join(lines))


def _print_collected(done: Sequence[Collected], target: Path, as_json: bool, quiet: bool) -> None:
    lines = [
        f"{item.path}: {item.family} kept as it was measured before"
        if item.kept
        else f"{item.path}: {item.family} of {item.samples} samples in {item.seconds:.1f} s"
        for item in done
    ]
    lines.append(f"next: resprobe analyze {target}")
    emit(
        as_json,
        {"collected": [vars(item) for item in done], "next": f"resprobe analyze {target}"},
        "\n".join(lines),
    )
