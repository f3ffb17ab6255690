"""Float formats as torch dtypes."""

import torch

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
"""Dtypes by the values of ``--weights``."""
