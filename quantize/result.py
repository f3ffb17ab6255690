"""What became of every weight."""

from dataclasses import dataclass

from phantom_edge.checkpoint.quantized.files import Quantization
from phantom_edge.models.tensor_names import part_of


@dataclass(frozen=True)
class Summary:
    """The weights of one part and scheme; ``relative_error`` is what rounding changes, root mean square over theirs."""

    part: str
    scheme: str
    matrices: int
    numbers: int
    relative_error: float


@dataclass(frozen=True)
class Rounded:
    """A quantized weight: how many numbers, and the sums of squares of its error and of itself."""

    numbers: int
    off: float
    whole: float


@dataclass(frozen=True)
class Result:
    """A quantized checkpoint that was written, and what became of every quantized weight.

    Of weights that bitsandbytes had rounded: which keep its integers, and which were rounded ``twice``.
    """

    quantization: Quantization
    weights: dict[str, Rounded]
    kept: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()

    def summary(self) -> list[Summary]:
        """By part and scheme."""
        groups: dict[tuple[str, str], list[Rounded]] = {}
        for name, scheme in self.quantization.weights.items():
            groups.setdefault((part_of(name) or "phantom", scheme.name), []).append(self.weights[name])
        return [
            Summary(
                part,
                scheme,
                len(weights),
                sum(weight.numbers for weight in weights),
                (sum(weight.off for weight in weights) / max(sum(weight.whole for weight in weights), 1e-30)) ** 0.5,
            )
            for (part, scheme), weights in groups.items()
        ]
