"""A part of a bundle: a graph, its files, inputs and outputs."""

import re
from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.numbers import Number, check_rules


@dataclass(frozen=True)
class File:
    """A file of the bundle."""

    bytes: int
    """Size in bytes."""
    sha256: str
    """SHA-256 of its bytes, in hexadecimal."""

    def __post_init__(self) -> None:
        if self.bytes < 0 or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 or bytes is impossible")


@dataclass(frozen=True)
class Port:
    """An input, output or state of a part."""

    name: str
    """Name in the graph. ``pixel_values``: a normalized tile; ``pixels``: a tile in 8 bits, which the graph normalizes.
    ``image_tokens``: its image tokens. ``ids``: token ids. ``inputs_embeds``, ``embeddings``: rows of embeddings.
    ``position_ids``, ``input_pos``, ``start_pos``, ``start``: positions, see ``cache.positions``. ``cosines``,
    ``sines``: rows of rotations. ``mask``: numbers added to scores. ``logits_to_keep``: places, counted from the first
    row fed, of the R rows whose logits are computed. ``past_*``, ``new_*``: the cache, and the rows to append;
    ``kv_cache_*``: the cache, written in place; ``kv_slice_*``: its new rows; ``mask_global``, ``pos_emb_cos``,
    ``pos_emb_sin``, ``time_step``, ``input_tokens``: mask and rotations for NPUs, and what they are computed from.
    ``hidden``: hidden states for the head, or for a draft; ``drafts``: the ids that may follow. ``logits``, or in
    pieces to be joined ``logits_0``, ``logits_1`` ...: logits over the vocabulary."""
    shape: tuple[int | str, ...]
    """Dimensions; a name stands for one that differs from run to run: N or tokens rows fed, P rows cached (one more for
    the blank row of ``cache.together``), R logits kept."""
    dtype: Number
    """Number format."""


@dataclass(frozen=True)
class Delegation:
    """Operators of a part in delegates of a backend."""

    backend: str
    """Name of the backend."""
    subgraphs: int
    """Number of delegates."""
    delegated: int
    """Number of operators inside delegates."""
    outside: dict[str, int]
    """Number of operators outside of delegates, by kind."""
    multiply_adds: int
    """Multiply-adds of all operators, for one token with a full cache, or one tile."""
    multiply_adds_outside: dict[str, int]
    """Multiply-adds outside of delegates, by kind of operator."""

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
    """A graph: its file, the files of its weights, its inputs and outputs."""

    file: str
    """File or folder of the graph."""
    weights: tuple[str, ...]
    """Files of its weights, which the graph names itself; empty where the graph's file holds them."""
    precision: Literal["fp32", "fp16", "int16"]
    """Number format in which it computes."""
    operators: dict[str, int]
    """Number of nodes by kind."""
    weight_bytes: dict[str, int]
    """Size of its weights in bytes, by number format, without those shared with an earlier part."""
    inputs: tuple[Port, ...]
    """Inputs, in the graph's order."""
    outputs: tuple[Port, ...]
    """Outputs, in the graph's order."""
    function: str = ""
    """Name of the function where the file holds several; empty where it holds one."""
    states: tuple[Port, ...] = ()
    """Arrays that persist from one run to the next, shared with other functions of the file."""
    delegation: Delegation | None = None
    """Operators in delegates; null for targets without delegates."""
    source: str = ""
    """File of the graph that a compiled file was made from; empty where nothing was compiled."""
