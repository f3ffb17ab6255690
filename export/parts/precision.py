"""Number formats of floats as torch has them."""

import torch

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
"""By the names that ``--weights`` takes."""
