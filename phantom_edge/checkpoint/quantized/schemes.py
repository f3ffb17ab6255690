"""Number formats of quantized weights, as data."""

from dataclasses import dataclass

from phantom_edge.foundation.errors import EdgeError

PALETTE_BITS = (2, 3, 4, 6)
MOST_MULTIPLE = 15
"""Limit of multiples of ``Scheme.exact8``: times the integers -8 to 7 they fit 8 bits."""
MOST_PALETTE_ROWS = 4096
"""Limit that keeps each palette inside one block of rows (``rounding.BLOCK_ROWS``)."""


@dataclass(frozen=True)
class Scheme:
    """Integers of ``bits``, and a scale for every ``group`` neighbours of a row (None: for the whole row).

    Rows are outputs of a linear layer, or tokens of an embedding. ``symmetric`` schemes have their zero in the middle
    of the range, others have a zero point for each group. ``static_inputs``: the layer's inputs are rounded to 8 bits,
    too, with one scale from calibration. With ``palette_rows`` there are no scales: that many neighbouring rows share a
    palette of numbers, and integers are indices into it, as Apple's Neural Engine reads weights. ``positive``: scales
    are positive and exact in bfloat16, as ExecuTorch's XNNPACK requires; others may be negative, which puts the number
    of largest magnitude on the integer that has no counterpart. ``exact8``: a row's scales are multiples, by 1 to
    MOST_MULTIPLE and either sign, of one step, so that 8 bits with that step as the row's scale hold the same numbers.
    """

    bits: int
    group: int | None
    symmetric: bool = True
    static_inputs: bool = False
    palette_rows: int | None = None
    positive: bool = False
    exact8: bool = False

    def __post_init__(self) -> None:
        if self.palette_rows is not None:
            self._check_palette(self.palette_rows)
            return
        if self.bits not in (3, 4, 8):
            raise ValueError(f"bits is {self.bits}, not 3, 4 or 8")
        if self.group is None and (not self.symmetric or (self.bits != 8 and not (self.bits == 4 and self.positive))):
            raise ValueError("group is null, which only symmetric ones of 8 bits and positive ones of 4 have")
        if self.positive and (self.bits == 8 or not self.symmetric):
            raise ValueError("positive is true, which is for symmetric ones of fewer than 8 bits")
        if self.exact8 and (self.bits != 4 or self.group is None or not self.symmetric or self.positive):
            raise ValueError("exact8 is true, which is for symmetric groups of 4 bits")
        if self.static_inputs and self.group is not None:
            raise ValueError("static_inputs is true, which is for whole rows alone")
        if self.group is not None and (self.group < 16 or self.group & (self.group - 1)):
            raise ValueError(f"group is {self.group}, not a power of two of 16 or more")

    def _check_palette(self, rows: int) -> None:
        if self.bits not in PALETTE_BITS:
            raise ValueError(f"bits is {self.bits}, and palettes have {', '.join(map(str, PALETTE_BITS))}")
        if self.group is not None or not self.symmetric or self.static_inputs or self.positive or self.exact8:
            raise ValueError(
                "palette_rows is given, which leaves no group, zero points, static_inputs, positive or exact8"
            )
        if not 0 < rows <= MOST_PALETTE_ROWS or rows & (rows - 1):
            raise ValueError(f"palette_rows is {rows}, not a power of two up to {MOST_PALETTE_ROWS}")

    @property
    def name(self) -> str:
        """Name, such as int8, w8a8, int4-g32-pos, int4-pos (whole rows), int4-g32-exact8, int4-g128-asym, lut4-r16."""
        if self.palette_rows is not None:
            return f"lut{self.bits}-r{self.palette_rows}"
        if self.static_inputs:
            return "w8a8"
        group = "" if self.group is None else f"-g{self.group}"
        kind = "-pos" if self.positive else "-exact8" if self.exact8 else "" if self.symmetric else "-asym"
        return f"int{self.bits}{group}{kind}"

    @property
    def levels(self) -> int:
        """Number of integers: 0 to levels - 1."""
        return int(2**self.bits)

    @property
    def middle(self) -> int:
        """Zero point of symmetric schemes."""
        return self.levels // 2

    def groups(self, columns: int) -> int:
        """Scales per row. Raises EdgeError where groups do not divide it, or its integers cannot be packed."""
        if self.group is None and self.bits < 8 and columns % 2:
            raise EdgeError(f"{self.name} needs rows of an even length, not of {columns}", "choose int8")
        if self.palette_rows is not None:
            return 0
        if self.group is None:
            return 1
        if columns % self.group:
            fitting = [str(size) for size in (128, 64, 32, 16) if columns % size == 0]
            choice = f"groups of {', '.join(fitting)}, or " if fitting else ""
            raise EdgeError(
                f"groups of {self.group} do not divide rows of {columns}", f"choose {choice}int8, a scale for each row"
            )
        return columns // self.group

    def palettes(self, rows: int) -> int:
        """Number of palettes of ``rows``; the last may have fewer than the others."""
        return 0 if self.palette_rows is None else -(-rows // self.palette_rows)


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(8, None),
        Scheme(8, None, static_inputs=True),
        Scheme(8, 32),
        Scheme(8, 128),
        Scheme(4, 32),
        Scheme(4, 64),
        Scheme(4, 128),
        Scheme(4, 32, positive=True),
        Scheme(4, 64, positive=True),
        Scheme(4, 128, positive=True),
        Scheme(4, None, positive=True),
        Scheme(4, 32, exact8=True),
        Scheme(4, 32, symmetric=False),
        Scheme(4, 64, symmetric=False),
        Scheme(4, 128, symmetric=False),
        Scheme(3, 32),
        Scheme(3, 32, symmetric=False),
        Scheme(3, 64, symmetric=False),
        Scheme(3, 128, symmetric=False),
        Scheme(4, None, palette_rows=16),
        Scheme(4, None, palette_rows=32),
    )
}
"""Schemes by their names in recipes."""

FLOAT = "float"
"""Name in recipes for weights that stay floats."""


def scheme_named(name: str) -> Scheme:
    """The scheme called ``name``. Raises EdgeError where there is none."""
    if name not in SCHEMES:
        raise EdgeError(f"there is no scheme '{name}'", f"choose from: {', '.join((*SCHEMES, FLOAT))}")
    return SCHEMES[name]
