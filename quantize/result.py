"""Result of quantization: the rounding error of every weight."""

from dataclasses import dataclass

from phantom_edge.checkpoint.quantized.files import Quantization
from phantom_edge.models.tensor_names import part_of


@dataclass(frozen=True)
class Summary:
    """The weights of one part and scheme; ``relative_error`` is the rounding error's RMS over the weights' RMS."""

    part: str
    scheme: str
    matrices: int
    numbers: int
    relative_error: float


@dataclass(frozen=True)
class Rounded:
    """A quantized weight: its count of numbers, and the sums of squares of its error and of the weight."""

    numbers: int
    off: float
    whole: float


@dataclass(frozen=True)
class Result:
    """A written quantized checkpoint, and the rounding error of every quantized weight.

    Of weights that bitsandbytes had rounded, ``kept`` keep its integers, and ``twice`` were rounded again.
    """

    quantization: Quantization
    weights: dict[str, Rounded]
    kept: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()

    def summary(self) -> list[Summary]:
        """Totals by part and scheme."""
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
