"""The host's part around graphs of fixed shapes."""

from dataclasses import dataclass

from phantom_edge.bundle.numbers import check_rules


@dataclass(frozen=True)
class FixedShapes:
    """The host's part where parts ``prefill``, ``decoder`` (one token) and ``head`` stand for one decoder.

    A chunk of ``prefill_chunk`` tokens that is not full is padded with its last row: no later token attends to the
    padding, but a NaN there would reach the others. Where a whole chunk does not fit into the rest of the cache, its
    tokens are fed to ``decoder`` one by one.
    """

    rotary: str
    """File of rotations, little-endian float32: cosines (max_context positions, head_dim / 2), then as many sines."""
    masked: float
    """A pure number that the mask adds to the score of a hidden key: later tokens, and those before a window."""
    window: int | None
    """Number of tokens, itself included, to which a token attends; null where it attends to all before it."""

    def __post_init__(self) -> None:
        check_rules(masked=-65504 <= self.masked < 0, window=self.window is None or self.window > 0)

    def files(self) -> tuple[str, ...]:
        """Names of these files in the bundle."""
        return (self.rotary,)
