"""The host's part around graphs of fixed shapes."""

from dataclasses import dataclass

from phantom_edge.bundle.numbers import check_rules


@dataclass(frozen=True)
class FixedShapes:
    """The host's part where parts ``prefill``, ``decoder`` (one token) and ``head`` stand for one decoder.

    The host feeds rows of ``rotary``: a file of float32 cosines (positions, head_dim / 2) followed by sines. It feeds a
    mask of 0 and ``masked``, which hides later tokens and, with a ``window``, those that many tokens back. New rows
    enter the cache as the target's facts specify. A chunk of ``prefill_chunk`` tokens that is not full is padded with
    its last row: no later token attends to the padding, but a NaN there would reach the others.
    """

    rotary: str
    masked: float
    window: int | None

    def __post_init__(self) -> None:
        check_rules(masked=-65504 <= self.masked < 0, window=self.window is None or self.window > 0)

    def files(self) -> tuple[str, ...]:
        """Names of these files in the bundle."""
        return (self.rotary,)
