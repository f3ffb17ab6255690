"""Operators that makers' compilers for NPUs take, by the lists in the published sources of their LiteRT plugins.

A list says what a plugin hands to its compiler, not that the compiler takes every shape and number format of it.
Qualcomm's plugin has no list: it asks the compiler about each operator, and ``compile.py`` prints the answer.
"""

from dataclasses import dataclass

from phantom_edge.export.lint.sources import GITHUB, Source
from phantom_edge.export.targets.litert.chips import GOOGLE, MEDIATEK, SAMSUNG, Maker

VENDORS = f"{GITHUB}/google-ai-edge/LiteRT/blob"


@dataclass(frozen=True)
class OperatorList:
    """Kinds of operators that a plugin takes, or, where ``is_taken`` is false, those that it leaves out."""

    maker: Maker
    kinds: frozenset[str]
    source: Source
    is_taken: bool = True

    def takes(self, kind: str) -> bool:
        """True where the plugin hands an operator to the compiler."""
        return (kind in self.kinds) == self.is_taken


def _kinds(text: str) -> frozenset[str]:
    return frozenset(text.split())


LISTS = (
    OperatorList(
        MEDIATEK,
        _kinds(
            "ADD MUL BATCH_MATMUL FULLY_CONNECTED RESHAPE TRANSPOSE RSQRT CONCATENATION QUANTIZE SLICE "
            "STRIDED_SLICE SPLIT SUB TANH SOFTMAX MEAN GELU PAD LOGISTIC SUM CONV_2D DEPTHWISE_CONV_2D "
            "SQUARED_DIFFERENCE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR TRANSPOSE_CONV MAX_POOL_2D DEQUANTIZE "
            "PADV2 HARD_SWISH AVERAGE_POOL_2D REDUCE_MAX SQRT DIV CAST PRELU LEAKY_RELU MAXIMUM RELU ABS "
            "GREATER MINIMUM TILE UNPACK STABLEHLO_COMPOSITE L2_NORMALIZATION"
        ),
        Source(
            "LiteRT, MediaTek's plugin: kSupportedOps",
            f"{VENDORS}/07d751eb0ab1d165ee0838d613d2f66d80c0b7ad/litert/vendors/mediatek/compiler/compiler_plugin.cc",
        ),
    ),
    OperatorList(
        GOOGLE,
        _kinds(
            "ASSIGN_VARIABLE BIDIRECTIONAL_SEQUENCE_LSTM BROADCAST_ARGS BUCKETIZE CALL_ONCE COMPLEX_ABS "
            "CONV_3D CONV_3D_TRANSPOSE DENSIFY FAKE_QUANT HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT "
            "HASHTABLE_SIZE IMAG LOCAL_RESPONSE_NORMALIZATION MATRIX_DIAG MATRIX_SET_DIAG MULTINOMIAL "
            "NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 RANDOM_STANDARD_NORMAL RANDOM_UNIFORM RANK "
            "READ_VARIABLE REAL REDUCE_PROD REVERSE_SEQUENCE RFFT2D SEGMENT_SUM SHAPE SPARSE_TO_DENSE SVDF "
            "UNIDIRECTIONAL_SEQUENCE_RNN UNIQUE UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN "
            "UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_SUM VAR_HANDLE WHERE CUSTOM"
        ),
        Source(
            "LiteRT, Google's plugin: kUnSupportedOps",
            f"{VENDORS}/067f39fdc4b99d65bff7ec64b9f9b79e1cc4b4ab/litert/vendors/google_tensor/compiler/"
            "compiler_plugin.cc",
        ),
        is_taken=False,
    ),
    OperatorList(
        SAMSUNG,
        _kinds(
            "ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION CONV_2D COS CUMSUM "
            "DEPTHWISE_CONV_2D DIV EQUAL EXP FLOOR FLOOR_DIV FULLY_CONNECTED GATHER GATHER_ND GELU GREATER "
            "GREATER_EQUAL HARD_SWISH LOGISTIC MAXIMUM MINIMUM MIRROR_PAD MAX_POOL_2D MEAN MUL PAD PADV2 RELU "
            "RESHAPE REDUCE_MAX REDUCE_MIN RESIZE_BILINEAR RSQRT SELECT SELECT_V2 SIN SLICE SOFTMAX "
            "SPACE_TO_DEPTH SPLIT SQRT SQUARED_DIFFERENCE SUB SUM STRIDED_SLICE TRANSPOSE TRANSPOSE_CONV"
        ),
        Source(
            "LiteRT, Samsung's plugin: operators with a builder",
            f"{VENDORS}/08d678de15d6f0e21d700d2cbecc3f6f5eb2d329/litert/vendors/samsung/compiler/create_model.cc",
        ),
    ),
)
"""Lists of makers who publish one. Samsung's GELU has its builder in a later commit than the list's."""
