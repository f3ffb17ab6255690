"""Number formats of files, and rules for documents."""

from typing import Literal

Float = Literal["float32", "float16"]


Kept = Literal["float32", "float16", "int16"]


Number = Literal["float32", "float16", "int16", "int64", "int32", "int8", "uint8"]


BYTES = {"float32": 4, "float16": 2, "int16": 2, "int64": 8, "int32": 4, "int8": 1, "uint8": 1}


def check_rules(**rules: bool) -> None:
    """Raises a ValueError that names the first rule that does not hold."""
    for name, holds in rules.items():
        if not holds:
            raise ValueError(f"{name} is impossible")


MOST_CONTEXT, MOST_TOKENS = 2**20, 2**20
"""Limits beyond any model here: context of a cache, and tokens of one picture."""
