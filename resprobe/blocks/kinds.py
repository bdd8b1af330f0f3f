"""What aten operations are to the search for blocks: additions, short steps, norms, activations."""

from __future__ import annotations

from typing import Any

import torch

aten = torch.ops.aten


def _overloads(*names: str) -> frozenset[Any]:
    """Give all overloads of the named operations that this version of torch has."""
    packets = [getattr(aten, name) for name in names if hasattr(aten, name)]
    return frozenset(getattr(packet, name) for packet in packets for name in packet.overloads())


# Additions of two tensors, with the sign of the second operand (of the first, for rsub).
SUMS = _overloads("add", "add_")
DIFFERENCES = _overloads("sub", "sub_")
REVERSED_DIFFERENCES = _overloads("rsub")
STACKED_SUM = aten.sum.dim_IntList
ADDITIONS = SUMS | DIFFERENCES | REVERSED_DIFFERENCES | {STACKED_SUM}

# Additions that are fused with a product.
FUSED_SUMS = _overloads(
    "addcmul",
    "addcmul_",
    "addcdiv",
    "addcdiv_",
    "lerp",
    "lerp_",
    "addmm",
    "addmm_",
    "baddbmm",
    "baddbmm_",
    "addbmm",
    "addmv",
    "index_add",
    "index_add_",
    "scatter_add",
    "scatter_add_",
)
CONCATENATION = aten.cat.default
STACK = aten.stack.default

PRODUCTS = _overloads("mul", "mul_")
QUOTIENTS = _overloads("div", "div_")

# What a gain, a bias or a threshold does: every number stays in its place.
ELEMENTWISE = (
    SUMS
    | DIFFERENCES
    | REVERSED_DIFFERENCES
    | PRODUCTS
    | QUOTIENTS
    | _overloads("maximum", "minimum", "pow")
)

CHANNEL_NORMS = _overloads(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "_batch_norm_with_update",
    "_batch_norm_no_update",
    "native_group_norm",
)
NORMS = CHANNEL_NORMS | _overloads("native_layer_norm", "_fused_rms_norm", "rms_norm")

ACTIVATIONS = _overloads(
    "relu",
    "relu_",
    "relu6",
    "leaky_relu",
    "leaky_relu_",
    "prelu",
    "_prelu_kernel",
    "rrelu",
    "gelu",
    "gelu_",
    "silu",
    "silu_",
    "mish",
    "mish_",
    "elu",
    "elu_",
    "selu",
    "selu_",
    "celu",
    "celu_",
    "softplus",
    "hardtanh",
    "hardtanh_",
    "hardswish",
    "hardswish_",
    "hardsigmoid",
    "hardsigmoid_",
    "tanh",
    "tanh_",
    "sigmoid",
    "sigmoid_",
    "clamp",
    "clamp_",
    "clamp_min",
    "clamp_min_",
)

CONVOLUTION = aten.convolution.default
MATRIX_PRODUCTS = _overloads("mm", "addmm", "bmm", "baddbmm")

# Rearrangements that keep every number and their order.
RESHAPES = _overloads(
    "alias",
    "clone",
    "contiguous",
    "detach",
    "view",
    "_unsafe_view",
    "_reshape_alias",
    "reshape",
    "squeeze",
    "unsqueeze",
    "flatten",
    "_to_copy",
    "lift_fresh",
)
# Rearrangements that keep every number.
VIEWS = RESHAPES | _overloads("permute", "transpose", "t", "expand", "roll")
# Steps that keep a part of a tensor along one dimension, given as second or third argument.
PARTS = _overloads("slice", "split", "split_with_sizes", "chunk")
_POOLS = _overloads(
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
    "amax",
    "max",
    "mean",
)
_PADS = _overloads("constant_pad_nd", "cat", "reflection_pad2d", "replication_pad2d", "copy")

# What makes new features of the features.
MIXERS = NORMS | MATRIX_PRODUCTS | _POOLS | {CONVOLUTION}

# The steps that a skip may take, with the kind that each makes of it.
STEPS: dict[Any, str] = {
    **dict.fromkeys(VIEWS, "identity"),
    **dict.fromkeys(PARTS | _POOLS, "pooled"),
    **dict.fromkeys(_PADS, "padded"),
    **dict.fromkeys(PRODUCTS | QUOTIENTS | NORMS | SUMS | DIFFERENCES, "scaled"),
    CONVOLUTION: "projection",
    **dict.fromkeys(MATRIX_PRODUCTS, "projection"),
}
# What a skip is called: by the first of these among its steps.
SKIP_KINDS = ("projection", "padded", "pooled", "scaled", "identity")

# What makes its output finer in space than its input.
UPSAMPLING = _overloads(
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "_upsample_nearest_exact3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "_upsample_bilinear2d_aa",
    "upsample_bicubic2d",
    "_upsample_bicubic2d_aa",
    "upsample_trilinear3d",
    "grid_sampler_2d",
    "grid_sampler_3d",
    "pixel_shuffle",
    "max_unpool2d",
    "max_unpool3d",
    "col2im",
)

# Operations that are linear in the features, given the weights; all others are not.
LINEAR = frozenset(
    {
        *VIEWS,
        *PARTS,
        *_PADS,
        *SUMS,
        *DIFFERENCES,
        *REVERSED_DIFFERENCES,
        *MATRIX_PRODUCTS,
        CONVOLUTION,
        *_overloads(
            "avg_pool1d",
            "avg_pool2d",
            "avg_pool3d",
            "mean",
            "sum",
            "stack",
            "neg",
            "mv",
            "dot",
            "index",
            "index_select",
            "index_add",
            "index_add_",
            "gather",
            "scatter",
            "scatter_",
            "scatter_add",
            "scatter_add_",
            "select",
            "zero_",
        ),
    }
)

# What leaves features recognisable: moved, cut, padded, shifted or rescaled.
REARRANGEMENTS = VIEWS | PARTS | _PADS | SUMS | DIFFERENCES | PRODUCTS

# Operations that take a shape from a tensor and no number.
SHAPE_ONLY = _overloads(
    "zeros_like",
    "ones_like",
    "full_like",
    "empty_like",
    "rand_like",
    "randn_like",
    "new_zeros",
    "new_ones",
    "new_full",
    "new_empty",
    "new_empty_strided",
)
