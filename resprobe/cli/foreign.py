"""The options by which commands take networks and data that were not trained here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe.data_request import DataRequest

F = TypeVar("F", bound=Callable[..., Any])

FORMS = (
    "a registered name (resprobe list models), timm:NAME, torchvision:NAME, transformers:CLASS, "
    "package.module:FACTORY or FILE.py:FACTORY"
)


def model_options(function: F) -> F:
    """Add --model-arg and --weights."""
    function = click.option(
        "--weights",
        type=click.Path(path_type=Path),
        help="Weights: .safetensors, a torch checkpoint of tensors, or a transformers folder. "
        "Without it a network of your own, or of a library, is measured as its factory gives it.",
    )(function)
    return click.option(
        "--model-arg",
        "model_args",
        multiple=True,
        metavar="KEY=VALUE",
        help="Argument of the model's factory, such as depth=20; may be repeated. For transformers "
        "config=FOLDER or keys of the configuration, such as hidden_size=64.",
    )(function)


def data_options(function: F) -> F:
    """Add --data, --data-dir, --normalize and --resize."""
    function = click.option(
        "--resize",
        metavar="N|H,W",
        help="Resize images, bilinear with antialiasing: the shorter side to N, keeping the N×N in "
        "the middle, such as 224; or to H,W exactly, such as 224,224.",
    )(function)
    function = click.option(
        "--normalize",
        nargs=2,
        metavar="MEAN STD",
        help="Of each channel, on the scale 0 to 1, such as 0.485,0.456,0.406 0.229,0.224,0.225. "
        "Default: those of the data's training split; without one, float inputs are taken as they "
        "are and uint8 images by their own.",
    )(function)
    function = click.option(
        "--data-dir", type=click.Path(path_type=Path), help="Folder of the data set's files."
    )(function)
    return click.option(
        "--data",
        help="A registered data set (resprobe list datasets); a folder of images by class, or with "
        "test/ (or val/) and train/ of that; an .npz, .h5 or .safetensors with x, y and perhaps "
        "further inputs by name; or FILE.py:LOADER, which returns x and y.",
    )(function)


def data_request(
    name: str,
    folder: Path | None,
    normalize: tuple[str, str] | None,
    resize: str | None,
) -> DataRequest:
    """Read the options of `data_options`."""
    from resprobe.data_request import DataRequest, normalize_of, resize_of

    return DataRequest(name, folder, normalize_of(normalize), resize_of(resize))


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
        except (ValueError, RecursionError):
            found[key] = text
    return found
