"""Runs a function of an ML program with torch, operation by operation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from phantom_edge.export.interpreters.mil.blobs import AGAIN
from phantom_edge.export.interpreters.mil.call import REMEDY, Call, Kernel, Notes
from phantom_edge.export.interpreters.mil.constants import Constants
from phantom_edge.export.interpreters.mil.constexpr import CONSTEXPR
from phantom_edge.export.interpreters.mil.formats import FORMATS
from phantom_edge.export.interpreters.mil.hazards import Hazards
from phantom_edge.export.interpreters.mil.operations import MOVES, OPS
from phantom_edge.export.interpreters.mil.package import Package
from phantom_edge.export.interpreters.mil.program import CONST, Constant, Function, Operation, Shape, Typed
from phantom_edge.foundation.errors import EdgeError

Mode = Literal["exact", "smooth", "fp16", "strict"]
"""exact: every float is a float32, weights are as stored. smooth: also, ``quantize`` only clamps and does not round, so
that two equivalent functions do not differ by their roundings. fp16: float16 results are rounded after each operation.
strict: also inside softmax, attention, norms, gelu and sums, these in partial sums of 32."""

WRITE, QUANTIZE = "write_state", "quantize"
INPUTS = f"check the inputs; if they are right, {AGAIN}"
FAILURES = (RuntimeError, ValueError, IndexError, TypeError, OverflowError, AssertionError)
"""Exceptions, torch's and our own ``Refused``, where tensors do not fit an operation."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: indices of its tensors and its results among all values, and of values that are dead after it."""

    kernel: Kernel
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    declared: tuple[tuple[int | None, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    rounds: bool
    dead: tuple[int, ...]
    operation: Operation
    notes: Notes | None


class Interpreter:
    """A function of a package, compiled once. Raises EdgeError for operations and parameters that are not understood.

    ``watch`` collects float16 hazards of every run, which takes about as long as the run itself.
    """

    def __init__(
        self, package: Package, function: str | None = None, mode: Mode = "exact", watch: Hazards | None = None
    ) -> None:
        if mode not in get_args(Mode):
            raise EdgeError(f"the mode {mode!r} is not known", f"choose one of: {', '.join(get_args(Mode))}")
        self.package, self.mode, self.watch = package, mode, watch
        self.is_half = mode in ("fp16", "strict")
        self.function: Function = package.function(function)
        self.values: list[Tensor | None] = []
        self.places: dict[object, int] = {}
        self.constants = Constants(package, self.function, rounds=self.is_half)
        try:
            self.steps = self._compiled()
        except (*FAILURES, KeyError) as error:
            raise EdgeError(f"{package.path}, function '{self.function.name}': {_line(error)}", AGAIN) from error

    def states(self) -> dict[str, Tensor]:
        """Fresh states, filled with zeros."""
        return {one.name: torch.zeros(_fixed(one), dtype=FORMATS[one.dtype].tensor) for one in self.function.states}

    @torch.no_grad()
    def run(self, inputs: Mapping[str, Tensor], states: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Computes the outputs. Replaces ``states``' tensors by the new states; after an error, keeps the old ones.

        Floats are float32 in every mode. Raises EdgeError for wrong inputs, and for an operation that fails or returns
        another shape than declared.
        """
        given = {} if states is None else states
        self._check_names(inputs, self.function.inputs, "input")
        self._check_names(given, self.function.states, "state")
        values = list(self.values)
        for declared in (*self.function.inputs, *self.function.states):
            tensor = inputs[declared.name] if declared.name in inputs else given[declared.name]
            values[self.places[declared.name]] = self._given(declared, tensor)
        for step in self.steps:
            self._step(step, values)
        found = {one.name: _there(values[self.places[one.name]]) for one in self.function.outputs}
        for one in self.function.states:
            given[one.name] = _there(values[self.places[one.name]])
        return found

    def _step(self, step: Step, values: list[Tensor | None]) -> None:
        taken = [values[place] for place in step.takes]
        try:
            found = step.kernel(*taken)
        except FAILURES as error:
            raise EdgeError(f"{step.operation} cannot be computed: {_line(error)}", INPUTS) from error
        results: tuple[Tensor, ...] = found if isinstance(found, tuple) else (found,)
        if len(results) != len(step.gives):
            raise EdgeError(f"{step.operation} gives {len(results)} tensors, {len(step.gives)} are declared", AGAIN)
        for number, place in enumerate(step.gives):
            result = results[number]
            if result.shape != step.declared[number] and not _fits(result.shape, step.declared[number]):
                shapes = f"{tuple(result.shape)}, but {step.declared[number]} is declared"
                raise EdgeError(f"{step.operation} gives the shape {shapes}", AGAIN)
            if result.dtype is not step.dtypes[number]:
                dtypes = f"{result.dtype}, but {step.dtypes[number]} is declared"
                raise EdgeError(f"{step.operation} gives {dtypes}", AGAIN)
            values[place] = result.half().float() if step.rounds and _is_half(step.operation, number) else result
        if step.notes is not None:
            self._note(step, taken, results)
        for place in step.dead:
            values[place] = None

    def _note(self, step: Step, taken: Iterable[Tensor | None], results: Iterable[Tensor]) -> None:
        assert self.watch is not None and step.notes is not None
        if step.operation.type in MOVES:
            return
        halves = [(tensor, _is_half(step.operation, number)) for number, tensor in enumerate(results)]
        inputs = [one for one in taken if one is not None]
        self.watch.observe(step.operation.name, step.operation.type, inputs, halves, step.notes)

    def _given(self, declared: Typed, tensor: Tensor) -> Tensor:
        number = FORMATS[declared.dtype]
        if not _fits(tensor.shape, declared.shape):
            shapes = f"has shape {tuple(tensor.shape)}, not {declared.shape}"
            raise EdgeError(f"'{declared.name}' of function '{self.function.name}' {shapes}", "give it that shape")
        if tensor.is_floating_point() != number.is_float or number.tensor is None:
            raise EdgeError(f"'{declared.name}' is {tensor.dtype}, not {declared.dtype}", "convert it")
        tensor = tensor.to(number.tensor)
        return tensor.half().float() if self.is_half and declared.dtype == "float16" else tensor

    def _check_names(self, given: Mapping[str, Tensor], declared: tuple[Typed, ...], what: str) -> None:
        names = {one.name for one in declared}
        odd = sorted(names.symmetric_difference(given))
        if odd:
            place = f"function '{self.function.name}' of {self.package.path}"
            problem = f"{place} needs {what} '{odd[0]}'" if odd[0] in names else f"{place} has no {what} '{odd[0]}'"
            raise EdgeError(problem, f"give exactly: {', '.join(sorted(names)) or 'none'}")

    def _compiled(self) -> tuple[Step, ...]:
        function = self.function
        known = {one.name: one for one in (*function.inputs, *function.states)}
        for one in known:
            self._place(one)
        steps = []
        for operation in function.operations:
            known |= {one.name: one for one in operation.outputs}
            if operation.type == CONST:
                self._return_constant(operation)
            elif operation.type not in CONSTEXPR:
                steps.append(self._compile(operation, known))
        return self._freed(steps)

    def _return_constant(self, operation: Operation) -> None:
        """Places a constant that is an output; other constants are placed by the operations that take them."""
        (value,) = operation.inputs["val"]
        if operation.outputs[0] in self.function.outputs:
            self.places[operation.outputs[0].name] = self._place(value)

    def _compile(self, operation: Operation, known: Mapping[str, Typed]) -> Step:
        if operation.has_blocks or operation.type not in OPS:
            raise EdgeError(f"the operation {operation} is not known to the interpreter", REMEDY)
        notes = None if self.watch is None else Notes()
        call = Call(operation, self.function.opset, known, self.mode, notes)
        kernel = OPS[operation.type](call)
        call.finish()
        outputs = operation.outputs
        if operation.type == WRITE:
            state = call.single("input")
            if not isinstance(state, str) or known[state] not in self.function.states or outputs:
                raise call.refuse("it does not write a state")
            outputs = (known[state],)
        dtypes = []
        for one in outputs:
            dtype = FORMATS[one.dtype].tensor
            if dtype is None:
                raise call.refuse(f"it gives {one.dtype}")
            dtypes.append(torch.float32 if call.is_smooth and operation.type == QUANTIZE else dtype)
        takes = tuple(self._place(one) for one in call.arguments)
        gives = tuple(self._place(one.name) for one in outputs)
        declared = tuple(one.shape for one in outputs)
        moves = operation.type in MOVES and all(_is_half_argument(one, known) for one in call.arguments)
        rounds = self.is_half and not moves and any(one.dtype == "float16" for one in operation.outputs)
        return Step(kernel, takes, gives, declared, tuple(dtypes), rounds, (), operation, notes)

    def _place(self, value: str | Constant) -> int:
        """Index of a value, which is filled at once where it is constant."""
        is_constant = isinstance(value, Constant) or value in self.constants
        key: object = id(value) if isinstance(value, Constant) else value
        if key not in self.places:
            self.places[key] = len(self.values)
            self.values.append(self.constants.tensor(value) if is_constant else None)
        return self.places[key]

    def _freed(self, steps: list[Step]) -> tuple[Step, ...]:
        """The steps, each with the values that are dead after it."""
        needed = {self._place(one.name) for one in (*self.function.outputs, *self.function.states)}
        needed |= {place for place, value in enumerate(self.values) if value is not None}
        found = []
        for step in reversed(steps):
            dead = (set(step.takes) | set(step.gives)) - needed
            needed |= dead
            found.append(replace(step, dead=tuple(dead)))
        return tuple(reversed(found))


def _there(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _is_half(operation: Operation, number: int) -> bool:
    return number < len(operation.outputs) and operation.outputs[number].dtype == "float16"


def _is_half_argument(value: str | Constant, known: Mapping[str, Typed]) -> bool:
    dtype = value.dtype if isinstance(value, Constant) else known[value].dtype
    return dtype == "float16" or not FORMATS[dtype].is_float


def _fits(shape: torch.Size, declared: Shape) -> bool:
    return len(shape) == len(declared) and all(
        wanted is None or size == wanted for size, wanted in zip(shape, declared, strict=True)
    )


def _fixed(state: Typed) -> tuple[int, ...]:
    sizes = tuple(one for one in state.shape if one is not None)
    if len(sizes) != len(state.shape):
        raise EdgeError(f"state '{state.name}' has no fixed shape", AGAIN)
    return sizes


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
