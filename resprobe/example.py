"""What a network is given to see whether it runs: one input of a shape, and a bare forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resprobe.errors import InputError
from resprobe.reference import quoted

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_IMAGE = (3, 32, 32)
_TOKENS = (16,)
DTYPES = ("float32", "float64", "int64")


def example_inputs(
    model: nn.Module, shape: tuple[int, ...] | None, dtype: str | None
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Give one sample of zeros, as positional and keyword arguments.

    Args:
        model: says whether it takes `input_ids`, and `decoder_input_ids` with them.
        shape: of one sample; None takes 16 tokens for a model that takes `input_ids`, else an
            image of 3×32×32.
        dtype: one of `DTYPES`; None takes ids for such a model, else that of its parameters.
    """
    import torch

    taken = inspect.signature(model.forward).parameters
    tokens = shape is None and "input_ids" in taken
    kind = torch.int64 if dtype is None and tokens else _dtype(model, dtype)
    sample = torch.zeros(1, *(shape or (_TOKENS if tokens else _IMAGE)), dtype=kind)
    if not tokens:
        return (sample,), {}
    config: Any = getattr(model, "config", None)
    both = "decoder_input_ids" in taken and getattr(config, "is_encoder_decoder", False)
    return (), {"input_ids": sample, **({"decoder_input_ids": sample} if both else {})}


def run_bare(model: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]) -> Any:
    """Run a network without any instrument; buffers and random state are put back.

    Raises:
        InputError: it does not take these inputs; its own error is quoted.
    """
    import torch

    from resprobe.blocks.discover import unchanged

    try:
        with torch.no_grad(), unchanged(model):
            return model(*args, **kwargs)
    except InputError:
        raise
    except Exception as error:  # whatever a network raises is about its inputs
        named = [("", tensor) for tensor in args] + [(f"{k} = ", t) for k, t in kwargs.items()]
        inputs = ", ".join(
            f"{name}{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            for name, tensor in named
        )
        raise InputError(
            f"the model does not take {inputs} ({quoted(error)}); give inputs of the shape and "
            "type that it was made for."
        ) from error


def _dtype(model: nn.Module, name: str | None) -> torch.dtype:
    import torch

    if name is not None:
        kind: torch.dtype = getattr(torch, name)
        return kind
    return next((p.dtype for p in model.parameters()), torch.float32)
