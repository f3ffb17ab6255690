"""Compilation of one operation: reads its parameters, and refuses unused ones."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phantom_edge.export.interpreters.mil.formats import FORMATS, NAMES
from phantom_edge.export.interpreters.mil.program import Constant, Operation, Shape, Typed
from phantom_edge.foundation.errors import EdgeError

Kernel = Callable[..., Tensor | tuple[Tensor, ...]]
"""Computes an operation's outputs from the tensors that it takes, which it never alters."""

REMEDY = "use a version of the program that does without it, or add it to phantom_edge/export/interpreters/mil"
MASKED = -1e4
"""Attention scores at or below it count as masked."""


@dataclass
class Notes:
    """Hazards inside an operation, accumulated over runs."""

    overflows: int = 0
    masked_rows: int = 0

    def softmax_input(self, x: Tensor, axis: int) -> None:
        """Counts rows that are fully masked."""
        if x.numel():
            self.masked_rows += int((x.amax(axis) <= MASKED).sum())


class Call:
    """One operation. A kernel reads its arguments in order; ``finish`` refuses parameters that were not read."""

    def __init__(
        self,
        operation: Operation,
        opset: int,
        known: Mapping[str, Typed],
        mode: str,
        notes: Notes | None,
    ) -> None:
        self.operation, self.opset, self.known, self.notes = operation, opset, known, notes
        self.is_smooth = mode == "smooth"
        self.strict = mode == "strict" and bool(operation.outputs) and operation.outputs[0].dtype == "float16"
        self.arguments: list[str | Constant] = []
        self.used: set[str] = set()

    def refuse(self, why: str) -> EdgeError:
        """Returns the error that this operation cannot be computed."""
        return EdgeError(f"{self.operation}: {why}", REMEDY)

    def finish(self) -> None:
        """Refuses parameters that were not read: ignoring them would compute something else."""
        unknown = sorted(set(self.operation.inputs) - self.used)
        if unknown:
            raise self.refuse(f"parameter '{unknown[0]}' is not understood")

    def has(self, name: str) -> bool:
        """True where a parameter is given."""
        self.used.add(name)
        return name in self.operation.inputs

    def single(self, name: str) -> str | Constant:
        """The single value of a required parameter."""
        if not self.has(name):
            raise self.refuse(f"parameter '{name}' is missing")
        values = self.operation.inputs[name]
        if len(values) != 1:
            raise self.refuse(f"parameter '{name}' has {len(values)} values")
        return values[0]

    def takes(self, *names: str) -> None:
        """Adds the kernel's next arguments."""
        self.arguments += [self.single(name) for name in names]

    def takes_if_given(self, name: str) -> bool:
        """Adds an optional argument of the kernel; True where it is given."""
        if self.has(name):
            self.takes(name)
            return True
        return False

    def takes_all(self, name: str) -> int:
        """Adds all tensors of a parameter as arguments of the kernel, and returns their number."""
        if not self.has(name):
            raise self.refuse(f"parameter '{name}' is missing")
        values = self.operation.inputs[name]
        self.arguments += values
        return len(values)

    def typed(self, name: str, place: int = 0) -> Typed:
        """Format and shape of an input."""
        self.used.add(name)
        value = self.operation.inputs[name][place]
        return Typed(value.name, value.dtype, value.shape) if isinstance(value, Constant) else self.known[value]

    def shape(self, name: str) -> Shape:
        """Shape of an input."""
        return self.typed(name).shape

    def rank(self, name: str) -> int:
        """Number of dimensions of an input."""
        return len(self.shape(name))

    def is_float(self, name: str) -> bool:
        """True where an input holds floats."""
        return FORMATS[self.typed(name).dtype].is_float

    def needs_float(self, *names: str) -> None:
        """Refuses integer inputs, for which the operation is not defined."""
        for name in names:
            if not self.is_float(name):
                raise self.refuse(f"'{name}' is {self.typed(name).dtype}, not float")

    def constant(self, name: str) -> Constant:
        """A parameter that must be constant."""
        value = self.single(name)
        if not isinstance(value, Constant):
            raise self.refuse(f"parameter '{name}' is computed by '{value}', not constant")
        return value

    def text(self, name: str, default: str) -> str:
        """A string parameter."""
        if not self.has(name):
            return default
        source = self.constant(name).source
        if not isinstance(source, str):
            raise self.refuse(f"parameter '{name}' is no string")
        return source

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        """A string parameter, one of ``choices``. Raises EdgeError for another."""
        found = self.text(name, default)
        if found not in choices:
            raise self.refuse(f"{name} {found!r} is not understood")
        return found

    def whole_numbers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """A vector of integers or booleans; a scalar counts as one entry."""
        if default is not None and not self.has(name):
            return tuple(default)
        value = self.constant(name)
        if value.number.is_float or value.dtype == "string" or len(value.shape) > 1:
            raise self.refuse(f"parameter '{name}' is no vector of whole numbers")
        return tuple(int(one) for one in value.array().reshape(-1))

    def whole_number(self, name: str, default: int | None = None) -> int:
        """One integer."""
        found = self.whole_numbers(name, None if default is None else (default,))
        if len(found) != 1:
            raise self.refuse(f"parameter '{name}' has {len(found)} numbers")
        return found[0]

    def flag(self, name: str, default: bool) -> bool:
        """One boolean."""
        return bool(self.whole_number(name, default))

    def number(self, name: str, default: float | None = None, like: str = "x") -> float:
        """One number; a default is rounded to the format of input ``like``, as in coremltools."""
        if default is not None and not self.has(name):
            return rounded(default) if self.typed(like).dtype == "float16" else default
        value = self.constant(name)
        if value.dtype == "string" or value.count != 1:
            raise self.refuse(f"parameter '{name}' is not one number")
        return float(value.array().reshape(-1)[0])

    def axis(self, name: str, default: int | None, rank: int) -> int:
        """A dimension, normalized to count from the first."""
        return self.within(self.whole_number(name, default), rank)

    def axes(self, name: str, default: Sequence[int], rank: int) -> tuple[int, ...]:
        """Dimensions, normalized to count from the first, in ascending order."""
        found = sorted(self.within(one, rank) for one in self.whole_numbers(name, default))
        if len(set(found)) != len(found):
            raise self.refuse(f"'{name}' names a dimension twice")
        return tuple(found)

    def within(self, axis: int, rank: int) -> int:
        """``axis`` normalized to count from the first dimension. Raises EdgeError for one outside of ``rank``."""
        if not -rank <= axis < max(rank, 1):
            raise self.refuse(f"axis {axis} is outside {rank} dimensions")
        return axis % max(rank, 1)

    def format(self, name: str, default: str | None = None) -> str:
        """A number format, from a string parameter."""
        found = self.text(name, default or "")
        found = NAMES.get(found, found)
        if found not in FORMATS or FORMATS[found].tensor is None:
            raise self.refuse(f"{name} {found!r} is not understood")
        return found

    def numbers(self, name: str) -> "Numbers":
        """A vector of whole numbers, constant or computed by the program."""
        value = self.single(name)
        if isinstance(value, Constant):
            return Numbers(self.whole_numbers(name), -1)
        self.arguments.append(value)
        return Numbers(None, len(self.arguments) - 1)


@dataclass(frozen=True)
class Numbers:
    """Whole numbers: ``fixed`` if constant, otherwise the tensor at ``place`` among the kernel's arguments."""

    fixed: tuple[int, ...] | None
    place: int

    def of(self, taken: Sequence[Tensor]) -> tuple[int, ...]:
        """The numbers of this run."""
        if self.fixed is not None:
            return self.fixed
        return tuple(int(one) for one in taken[self.place].reshape(-1).tolist())


class Refused(ValueError):
    """A kernel cannot compute with these tensors; the interpreter adds the operation's name."""


def rounded(value: float) -> float:
    """The nearest float16."""
    return float(torch.tensor(value, dtype=torch.float64).half()) if math.isfinite(value) else value


def check_indices(indices: Tensor, size: int, least: int = 0) -> None:
    """Refuses indices that reach outside; their effect on a device is undefined."""
    if indices.numel():
        low, high = (int(one) for one in indices.aminmax())
        if low < least or high >= size:
            raise Refused(f"index {low if low < least else high} is outside {size}")


def rounding(notes: Notes | None) -> Callable[[Tensor], Tensor]:
    """Returns a function that rounds to float16 inside of an operation, and counts overflows."""
    if notes is None:
        return lambda x: x.half().float()
    counted = notes

    def note(x: Tensor) -> Tensor:
        found = x.half().float()
        counted.overflows += int((found.isinf() & x.isfinite()).sum())
        return found

    return note


PARTIAL = 32


def partial_sums(x: Tensor, axes: Sequence[int], round_: Callable[[Tensor], Tensor]) -> Tensor:
    """Sums over ``axes``, kept as dimensions of 1: 32 numbers at a time, rounding each sum, then 32 of these sums."""
    kept = [size if axis not in axes else 1 for axis, size in enumerate(x.shape)]
    order = [axis for axis in range(x.ndim) if axis not in axes] + list(axes)
    rows = x.permute(order).reshape(math.prod(kept), -1)
    while True:
        missing = -rows.shape[1] % PARTIAL
        rows = (
            torch.nn.functional.pad(rows, (0, missing)).view(len(rows), -1, PARTIAL)
            if rows.shape[1]
            else rows[..., None]
        )
        rows = round_(rows.sum(-1))
        if rows.shape[1] <= 1:
            return rows.reshape(kept)
