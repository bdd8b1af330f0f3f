"""The command `convert`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from resprobe.cli.common import counting, emit, output_options
from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe_models.converted_run import Converted

# Of the entries that changed, those that are told one by one.
_TOLD = 8


@click.command()
@click.argument("run", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "--to",
    required=True,
    type=click.Choice(["plain", "residual"]),
    help="What the network is to become.",
)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option(
    "--checkpoint",
    default="last",
    show_default=True,
    metavar="last|best|all|STEP",
    help="Which checkpoint of the run.",
)
@click.option(
    "--counterpart",
    metavar="MODEL",
    help="The other network, FILE.py:FACTORY, with parameters of the same names and shapes; for "
    "networks that are not registered.",
)
@click.option(
    "--counterpart-arg",
    "counterpart_args",
    multiple=True,
    metavar="KEY=VALUE",
    help="Argument of its factory, such as depth=20; may be repeated.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="Compare the outputs on that many test samples.",
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the data set's files.")
@click.option(
    "--run-code",
    is_flag=True,
    help="Run the code that INPUT names, FILE.py:… or package.module:…; only if you trust it.",
)
@click.option("--overwrite", is_flag=True, help="Replace what an earlier conversion left there.")
@output_options
def convert(  # noqa: PLR0917  # click passes every option by name
    run: Path,
    to: Literal["plain", "residual"],
    out: Path,
    checkpoint: str,
    counterpart: str | None,
    counterpart_args: tuple[str, ...],
    samples: int,
    data_dir: Path | None,
    run_code: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Convert the run INPUT into one of the plain or residual network that computes the same.

    A block s + h·(A x + b) of one linear layer or convolution, whose skip is the identity or
    subsamples and adds zero channels, is a plain layer: h·A with 1 added at its ID entries, and
    h·b. The outputs of both networks are compared in float64 and in the run's dtype, that of its
    weights where it was trained under autocast; the certificate says by how much they differ, and
    what rounding allows.

    A network of your own needs --counterpart, which makes the other one; without it, --to plain
    writes the converted weights alone.

    \b
    Example:
        resprobe train simplified-resnet-20-digits -o s20
        resprobe convert s20 --to plain -o p20
        resprobe convert p20 --to residual -o s20-again
        resprobe collect --model net.py:residual --data photos/ -o net
        resprobe convert net --run-code --to plain --counterpart net.py:plain -o net-plain
    """
    from resprobe_models.conversion import Request
    from resprobe_models.converted_run import convert as run_conversion

    if counterpart is None and counterpart_args:
        raise InputError("--counterpart-arg belongs to --counterpart; give both or neither.")
    request = Request(
        run, to, counterpart, _arguments(counterpart_args), samples, data_dir, run_code
    )
    with counting(quiet=quiet) as progress:
        done = run_conversion(
            request, out, _which(checkpoint), overwrite=overwrite, progress=progress
        )
    following = _next(done, run)
    document = {
        "out": str(done.out),
        "unresumable": done.unresumable,
        "certificate": done.certificate,
        "next": following,
    }
    emit(as_json, document, "\n".join([*_sentences(done), f"next: {following}"]))


def _arguments(pairs: tuple[str, ...]) -> dict[str, Any]:
    from resprobe.cli.foreign import arguments

    try:
        return arguments(pairs)
    except InputError as error:
        raise InputError(str(error).replace("--model-arg", "--counterpart-arg")) from error


def _which(text: str) -> Any:
    if text in ("last", "best", "all"):
        return text
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"--checkpoint {text!r}: give last, best, all or the number of a step.")
    return int(text)


def _next(done: Converted, run: Path) -> str:
    from resprobe.run_recipe import read_run_recipe
    from resprobe.source import collect_command

    if done.is_run:
        return collect_command(done.out)
    data = shlex.quote(read_run_recipe(run)[1]["data"]["name"])
    weights = shlex.quote(f"{done.out}/converted.safetensors")
    return f"resprobe collect --model FILE.py:FACTORY --weights {weights} --data {data} -o RUN"


def _sentences(done: Converted) -> list[str]:
    found = done.certificate
    plain = found["to"] == "plain"
    layers = found["layers"]
    entries = sum(layer["id_entries"] for layer in layers)
    lines = [
        f"{done.out}: made {found['to']}, {len(layers)} layers, 1 "
        f"{'added to' if plain else 'taken off'} {entries:,} ID entries"
    ]
    if not done.is_run:
        lines += _changes(layers)
    lines += [_certified(row, found["samples"]) for row in found["checkpoints"]]
    if found["compared_otherwise"]:
        lines.append(found["compared_otherwise"])
    if done.unresumable:
        lines.append(f"it can be measured, but training can't be resumed: {done.unresumable}")
    return lines


def _changes(layers: list[dict[str, Any]]) -> list[str]:
    """Say for a person who builds the plain network which entries changed, layer by layer."""
    lines = []
    for layer in layers[:_TOLD]:
        h, names = layer["factor"], layer["weight"]
        if h != 1 and layer["bias"]:
            names = f"{names} and {layer['bias']}"
        times = f"{names} times {h:g}, then " if h != 1 else ""
        lines.append(
            f"  block {layer['block']}: {times}1 added to {layer['id_entries']} ID entries of "
            f"{layer['weight']}"
        )
    if len(layers) > _TOLD:
        lines.append(f"  and {len(layers) - _TOLD} more layers, listed in certificate.json")
    return lines


def _certified(row: dict[str, Any], samples: int) -> str:
    parts = [
        f"{one['largest_difference']:.2g} in {one['dtype']} (rounding allows {one['bound']:.2g})"
        for one in row["outputs"]
    ]
    text = (
        f"step {row['step']}: on {samples} test samples the outputs, up to "
        f"{row['outputs'][0]['scale']:.3g}, differ by at most {' and '.join(parts)}"
    )
    back = row["there_and_back"]
    if back is not None:
        text += (
            f"; there and back, the weights differ from those of {back['of']} by at most "
            f"{back['largest_difference']:.2g} (rounding allows {back['bound']:.2g})"
        )
    return text
