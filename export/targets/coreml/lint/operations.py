"""Kinds of operations of the Neural Engine: appendix A of the ANE guide, in coremltools' names.

The guide measured the M1, M2 and M5, and takes the chips between them from the compiler.
"""

NO_PATH = frozenset(
    {
        *("scatter", "scatter_along_axis", "scatter_nd"),
        *("reduce_prod", "mod", "one_hot", "non_zero", "band_part", "reverse_sequence", "shape", "sliding_windows"),
        *("logical_and", "logical_or", "logical_xor"),
        *("tan", "asin", "acos", "atanh", "asinh", "acosh", "sinh", "cosh"),
        *("random_bernoulli", "random_categorical", "random_normal"),
        *("list_gather", "list_length", "list_read", "list_scatter", "list_write", "make_list"),
        *("cond", "while_loop", "range_1d", "non_maximum_suppression"),
    }
)
"""Rejected on every chip or, in the last line, never compiled by themselves."""

RECURRENT = frozenset({"gru", "lstm", "rnn"})
GATHER = frozenset({"gather", "gather_along_axis", "gather_nd"})
SORT = frozenset({"topk", "argsort"})
TRIGONOMETRIC = frozenset({"sin", "cos"})
SLICES = frozenset({"slice_update", "slice_by_index", "slice_by_size"})
STATE = frozenset({"read_state", "write_state"})
PRODUCTS = frozenset({"matmul", "einsum", "scaled_dot_product_attention"})

NATIVE = frozenset(
    {
        *("conv", "conv_transpose", "linear", *PRODUCTS, "avg_pool", "max_pool", "l2_pool"),
        *("batch_norm", "layer_norm", "instance_norm", "l2_norm", "local_response_norm"),
        *("abs", "add", "sub", "mul", "real_div", "floor_div", "pow", "square", "sqrt", "rsqrt", "inverse"),
        *("maximum", "minimum", "cumsum", "atan"),
        *("equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "logical_not", "select"),
        *("relu", "relu6", "leaky_relu", "prelu", "clamped_relu", "thresholded_relu", "threshold", "clip", "elu"),
        *("sigmoid", "sigmoid_hard", "tanh", "scaled_tanh", "gelu", "silu", "softmax", "softplus"),
        *("softplus_parametric", "softsign", "erf", "exp", "exp2", "log", "sign", "ceil", "floor", "round"),
        *("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_sum_square", "reduce_l1_norm"),
        *("reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp", "reduce_argmax", "reduce_argmin"),
        *("reshape", "reshape_like", "expand_dims", "squeeze", "flatten2d", "transpose", "concat", "split", "stack"),
        *("pad", "reverse", "tile", "crop", "identity", "fill", "fill_like", *SLICES),
        *("depth_to_space", "space_to_depth", "pixel_shuffle", "pixel_unshuffle", "space_to_batch", "batch_to_space"),
        *("resize", "resize_bilinear", "resize_nearest_neighbor", "upsample_bilinear", "upsample_nearest_neighbor"),
        *("crop_resize", "resample", "affine", "random_uniform"),
        *("cast", "quantize", "dequantize", *STATE),
    }
)
"""Compiled and run by themselves or, for slices at fixed places, as part of their readers."""

LISTED = NATIVE | NO_PATH | RECURRENT | GATHER | SORT | TRIGONOMETRIC
