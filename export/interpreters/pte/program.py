"""A program as in its file: methods, and the values, memory and steps of each."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Typed:
    """A tensor's number format and shape; where the shape ``moves``, ``shape`` is its upper bound."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    moves: bool


@dataclass(frozen=True)
class Planned:
    """A tensor with a place in the method's memory, which other tensors may use before and after."""

    typed: Typed
    memory: int
    offset: int


@dataclass(frozen=True)
class Unplanned:
    """A tensor without memory of its own: an input, or a view."""

    typed: Typed


@dataclass(frozen=True)
class Constant:
    """A tensor that never changes."""

    tensor: Tensor


@dataclass(frozen=True)
class Gathered:
    """A list of other values by number; -1 stands for none."""

    items: tuple[int, ...]


@dataclass(frozen=True)
class Plain:
    """A number, a string, a list of literal numbers, or None."""

    value: int | float | bool | str | list[float] | list[bool] | None


Value = Planned | Unplanned | Constant | Gathered | Plain


@dataclass(frozen=True)
class Call:
    """An operator, such as ``aten::add.out``, on the values of these numbers."""

    name: str
    args: tuple[int, ...]


@dataclass(frozen=True)
class Handed:
    """A payload of the method, which a delegate runs on the values of these numbers."""

    payload: int
    args: tuple[int, ...]


Step = Call | Handed


@dataclass(frozen=True)
class Method:
    """One method of a program. ``memory`` holds the size of each piece, bytes; ``payloads`` are XNNPACK's."""

    name: str
    values: tuple[Value, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    memory: tuple[int, ...]
    payloads: tuple[bytes, ...]


@dataclass(frozen=True)
class Program:
    """Methods by name, and ``named`` data to which payloads refer."""

    methods: dict[str, Method]
    named: dict[str, bytes]
