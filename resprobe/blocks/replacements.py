"""What stands for aten operations that torch.func can't take as they were recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from resprobe.errors import InputError

if TYPE_CHECKING:
    from resprobe.blocks.operations import Operation

aten = torch.ops.aten


def same(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Give the tensor itself, for what changes no number: also a detached tensor is a function."""
    return x


def reshaped(x: Tensor, size: Sequence[int]) -> Tensor:
    """Reshape also where the layout of a tangent would not allow the recorded view."""
    return x.reshape(tuple(size))


def cast(x: Tensor, *, dtype: Any = None, device: Any = None, **kwargs: Any) -> Tensor:
    """Convert the dtype, or move to another device."""
    return x.to(dtype=dtype or x.dtype, device=device or x.device)


def copied(shape: tuple[int, ...], dtype: torch.dtype, source: Tensor) -> Tensor:
    """Give what a tensor of this shape holds after `copy_(source)`."""
    return source.to(dtype).expand(shape)


def attention(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, causal: bool, scale: Any
) -> Tensor:
    """Attention written out, because its fused kernels can't be differentiated forwards.

    Args:
        query: `(…, head, token, feature)`.
        key: likewise; there may be fewer heads.
        value: like `key`.
        mask: added to the scores, or boolean: which to keep.
        causal: whether later tokens are left out.
        scale: of the scores; None for one over the root of the number of features.
    """
    if key.shape[-3] != query.shape[-3]:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * factor) @ key.transpose(-2, -1)
    if causal:
        keep = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~keep, -math.inf)
    if mask is not None:
        is_bool = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, -math.inf) if is_bool else scores + mask
    return scores.softmax(-1).to(value.dtype) @ value


def _flash(  # as aten has it
    q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0, causal: bool = False,
    *args: Any, attn_mask: Tensor | None = None, scale: float | None = None,
) -> Tensor:  # fmt: skip
    return attention(q, k, v, mask=attn_mask, causal=causal, scale=scale)


def _biased(places: tuple[int, int]) -> Callable[..., Tensor]:
    """Give attention for kernels whose fourth argument is the mask.

    Args:
        places: of `dropout_p` and `is_causal` among the arguments.
    """

    def run(
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *args: Any,
        is_causal: bool = False, scale: float | None = None, **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        place = places[1] - 4
        causal = args[place] if len(args) > place else is_causal
        return attention(q, k, v, mask=mask, causal=causal, scale=scale)

    return run


def _math(  # noqa: PLR0917  # as aten has it
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0,
    causal: bool = False, *args: Any, scale: float | None = None, **kwargs: Any,
) -> Tensor:  # fmt: skip
    return attention(q, k, v, mask=mask, causal=causal, scale=scale)


def rms_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None, eps: float | None) -> Tensor:
    """RMSNorm written out, because its fused kernel can't be differentiated forwards."""
    axes = tuple(range(-len(shape), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    normed = x * torch.rsqrt(x.square().mean(axes, keepdim=True) + eps)
    return normed if weight is None else normed * weight


def group_norm(  # noqa: PLR0917  # as aten has it
    x: Tensor, weight: Tensor | None, bias: Tensor | None, samples: int, channels: int,
    places: int, groups: int, eps: float,
) -> Tensor:  # fmt: skip
    """GroupNorm written out: torch's rules for tangents can't view them in channels_last."""
    apart = x.reshape(samples, groups, channels // groups * places)
    centred = apart - apart.mean(2, keepdim=True)
    normed = centred * torch.rsqrt(centred.square().mean(2, keepdim=True) + eps)
    normed = normed.reshape(x.shape)
    shape = (1, -1, *[1] * (x.dim() - 2))
    if weight is not None:
        normed = normed * weight.reshape(shape)
    return normed if bias is None else normed + bias.reshape(shape)


def batch_norm(  # noqa: PLR0917  # as aten has it
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None,
    variance: Tensor | None, training: bool, momentum: float, eps: float, *args: Any,
) -> Tensor:  # fmt: skip
    """BatchNorm as it ran; its buffers are read, never written."""
    if training or mean is None:
        mean = variance = None
        training = True
    given = (weight, bias, mean, variance, training, momentum, eps)
    result: Tensor = aten.native_batch_norm.default(x, *given)[0]
    return result


def batch_norm_alone(  # noqa: PLR0917  # as aten has it
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None,
    variance: Tensor | None, training: bool, momentum: float, eps: float, *args: Any,
) -> Tensor:  # fmt: skip
    """BatchNorm on the statistics of each sample alone, as in training on a batch of one."""
    axes = tuple(range(2, x.dim()))
    if math.prod(x.shape[2:]) < 2:
        raise InputError(
            "a BatchNorm sees one value of each channel in a batch of one sample, which has no "
            "variance; measure with its running statistics."
        )
    centred = x - x.mean(axes, keepdim=True)
    normed = centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps)
    shape = (1, -1, *[1] * len(axes))
    if weight is not None:
        normed = normed * weight.reshape(shape)
    return normed if bias is None else normed + bias.reshape(shape)


def _rrelu(
    x: Tensor, noise: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, *args: Any
) -> Tensor:
    return torch.nn.functional.leaky_relu(x, (lower + upper) / 2)


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    """GLU written out, because torch has no rule to take many tangents through it at once."""
    value, gate = x.chunk(2, dim)
    return value * gate.sigmoid()


BATCH_NORMS = ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm")

# By the name of the operation; all give the first result alone.
REPLACEMENTS: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(("detach", "alias", "lift_fresh", "clone", "contiguous"), same),
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), reshaped),
    "_reshape_alias": lambda x, size, stride: reshaped(x, size),
    "_to_copy": cast,
    "glu": _glu,
    "native_dropout": same,
    "rrelu_with_noise": _rrelu,
    "_fused_rms_norm": rms_norm,
    "native_group_norm": group_norm,
    "_scaled_dot_product_flash_attention_for_cpu": _flash,
    "_scaled_dot_product_flash_attention": _flash,
    "_scaled_dot_product_efficient_attention": _biased((5, 6)),
    "_scaled_dot_product_cudnn_attention": _biased((5, 6)),
    "_scaled_dot_product_fused_attention_overrideable": _biased((4, 5)),
    "_scaled_dot_product_attention_math": _math,
    **dict.fromkeys(BATCH_NORMS, batch_norm),
}


def _with_log_sums(operation: Any) -> Callable[..., Tensor]:
    """Give a kernel of attention that also keeps what its gradient needs; recorded it did not."""

    def run(  # as aten has it
        q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, log_sums: bool, *args: Any, **kw: Any
    ) -> Tensor:  # fmt: skip
        result: Tensor = operation.default(q, k, v, mask, True, *args, **kw)[0]
        return result

    return run


# Where only gradients are wanted, kernels run as they were recorded, to the bit.
GRADIENT_REPLACEMENTS: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(("detach", "alias", "lift_fresh"), same),
    **{
        name: REPLACEMENTS[name]
        for name in (
            "view",
            "_unsafe_view",
            "reshape",
            "_reshape_alias",
            "native_dropout",
            "rrelu_with_noise",
            *BATCH_NORMS,
        )
    },
    **{
        name: _with_log_sums(getattr(aten, name))
        for name in (
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
        )
    },
}

# Where the chance of dropping stands in attention, and whether it trains in the others.
_CHANCES = {
    "_scaled_dot_product_flash_attention_for_cpu": 3,
    "_scaled_dot_product_flash_attention": 3,
    "_scaled_dot_product_efficient_attention": 5,
    "_scaled_dot_product_cudnn_attention": 5,
    "_scaled_dot_product_fused_attention_overrideable": 4,
    "_scaled_dot_product_attention_math": 4,
    "native_dropout": 2,
    "rrelu_with_noise": 4,
}
_CALLED = {"native_dropout": "dropout", "bernoulli": "dropout", "rrelu_with_noise": "RReLU"}


def refuse_random(op: Operation, name: str) -> None:
    """Raise if an operation draws random numbers, or leaves some out by chance.

    Raises:
        InputError: naming what and where.
    """
    drawn = torch.Tag.nondeterministic_seeded in getattr(op.function, "tags", ())
    if name in _CHANCES:
        place = _CHANCES[name]
        given = op.args[place] if len(op.args) > place else op.kwargs.get("dropout_p", 0)
        drawn = bool(given)
    if drawn:
        where = f"at layer {op.module}" if op.module else "in the function itself"
        raise InputError(
            f"{_CALLED.get(name, name)} {where} draws random numbers, so there is no one "
            "function to differentiate; measure in evaluation mode."
        )
