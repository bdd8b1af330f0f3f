"""The command `collect`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from resprobe.cli.common import counting, emit, output_options, say
from resprobe.cli.foreign import FORMS, arguments, data_options, data_request, model_options
from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe.collect import Collected, Samples
    from resprobe.quantities.trials import Trials
    from resprobe.session_estimate import Estimate


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    default="last",
    show_default=True,
    metavar="last|best|all|STEP",
    help="Which checkpoint of the run.",
)
@click.option(
    "--run-code",
    is_flag=True,
    help="Run the code that RUN names, FILE.py:… or package.module:…; only if you trust it.",
)
@model_options
@click.option("--model", metavar="MODEL", help=f"Measure this instead of a run: {FORMS}.")
@data_options
@click.option(
    "--output",
    metavar="NAME",
    help="Which part of the model's output are the logits: a key, field or index, such as logits "
    "or 0; needed where that is not clear.",
)
@click.option(
    "-o",
    "--out",
    "out",
    type=click.Path(path_type=Path),
    help="With --model: a lone file if it ends in .h5, else a run directory.",
)
@click.option(
    "--preset",
    default="standard",
    show_default=True,
    metavar="economy|standard|full",
    help="economy: norms, loss, margin, layer cushions; standard: also the lesion of every block, "
    "and norms of its Jacobian on 16 samples; full: everything.",
)
@click.option(
    "--quantity",
    "quantities",
    multiple=True,
    metavar="NAME|+NAME",
    help="Only this quantity's family (NAME), or also it (+NAME); may be repeated.",
)
@click.option(
    "--samples",
    type=int,
    metavar="N",
    help="Samples to measure; default: all, of Jacobians 16. Jacobians take more than that only "
    "where a --quantity names them.",
)
@click.option(
    "--sample-seed", type=int, default=0, show_default=True, help="Seed of the stratified draw."
)
@click.option("--sample-indices", metavar="I,J,…", help="These samples instead of a draw.")
@click.option(
    "--levels",
    type=int,
    default=10,
    show_default=True,
    metavar="K",
    help="For lesion-multi: drop 1 to K blocks at once. For lesion-shuffle: 1, 2, 3, 5, 8, … up "
    "to K swaps of two blocks.",
)
@click.option(
    "--trials",
    type=int,
    default=10,
    show_default=True,
    metavar="T",
    help="Random draws of each level; of noise, at every level the same.",
)
@click.option(
    "--trial-seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed of these draws; larger K and T keep those of smaller ones.",
)
@click.option(
    "--noise-levels",
    default="0.03,0.1,0.3",
    show_default=True,
    metavar="E,F,…",
    help="For weight-noise and input-noise: the norm of the noise over that of what it is added "
    "to.",
)
@click.option(
    "--drop-transitions",
    is_flag=True,
    help="lesion-multi also drops blocks that change the shape.",
)
@click.option(
    "--training-samples",
    type=int,
    default=1000,
    show_default=True,
    metavar="N",
    help="Training images for the families that estimate BatchNorm's statistics anew.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@click.option("--overwrite", is_flag=True, help="Replace what was measured with other settings.")
@click.option("--estimate", "only_estimate", is_flag=True, help="Print time and memory and stop.")
@output_options
def collect(  # noqa: PLR0917  # click passes every option by name
    run: Path | None,
    checkpoint: str,
    run_code: bool,
    model: str | None,
    model_args: tuple[str, ...],
    weights: Path | None,
    data: str | None,
    data_dir: Path | None,
    normalize: tuple[str, str] | None,
    resize: str | None,
    output: str | None,
    out: Path | None,
    preset: str,
    quantities: tuple[str, ...],
    samples: int | None,
    sample_seed: int,
    sample_indices: str | None,
    levels: int,
    trials: int,
    trial_seed: int,
    noise_levels: str,
    drop_transitions: bool,
    training_samples: int,
    device: str,
    overwrite: bool,
    only_estimate: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure the checkpoint of RUN, or any residual network with --model, on labelled samples.

    Each family of quantities (norms, lesion, …) becomes one HDF5 file. What is there already
    with equal settings is kept.

    \b
    Example:
        resprobe collect r20
        resprobe collect r20 --checkpoint all --preset economy
        resprobe collect net --run-code
        resprobe collect r20 --quantity +multi_lesion_error --trials 20 --estimate
        resprobe collect --model net.py:resnet20 --weights resnet20.th \\
            --data cifar10 --data-dir data -o r20
        resprobe collect --model timm:resnet50 --weights w.safetensors \\
            --data photos/ --resize 224 -o r50.h5
        resprobe collect --model transformers:GPT2ForSequenceClassification \\
            --weights gpt2-news/ --data news.npz -o gpt2
    """
    from resprobe.collect import Samples, by_preset, chosen_families, left_alone
    from resprobe.quantities.trials import Trials

    if samples is not None and sample_indices is not None:
        raise InputError("--samples and --sample-indices exclude each other; give one of them.")
    families = chosen_families(preset, quantities)
    chosen = Samples(samples, sample_seed, _indices(sample_indices))
    leave = left_alone(families, quantities)
    noise = _numbers(noise_levels)
    drawn = Trials(levels, trials, trial_seed, drop_transitions, training_samples, noise)
    how: dict[str, Any] = {
        "samples": chosen,
        "trials": drawn,
        "optional": by_preset(families, quantities),
    }
    if model is not None:
        if run is not None or data is None:
            raise InputError(
                "--model needs --weights and --data and takes no RUN; see `resprobe collect -h`."
            )
        if checkpoint != "last" or run_code:
            option = "--run-code" if run_code else "--checkpoint"
            raise InputError(
                f"{option} belongs to a RUN; --model has its own weights and code: leave it out."
            )
        if out is None and not only_estimate:
            raise InputError("--model needs -o OUT: a file ending in .h5 or a run directory.")
        from resprobe.collect_model import ModelRequest, collect_model

        asked = data_request(data, data_dir, normalize, resize)
        request = ModelRequest(model, arguments(model_args), weights, asked, device, output)
        tell = partial(say, quiet=quiet)
        if only_estimate:
            from resprobe.collect import estimate

            source = request.source()
            for note in source.notes:
                tell(note)
            _print_estimates(estimate(source, families, **how), as_json)
            return
        assert out is not None
        with counting(quiet=quiet) as progress:
            done = collect_model(
                request,
                out,
                families,
                **how,
                overwrite=overwrite,
                leave=leave,
                progress=progress,
                tell=tell,
            )
        _print_collected(done, out, as_json, quiet)
        return
    if run is None:
        raise InputError("give a RUN directory, or --model, --weights and --data.")
    if out is not None:
        raise InputError("-o belongs to --model; what is collected of a RUN stays in it.")
    foreign = {
        "--model-arg": model_args,
        "--weights": weights,
        "--data": data,
        "--normalize": normalize,
        "--resize": resize,
        "--output": output,
    }
    for option, value in foreign.items():
        if value:
            raise InputError(
                f"{option} belongs to --model; a RUN has its own model, weights and data: leave "
                f"{option} out, or give --model instead of {run}."
            )
    if only_estimate:
        from resprobe.collect import estimate
        from resprobe.source import from_run

        source, _ = from_run(
            run, _which(checkpoint), data_dir=data_dir, device=device, run_code=run_code
        )
        _print_estimates(estimate(source, families, **how), as_json)
        return
    done = collect_of_run(
        run,
        checkpoint,
        families,
        **how,
        overwrite=overwrite,
        leave=leave,
        data_dir=data_dir,
        device=device,
        run_code=run_code,
        quiet=quiet,
    )
    _print_collected(done, run, as_json, quiet)


def collect_of_run(
    run: Path,
    checkpoint: str,
    families: dict[str, str],
    *,
    samples: Samples | None = None,
    trials: Trials | None = None,
    optional: Collection[str] = (),
    overwrite: bool = False,
    leave: Collection[str] = (),
    data_dir: Path | None = None,
    device: str = "auto",
    run_code: bool = False,
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
        source, step = from_run(run, which, data_dir=data_dir, device=device, run_code=run_code)
        folder = run / "collected" / checkpoints.stem(step)
        announced = f"measuring {run} at step {step} on {source.device}"
        with counting(quiet=quiet) as progress:
            outcomes += measure(
                source,
                folder,
                families,
                samples=samples,
                trials=trials,
                optional=optional,
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


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--noise-levels {text!r}: give numbers with commas, such as 0.03,0.1,0.3."
        ) from error


def _print_estimates(estimates: Sequence[Estimate], as_json: bool) -> None:
    lines = [
        f"{e.family} would be left out: {e.left_out}"
        if e.left_out
        else f"{e.family}: {e.samples} samples, about {e.seconds:.0f} s and {e.memory_mb:.0f} MB "
        "beside the model"
        for e in estimates
    ]
    emit(as_json, [vars(e) for e in estimates], "\n".join(lines))


def _line(item: Collected) -> str:
    if item.left_out:
        return f"{item.family} left out: {item.left_out}"
    count = f"{item.samples} samples" if item.samples else ""
    if item.kept:
        on = f", on {count}" if count else ""
        return f"{item.path}: {item.family} kept as it was measured before{on}"
    of = f" of {count}" if count else ""
    return f"{item.path}: {item.family}{of} in {item.seconds:.1f} s"


def _print_collected(done: Sequence[Collected], target: Path, as_json: bool, quiet: bool) -> None:
    lines = [_line(item) for item in done]
    lines.append(f"next: resprobe analyze {target}")
    emit(
        as_json,
        {"collected": [vars(item) for item in done], "next": f"resprobe analyze {target}"},
        "\n".join(lines),
    )
