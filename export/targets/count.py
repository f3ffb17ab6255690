"""What the planner counts for a target: how it stores a model, and which weights it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


def _none(_context: int) -> tuple[int, ...]:
    return ()


@dataclass(frozen=True)
class Count:
    """A target's storage of a model, by which the planner counts bytes.

    ``is_half``: floats have 16 bits with every recipe; ``plain`` is their format where it has a name of its own.
    ``step``: cached rows are padded to multiples of this many numbers; ``row_bytes``: one buffer holds all rows of a
    token, padded to multiples of this many bytes. ``rotations``: copies of a position's rotation per number of a head.

    ``scales`` are the formats of the scales of rows and of groups ("": the floats' own), ``table_scales`` that of the
    embedding table, whose rows without groups are cut into blocks of ``table_block`` (None: not cut), as those of a
    tied head are into ``head_block``, and all others of the decoder into ``row_block``. ``ties``: cases in which a tied
    table is read from the head. ``fixed``: a chunk is computed whole, with a full cache, or with the smallest of
    ``firsts`` (by context) that reaches far enough. ``two_forms``: weights of scheme exact8 are stored as bytes, too.
    """

    is_half: bool = False
    plain: str = ""
    step: int = 8
    row_bytes: int = 1
    rotations: int = 0
    scales: tuple[str, str] = ("", "")
    table_scales: str = ""
    table_block: int | None = 128
    head_block: int | None = None
    row_block: int | None = None
    ties: Literal["always", "float", "never"] = "never"
    fixed: bool = False
    firsts: Callable[[int], tuple[int, ...]] = _none
    two_forms: bool = False


@dataclass(frozen=True)
class Variant:
    """Weights that a target takes, and the export command's other arguments; ``compute``, if not the usual.

    ``count`` is the storage where it differs from the target's own.
    """

    weights: str
    arguments: str = ""
    caches: tuple[Literal["float", "int8"], ...] = ("float",)
    compute: Literal["auto", "gpu", "npu"] = "auto"
    count: Count | None = None
