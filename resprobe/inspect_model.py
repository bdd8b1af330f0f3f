"""The residual blocks of any network, found on one sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resprobe.data_request import DataRequest, load_data_set
from resprobe.errors import InputError, UnknownNameError
from resprobe.example import DTYPES, example_inputs, run_bare
from resprobe.network import network

if TYPE_CHECKING:
    from torch import Tensor, nn

    from resprobe.blocks.block import Blocks


@dataclass(frozen=True)
class InspectRequest:
    """A network and what it is given to find its blocks.

    Attributes:
        model: see `resprobe.network`.
        arguments: of its factory.
        weights: a file or a transformers folder; None leaves the network as its factory gave it.
        shape: of one sample of zeros; None for the usual one.
        dtype: of that sample; None for the usual one.
        data: its first sample is taken instead.
    """

    model: str
    arguments: Mapping[str, Any]
    weights: Path | None = None
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    data: DataRequest | None = None


def inspect_model(request: InspectRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Find the blocks of a network.

    Returns:
        The model's name, number of parameters, blocks and refused additions, for JSON; and what a
        person should know of the model.

    Raises:
        InputError: the model can't be made, weights or data don't fit, or it does not take the
            sample.
    """
    from resprobe.source import dtype_of
    from resprobe.weights import load

    if request.dtype is not None and request.dtype not in DTYPES:
        raise UnknownNameError("--input-dtype", request.dtype, DTYPES)
    if request.data is not None and (request.shape or request.dtype):
        raise InputError(
            "--data has samples of its own: leave --input-shape and --input-dtype out."
        )
    made = network(request.model, request.arguments, request.weights)
    model = made.model.to(dtype_of(made.model)).eval()
    if request.weights is not None:
        load(request.weights, model)
    args, kwargs = _sample(request, model)
    _run(request, model, args, kwargs)
    blocks, folded = _blocks(model, args, kwargs)
    document = {
        "model": request.model,
        "parameters": sum(p.numel() for p in model.parameters()),
        "plain": blocks.plain,
        "blocks": [
            {
                "block": b.name,
                "stage": b.stage,
                "index": b.index,
                "skip": b.skip,
                "activation": b.activation,
                "scale": b.scale,
                "elements": b.elements,
                "input_shape": list(b.input_shape),
                "output_shape": list(b.output_shape),
            }
            for b in blocks
        ],
        "refused": [{"addition": r.addition, "reason": r.reason} for r in blocks.refused],
    }
    return document, (*made.notes, *folded)


def _blocks(
    model: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
) -> tuple[Blocks, tuple[str, ...]]:
    """Find the blocks, with the sample repeated to see where samples lie; give notes as well."""
    import torch

    from resprobe.blocks.discover import blocks_of_samples, find_blocks
    from resprobe.blocks.structure import rebuild

    # Thrice, because one sample alone may take another way than two.
    thrice = rebuild((args, kwargs), lambda tensor: torch.cat([tensor] * 3))
    try:
        return blocks_of_samples(model, *thrice), ()
    except InputError as error:
        return find_blocks(model, *args, **kwargs), (f"it can't be collected: {error}",)
    except Exception:
        return find_blocks(model, *args, **kwargs), ()  # takes one sample at a time


def _sample(
    request: InspectRequest, model: nn.Module
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    if request.data is None:
        return example_inputs(model, request.shape, request.dtype)
    import numpy as np
    import torch

    from resprobe.source import Source, dtype_of

    data = load_data_set(request.data)
    first = data.images.take(np.arange(1))
    source = Source(
        model, first, data.mean, data.std, torch.device("cpu"), dtype_of(model), weights=""
    )
    args, kwargs, _ = source.inputs(0, 1, np.arange(1))
    return args, kwargs


def _run(
    request: InspectRequest, model: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
) -> None:
    try:
        run_bare(model, args, kwargs)
    except InputError as error:
        if request.data is not None:
            raise
        raise InputError(
            f"{error} Say it with --input-shape and --input-dtype, or give --data."
        ) from error
