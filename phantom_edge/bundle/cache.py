"""The cache of keys and values: its buffers and their rows."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.numbers import BYTES, MOST_CONTEXT, Kept, Number, check_rules

ALIGNED = 256
"""Alignment of tensors for TensorRT, bytes."""


Layout = Literal["growing arrays", "one growing array", "fixed arrays", "graph state", "arrays in place"]
"""Places of the rows."""

Positions = Literal["position_ids", "start_pos", "start and rotary rows", "rotary rows", "input_pos"]
"""Inputs with positions."""


@dataclass(frozen=True)
class FirstRow:
    """The cached rows of ``prompt.first_token`` at position 0: a constant of the model."""

    file: str
    """File with the row of every buffer, little-endian, in the order of the decoder's ``past_`` inputs, without gaps:
    for runtimes that take no empty cache. A reader that begins with it feeds the prompt from its second token on."""


@dataclass(frozen=True)
class Cache:
    """The cache of keys and values: for each layer and kv head a row of keys and one of values for every token.

    A row's first ``plain_width`` numbers are those of ordinary attention, the others belong to the phantom dimension.
    """

    layers: int
    """Number of layers."""
    kv_heads: int
    """Number of kv heads of a layer."""
    plain_width: int
    """Numbers of a row that belong to ordinary attention: the head_dim. The phantom part follows them."""
    key_widths: tuple[int, ...]
    """Numbers of a row of keys, by layer."""
    value_widths: tuple[int, ...]
    """Numbers of a row of values, by layer."""
    dtype: Kept
    """Number format of the rows, or, where they are ``rounded``, of their scales. Rows of int16 are integers whose
    scales the graphs hold: the host only moves them."""
    max_context: int
    """Most tokens that the cache holds, prompt and answer together."""
    layout: Layout
    """Place of the rows. Growing arrays: the decoder's inputs ``past_NAME`` (P, width) hold the P tokens read so far,
    and its outputs ``new_NAME`` (N, width) are rows that the host appends. One growing array: the same with all rows of
    a token in one row of ``past_rows``, see ``together``. Fixed arrays: inputs ``past_NAME`` have ``max_context``
    rows, zeros at first, and the host writes the real ones of ``new_NAME`` at their positions. Graph state: the graphs
    keep it themselves. Arrays in place: arrays (1, kv_heads, rows, width) are inputs and, with the new rows in them,
    outputs of the same names: of the decoder, or of a graph that takes its new rows."""
    positions: Positions
    """Inputs by which the decoder gets the positions of its tokens, whose first one in a conversation is 0.
    ``position_ids`` (1, N) and ``input_pos`` (N,) hold the position of each token. ``start_pos`` or ``start`` (1,) is
    that of the first.
    Rotary rows: ``cosines`` and ``sines`` are rows of the file of rotations at these positions."""
    rounded: bool = False
    """True where rows are int8. Every row of keys and of values has a scale then, in the ports ``past_scale.LAYER`` and
    ``new_scale.LAYER``: (tokens, 2 * kv_heads), the keys' before the values'. The host only moves them."""
    together: bool = False
    """True where one array holds all rows of a token: layer by layer the keys of every kv head, then their values,
    padded with zeros to a multiple of 256 bytes. Its first row is blank and always present: tokens follow it, and none
    attends to it, so the array has 1 + P rows."""
    first_row: FirstRow | None = None
    """Rows of the first token, for runtimes that take no empty array; null where none is needed or the host has none.
    The first row of a cache is always that of ``prompt.first_token``, whether it was fed or read from this file."""

    def __post_init__(self) -> None:
        check_rules(
            together=not (self.together and self.rounded) and self.together == (self.layout == "one growing array"),
            first_row=self.first_row is None or self.layout == "growing arrays",
            max_context=0 < self.max_context <= MOST_CONTEXT,
            kv_heads=0 < self.kv_heads <= 1024,
            layers=0 < self.layers <= 1024,
            widths=all(0 < width <= 2**16 for width in (*self.key_widths, *self.value_widths)),
        )
        if not (len(self.key_widths) == len(self.value_widths) == self.layers):
            raise ValueError("key_widths or value_widths has not one width for each layer")
        check_rules(plain_width=0 < self.plain_width <= min((*self.key_widths, *self.value_widths)))

    @property
    def bytes_per_token(self) -> int:
        """Size of all rows of one token, bytes."""
        return sum(width * BYTES[dtype] for width, dtype in self.buffers().values())

    @property
    def stored(self) -> Number:
        """Number format of the rows."""
        return "int8" if self.rounded else self.dtype

    def buffers(self) -> dict[str, tuple[int, Number]]:
        """Every buffer: numbers per row, and their format. Graphs read ``past_NAME`` and write ``new_NAME``."""
        found: dict[str, tuple[int, Number]] = {}
        if self.together:
            width, step = self.kv_heads * sum(self.key_widths + self.value_widths), ALIGNED // BYTES[self.dtype]
            return {"rows": (-(-width // step) * step, self.dtype)}
        for layer, widths in enumerate(zip(self.key_widths, self.value_widths, strict=True)):
            for head in range(self.kv_heads):
                for what, width in zip(("key", "value"), widths, strict=True):
                    found[f"{what}.{layer}.{head}"] = (width, self.stored)
            if self.rounded:
                found[f"scale.{layer}"] = (2 * self.kv_heads, self.dtype)
        return found
