"""A part of a bundle: a graph, its files, inputs and outputs."""

import re
from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.numbers import Number, check_rules


@dataclass(frozen=True)
class File:
    """A file of the bundle: size in bytes and SHA-256."""

    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.bytes < 0 or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 or bytes is impossible")


@dataclass(frozen=True)
class Port:
    """An input or output of a part. A dimension is a number, or a name where it may differ from run to run."""

    name: str
    shape: tuple[int | str, ...]
    dtype: Number


@dataclass(frozen=True)
class Delegation:
    """Operators of a part in delegates of ``backend``: their number and that of subgraphs, and the others by name.

    ``multiply_adds`` counts those of all operators, for one token with a full cache, or one tile.
    """

    backend: str
    subgraphs: int
    delegated: int
    outside: dict[str, int]
    multiply_adds: int
    multiply_adds_outside: dict[str, int]

    def __post_init__(self) -> None:
        check_rules(
            subgraphs=0 <= self.subgraphs <= self.delegated,
            outside=all(count > 0 for count in (*self.outside.values(), *self.multiply_adds_outside.values())),
            multiply_adds=0 <= sum(self.multiply_adds_outside.values()) <= self.multiply_adds,
        )

    @property
    def share(self) -> float:
        """Share of the operators in delegates."""
        return self.delegated / max(self.delegated + sum(self.outside.values()), 1)

    @property
    def share_of_work(self) -> float:
        """Share of the multiply-adds in delegates; 1 where there are none."""
        if not self.multiply_adds:
            return 1.0
        return 1 - sum(self.multiply_adds_outside.values()) / self.multiply_adds


@dataclass(frozen=True)
class Part:
    """A graph: its file, the files of its weights, its inputs and outputs.

    ``operators`` counts its nodes by kind, ``weight_bytes`` its weights by number format, without those that it shares
    with an earlier part. ``function`` is its name where the file holds several; ``states`` persist from one run to the
    next, and are shared with other functions of the file. ``delegation`` is for targets with delegates. ``source`` is
    the graph of a compiled file.
    """

    file: str
    weights: tuple[str, ...]
    precision: Literal["fp32", "fp16", "int16"]
    operators: dict[str, int]
    weight_bytes: dict[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    function: str = ""
    states: tuple[Port, ...] = ()
    delegation: Delegation | None = None
    source: str = ""
