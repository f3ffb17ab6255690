"""The cache of keys and values: its buffers and their rows."""

from dataclasses import dataclass

from phantom_edge.bundle.numbers import BYTES, MOST_CONTEXT, Kept, Number, check_rules

ALIGNED = 256
"""Alignment of tensors for TensorRT, bytes."""


@dataclass(frozen=True)
class Cache:
    """The cache of keys and values: one buffer for keys and one for values, for each layer and kv head.

    A token takes a row of ``key_widths[layer]`` and ``value_widths[layer]`` numbers of ``dtype``, or, in a ``rounded``
    cache, of int8 with a scale of ``dtype``. The scales of a layer are one more buffer, one row per token: first those
    of the keys of every kv head, then those of their values.

    ``together``: one buffer holds all rows, layer by layer the keys of every kv head and then their values, and is
    padded so that every row begins at a multiple of 256 bytes. Its first row is blank and always present: tokens follow
    it, and none attends to it. So no device gets an empty input or an unaligned address.

    Rows of ``int16`` are integers whose scales the graphs hold: the host only moves them.
    """

    layers: int
    kv_heads: int
    key_widths: tuple[int, ...]
    value_widths: tuple[int, ...]
    dtype: Kept
    max_context: int
    rounded: bool = False
    together: bool = False

    def __post_init__(self) -> None:
        check_rules(
            together=not (self.together and self.rounded),
            max_context=0 < self.max_context <= MOST_CONTEXT,
            kv_heads=0 < self.kv_heads <= 1024,
            layers=0 < self.layers <= 1024,
            widths=all(0 < width <= 2**16 for width in (*self.key_widths, *self.value_widths)),
        )
        if not (len(self.key_widths) == len(self.value_widths) == self.layers):
            raise ValueError("key_widths or value_widths has not one width for each layer")

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
