"""Operations for lint rules, with the formats and shapes of all inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from phantom_edge.export.interpreters.mil import Constant, Function, Operation, Package, Typed
from phantom_edge.export.interpreters.mil.program import CONST, InFile

Value = Typed | Constant
COMPRESSED = "constexpr_"
POSITIONS = {"begin", "end", "size", "stride", "indices", "shape", "reps", "axes", "axis", "pad", "perm", "k"}
"""Parameters that are places and counts, not data."""


@dataclass(frozen=True)
class Place:
    """An operation's surroundings: bytes of the package's weights, and whether its function keeps state."""

    weight_bytes: int
    has_states: bool


@dataclass(frozen=True)
class Node:
    """One operation. ``weights`` are the operations that decode its compressed weights, by the parameter they fill."""

    type: str
    name: str
    reads: Mapping[str, tuple[Value, ...]]
    outputs: tuple[Typed, ...]
    weights: Mapping[str, "Node"]
    place: Place

    def __str__(self) -> str:
        return f"{self.type} '{self.name}'"

    def value(self, parameter: str) -> Value | None:
        """Returns a parameter's only value, None where it is left out."""
        found = self.reads.get(parameter, ())
        return found[0] if len(found) == 1 else None

    def numbers(self, parameter: str) -> tuple[int, ...] | None:
        """Returns a parameter's constant integers, None where it has none."""
        found = self.value(parameter)
        if not isinstance(found, Constant) or isinstance(found.source, str):
            return None
        return tuple(int(number) for number in found.array().reshape(-1))

    def is_fixed(self, parameter: str) -> bool:
        """True where a parameter is a weight: the program holds it."""
        return isinstance(self.value(parameter), Constant) or parameter in self.weights

    @property
    def data(self) -> tuple[Typed, ...]:
        """Returns run-time tensors: inputs and outputs without weights."""
        read = [
            value
            for parameter, values in self.reads.items()
            if parameter not in POSITIONS and parameter not in self.weights
            for value in values
            if isinstance(value, Typed)
        ]
        return (*read, *self.outputs)


def nodes(package: Package, function: Function) -> Iterator[Node]:
    """Yields a function's operations at run time; constants and their decoders are inside the nodes that read them."""
    place = Place(weight_bytes(package), bool(function.states))
    known: dict[str, Typed] = {one.name: one for one in (*function.inputs, *function.states)}
    decoding: dict[str, Node] = {}
    for operation in function.operations:
        if operation.type == CONST:
            continue
        node = _node(operation, known, decoding, place)
        known |= {one.name: one for one in operation.outputs}
        if operation.type.startswith(COMPRESSED):
            decoding |= {one.name: node for one in operation.outputs}
        else:
            yield node


def _node(operation: Operation, known: Mapping[str, Typed], decoding: Mapping[str, Node], place: Place) -> Node:
    reads = {
        parameter: tuple(known[value] if isinstance(value, str) else value for value in values)
        for parameter, values in operation.inputs.items()
    }
    weights = {
        parameter: decoding[value]
        for parameter, values in operation.inputs.items()
        for value in values
        if isinstance(value, str) and value in decoding
    }
    return Node(operation.type, operation.name, reads, operation.outputs, weights, place)


def weight_bytes(package: Package) -> int:
    """Returns the bytes of all functions' weights, each counted once."""
    found = {
        (str(value.source.file.path), value.source.blob.offset): value.bytes
        for function in package.functions.values()
        for operation in function.operations
        for values in operation.inputs.values()
        for value in values
        if isinstance(value, Constant) and isinstance(value.source, InFile)
    }
    return sum(found.values())
