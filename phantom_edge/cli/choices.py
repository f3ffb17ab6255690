"""Choices and words of the help that several commands share."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CHECKPOINT = "Checkpoint folder, hub id, or nano: the model inside this package."
ANY_MODEL = f"Bundle, {CHECKPOINT[0].lower()}{CHECKPOINT[1:]}"
BUNDLE = "Folder that phantom-edge export wrote."


class Dtype(StrEnum):
    """Number formats of weights."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


def torch_dtype(dtype: Dtype) -> "torch.dtype":
    """Returns torch's type for ``dtype``."""
    import torch

    return {Dtype.fp32: torch.float32, Dtype.fp16: torch.float16, Dtype.bf16: torch.bfloat16}[dtype]
