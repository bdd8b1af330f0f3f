"""Names of aten operations by what they are to `linearise`."""

from __future__ import annotations

# Linear, and every coefficient is 0 or positive; numbers that they add count as zero.
REARRANGEMENTS = frozenset(
    (
        "view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t",
        "squeeze", "unsqueeze", "expand", "flatten", "slice", "select", "split",
        "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk", "unbind",
        "narrow", "diagonal", "unfold", "views", "write_back", "copy", "_to_copy",
        "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
        "replication_pad1d", "replication_pad2d", "replication_pad3d", "cat", "stack",
        "flip", "roll", "rot90", "repeat", "avg_pool1d", "avg_pool2d", "avg_pool3d",
        "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "mean", "sum", "cumsum",
        "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
        "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
        "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d",
        "upsample_trilinear3d", "index", "index_select", "gather", "im2col", "col2im",
        "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
        "tril", "triu", "max_unpool2d", "max_unpool3d", "slice_scatter", "select_scatter",
    )
)  # fmt: skip

# Pointwise, though torch does not say so of them.
POINTWISE = frozenset(
    (
        "rsub", "masked_fill", "prelu", "_prelu_kernel", "where", "hardswish",
        "rrelu_with_noise", "log_sigmoid_forward",
    )
)  # fmt: skip

# In a user's words; anything else is named by its operation.
WORDS = {
    "mm": "matrix product",
    "addmm": "linear layer",
    "bmm": "matrix product",
    "baddbmm": "matrix product",
    "_softmax": "softmax",
    "_log_softmax": "log-softmax",
    "native_layer_norm": "LayerNorm",
    "native_group_norm": "GroupNorm",
    "_fused_rms_norm": "RMSNorm",
    "batch_norm_alone": "BatchNorm on the statistics of each sample",
    "native_batch_norm": "BatchNorm on the statistics of the batch",
}
