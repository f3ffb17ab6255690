"""Runs methods of a program."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.export.interpreters.pte import kernels
from phantom_edge.export.interpreters.pte.container import BROKEN, NONE, one_line, open_program
from phantom_edge.export.interpreters.pte.delegate import Delegate
from phantom_edge.export.interpreters.pte.held import Held
from phantom_edge.export.interpreters.pte.kernels import Argument, Aten
from phantom_edge.export.interpreters.pte.payload import read_payloads
from phantom_edge.export.interpreters.pte.program import (
    Call,
    Constant,
    Gathered,
    Handed,
    Method,
    Plain,
    Planned,
    Program,
    Typed,
    Unplanned,
    Value,
)
from phantom_edge.foundation.errors import EdgeError

DECOMPOSED = {kernels.CHOOSE: 2, kernels.QUANTIZE: 6, kernels.DEQUANTIZE: 7, kernels.WEIGHT: 8}
INPUTS = {kernels.SDPA: 8, kernels.CACHE: 3, **dict.fromkeys(kernels.BITS, 6), **DECOMPOSED}
"""Number of arguments that operators read; they write those behind."""


class Interpreter:
    """A program in a file."""

    def __init__(self, program: Program) -> None:
        self.program = program

    @classmethod
    def open(cls, path: Path) -> "Interpreter":
        """Reads a file. Raises EdgeError for one that is missing, damaged or not understood."""
        return cls(open_program(path))

    def method(self, name: str) -> "Interpreted":
        """A method, its memory all zeros. Raises EdgeError for a missing one, or one that is not understood."""
        if name not in self.program.methods:
            raise EdgeError(f"the program has no method {name}, but {list(self.program.methods)}", AGAIN)
        method = self.program.methods[name]
        graphs = read_payloads(method.payloads, self.program.named)
        try:
            return Interpreted(method, [Delegate(one) for one in graphs])
        except BROKEN as error:
            raise EdgeError(f"{name} cannot be prepared to run: {one_line(error)}", AGAIN) from error

    def weights(self) -> list[Held]:
        """Weights of integers of all methods, each method's in order of use."""
        return [one for name in self.program.methods for one in self.method(name).weights()]


class Interpreted:
    """A method with its memory, which keeps the buffers' contents from run to run."""

    def __init__(self, method: Method, delegates: Sequence[Delegate]) -> None:
        self.method, self.delegates = method, delegates
        names = {step.name for step in method.steps if isinstance(step, Call)}
        known = {kernels.VIEW, *INPUTS, *kernels.NUMBERS}
        self.aten = {name: Aten(name) for name in sorted(names - known)}
        self.memory = [torch.zeros(size, dtype=torch.uint8) for size in method.memory]
        self.beginning = [self._beginning(value) for value in method.values]
        self.table = list(self.beginning)

    def reset(self) -> None:
        """Clears the memory of earlier runs."""
        for piece in self.memory:
            piece.zero_()

    def weights(self) -> Iterator[Held]:
        """Weights of integers of delegates and lookups, in order of use."""
        self.table = list(self.beginning)
        for step in self.method.steps:
            if isinstance(step, Handed):
                yield from self.delegates[step.payload].held
            elif step.name in kernels.BITS or step.name == kernels.WEIGHT:
                args = [self._argument(one) for one in step.args[: INPUTS[step.name]]]
                read = kernels.weight_of if step.name == kernels.WEIGHT else partial(kernels.table_of, step.name)
                try:
                    yield read(args)
                except BROKEN as error:
                    raise EdgeError(
                        f"{step.name} in {self.method.name} holds no weight: {one_line(error)}", AGAIN
                    ) from error

    @torch.no_grad()
    def run(self, inputs: Sequence[Tensor], *, rounds: bool) -> list[Tensor]:
        """Computes the outputs; with ``rounds``, inputs of quantized layers are rounded, as XNNPACK does.

        Raises EdgeError for inputs that do not fit, and where an instruction fails.
        """
        method = self.method
        self.table = list(self.beginning)
        if len(inputs) != len(method.inputs):
            raise EdgeError(f"{method.name} takes {len(method.inputs)} inputs, not {len(inputs)}", "give all of them")
        doing = f"the inputs of {method.name}"
        try:
            for number, given in zip(method.inputs, inputs, strict=True):
                self._write(number, given)
            for step in method.steps:
                if isinstance(step, Handed):
                    doing = f"payload {step.payload} in {method.name}"
                    self._delegate(step, rounds=rounds)
                else:
                    doing = f"{step.name} in {method.name}"
                    self._call(step, rounds=rounds)
            doing = f"the outputs of {method.name}"
            outputs = [self._argument(number) for number in method.outputs]
            return [one.clone() if isinstance(one, Tensor) else torch.tensor(one) for one in outputs]
        except BROKEN as error:
            raise EdgeError(f"{doing} cannot be computed: {one_line(error)}", AGAIN) from error

    def _delegate(self, step: Handed, *, rounds: bool) -> None:
        args = [self._argument(number) for number in step.args]
        tensors = [one if isinstance(one, Tensor) else None for one in args]
        for place, found in self.delegates[step.payload].run(tensors, rounds=rounds).items():
            self._write(step.args[place], found)

    def _call(self, step: Call, *, rounds: bool) -> None:
        name, numbers = step.name, step.args
        if name in self.aten:
            self._run_aten(self.aten[name], numbers)
            return
        if name == kernels.VIEW:
            self._view(*numbers)
            return
        if name in kernels.NUMBERS:
            self.table[numbers[-1]] = kernels.NUMBERS[name](*(self._argument(one) for one in numbers[:-1]))
            return
        count = INPUTS[name]
        args = [self._argument(one) for one in numbers[:count]]
        written = numbers[count:]
        if name in DECOMPOSED:
            self._decomposed(name, args, written, rounds=rounds)
            return
        if len(set(written)) != 1:
            raise ValueError(f"it has {len(numbers)} arguments")
        if name == kernels.CACHE:
            self._check_writable(numbers[1])
            kernels.update_cache(*args)  # type: ignore[arg-type]
        elif name == kernels.SDPA:
            self._write(written[0], kernels.custom_sdpa(*args))  # type: ignore[arg-type]
        else:
            self._write(written[0], kernels.look_up(name, args))

    def _decomposed(self, name: str, args: Sequence[Argument], written: Sequence[int], *, rounds: bool) -> None:
        """Quantization outside of a delegate; without ``rounds``, floats stay as they are, outside of memory."""
        given = args[0]
        if name == kernels.QUANTIZE and not rounds and isinstance(given, Tensor):
            self.table[written[0]] = given.clone()
            return
        is_kept = name == kernels.DEQUANTIZE and isinstance(given, Tensor) and given.is_floating_point()
        found = [given] if is_kept else kernels.decomposed(name, args)
        for number, tensor in zip(written, found, strict=False):
            assert isinstance(tensor, Tensor)
            self._write(number, tensor)

    def _run_aten(self, operator: Aten, numbers: Sequence[int]) -> None:
        count = len(operator.named)
        targets = [self._targets(one) for one in numbers[count : count + len(operator.outs)]]
        again = [self._targets(one) for one in numbers[count + len(operator.outs) :]]
        if len(targets) != len(operator.outs) or (again and again != targets):
            raise ValueError(f"it has {len(numbers)} arguments")
        fresh = [[torch.empty(0, dtype=self._typed(one).dtype) for one in target] for target in targets]
        are_lists = [isinstance(self.method.values[one], Gathered) for one in numbers[count:]]
        outs = [made if is_list else made[0] for made, is_list in zip(fresh, are_lists, strict=False)]
        operator.run([self._argument(one) for one in numbers[:count]], outs)
        for target, made in zip(targets, fresh, strict=True):
            for number, found in zip(target, made, strict=True):
                self._write(number, found)

    def _targets(self, number: int) -> tuple[int, ...]:
        value = self.method.values[number]
        return value.items if isinstance(value, Gathered) else (number,)

    def _view(self, source: int, shape: int, out: int) -> None:
        tensor, sizes = self._argument(source), self._argument(shape)
        if not isinstance(tensor, Tensor) or not isinstance(sizes, list):
            raise TypeError("it views no tensor")
        found = tensor.view([int(one) for one in sizes if isinstance(one, int)])
        self._check(self._typed(out), found)
        self.table[out] = found

    def _beginning(self, value: Value) -> Argument:
        """The initial value of a run."""
        if isinstance(value, Planned):
            return self._place(value, value.typed.shape)
        if isinstance(value, Constant):
            return value.tensor
        return value.value if isinstance(value, Plain) else None

    def _place(self, value: Planned, shape: Sequence[int]) -> Tensor:
        """The memory of a tensor, viewed in ``shape``."""
        flat = self.memory[value.memory][value.offset :]
        size = torch.Size(shape).numel() * value.typed.dtype.itemsize
        return flat[:size].view(value.typed.dtype).view(tuple(shape))

    def _argument(self, number: int) -> Argument:
        value = self.method.values[number]
        if isinstance(value, Gathered):
            return [None if one == NONE else self.table[one] for one in value.items]  # type: ignore[return-value]
        return self.table[number]

    def _typed(self, number: int) -> Typed:
        value = self.method.values[number]
        if not isinstance(value, Planned | Unplanned):
            raise TypeError(f"value {number} is no tensor that can be written")
        return value.typed

    def _check_writable(self, number: int) -> None:
        if not isinstance(self.method.values[number], Planned):
            raise TypeError(f"value {number} has no memory")

    def _check(self, typed: Typed, found: Tensor) -> None:
        """Raises ValueError where a tensor does not fit its value."""
        fits = len(found.shape) == len(typed.shape) and found.dtype == typed.dtype
        sizes = zip(found.shape, typed.shape, strict=False)
        if not fits or not all(one <= most if typed.moves else one == most for one, most in sizes):
            raise ValueError(f"{found.dtype} {tuple(found.shape)} is no {typed.dtype} {typed.shape}")

    def _write(self, number: int, found: Tensor) -> None:
        """Sets a value, in its memory if it has any."""
        typed, value = self._typed(number), self.method.values[number]
        self._check(typed, found)
        if isinstance(value, Planned):
            place = self._place(value, found.shape)
            place.copy_(found)
            found = place
        self.table[number] = found
