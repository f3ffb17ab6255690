"""A program as it is in its file: methods, and the values, memory and steps of each."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Typed:
    """A tensor's number format and shape; of one that moves, ``shape`` is the most that it can be."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    moves: bool


@dataclass(frozen=True)
class Planned:
    """A tensor with a place in the method's memory, which others may share before and after."""

    typed: Typed
    memory: int
    offset: int


@dataclass(frozen=True)
class Unplanned:
    """A tensor that somebody else has the memory of: an input, or what a view looks at."""

    typed: Typed


@dataclass(frozen=True)
class Constant:
    """A tensor that never changes."""

    tensor: Tensor


@dataclass(frozen=True)
class Gathered:
    """A list of other values, by their numbers; -1 stands for none."""

    items: tuple[int, ...]


@dataclass(frozen=True)
class Plain:
    """A number, a word, a list of numbers that are written out, or nothing."""

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
    """What a program can be asked. ``memory`` holds the bytes of each piece; ``payloads`` are XNNPACK's."""

    name: str
    values: tuple[Value, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    memory: tuple[int, ...]
    payloads: tuple[bytes, ...]


@dataclass(frozen=True)
class Program:
    """Methods by name, and the data that payloads refer to by theirs."""

    methods: dict[str, Method]
    named: dict[str, bytes]
