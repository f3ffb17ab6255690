"""An ML program: functions, operations and constants, parsed once from protobuf.

The protobuf messages are those of ``MIL.proto`` in coremltools.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from phantom_edge.export.interpreters.mil.blobs import AGAIN, Blob, Blobs
from phantom_edge.export.interpreters.mil.formats import BY_PROTO, FORMATS, Format, bytes_of, unpacked
from phantom_edge.foundation.errors import EdgeError

Shape = tuple[int | None, ...]
"""Sizes of dimensions; None where a size may differ from run to run."""

CONST = "const"
RANKS = 8
"""Maximum number of dimensions of a tensor."""

FIELDS: dict[str, DTypeLike] = {"floats": "<f4", "doubles": "<f8", "ints": "<i4", "longInts": "<i8", "bools": np.bool_}
"""Repeated fields of immediate values, and their number formats."""


@dataclass(frozen=True)
class Typed:
    """A named value with its number format (such as "float16") and shape."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True)
class InFile:
    """Numbers in a weight file."""

    file: Blobs
    blob: Blob


@dataclass(frozen=True)
class Constant:
    """Constant numbers, or one string. ``name`` is empty for one written where it is used."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: InFile | bytes | str

    @property
    def number(self) -> Format:
        """Number format."""
        return FORMATS[self.dtype]

    @property
    def count(self) -> int:
        """Count of numbers."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in the package, bytes."""
        return bytes_of(self.number, self.count)

    @property
    def is_in_file(self) -> bool:
        """True where it is in the weight file, not in the program."""
        return isinstance(self.source, InFile)

    def array(self) -> NDArray[Any]:
        """The stored numbers: integers of fewer than 8 bits in 8, bfloat16 in float32. Not for strings."""
        assert not isinstance(self.source, str), self
        if isinstance(self.source, InFile):
            found = self.source.file.read(self.source.blob, self.number, self.count)
        else:
            found = unpacked(np.frombuffer(self.source, np.uint8), self.number, self.count)
        return found.reshape(self.shape)


@dataclass(frozen=True)
class Operation:
    """One operation. Its inputs are names of other values, or constants; attributes count as inputs.

    A ``const`` is an operation too, with the input "val".
    """

    type: str
    name: str
    inputs: Mapping[str, tuple[str | Constant, ...]]
    outputs: tuple[Typed, ...]
    has_blocks: bool = False  # loops and branches hold programs of their own, which are not read

    def __str__(self) -> str:
        return f"{self.type} '{self.name}'"


@dataclass(frozen=True)
class Function:
    """A function of a program. ``opset`` is 5 for iOS 15, 6 for 16, 7 for 17 and 8 for 18."""

    name: str
    opset: int
    inputs: tuple[Typed, ...]
    outputs: tuple[Typed, ...]
    states: tuple[Typed, ...]
    operations: tuple[Operation, ...]


Files = Callable[[str], Blobs]
"""Opens a weight file by its name in the program."""


def read_function(name: str, message: Any, files: Files) -> Function:
    """Reads a function from its protobuf message. Raises EdgeError for an invalid one."""
    place = f"function '{name}'"
    if message.opset not in message.block_specializations:
        raise EdgeError(f"{place} has no block for its opset {message.opset!r}", AGAIN)
    opset = message.opset.removeprefix("CoreML")
    if not opset.isdecimal() or not opset.isascii() or len(opset) > 3:
        raise EdgeError(f"{place} has the unknown opset {message.opset!r}", AGAIN)
    block = message.block_specializations[message.opset]
    if block.inputs:
        raise EdgeError(f"{place} has inputs of its block, which are not read", AGAIN)
    inputs: list[Typed] = []
    states: list[Typed] = []
    for one in message.inputs:
        is_state = one.type.WhichOneof("type") == "stateType"
        kind = one.type.stateType.wrappedType if is_state else one.type
        (states if is_state else inputs).append(_typed(one.name, kind, f"{place}, input '{one.name}'"))
    reader = _Block(place, files, {one.name: one for one in (*inputs, *states)})
    if len(reader.known) != len(inputs) + len(states):
        raise EdgeError(f"{place} has two inputs of one name", AGAIN)
    operations = tuple(reader.operation(one) for one in block.operations)
    missing = [one for one in block.outputs if one not in reader.known]
    if missing:
        raise EdgeError(f"{place} should return '{missing[0]}', which nothing computes", AGAIN)
    outputs = tuple(reader.known[one] for one in block.outputs)
    return Function(name, int(opset), tuple(inputs), outputs, tuple(states), operations)


class _Block:
    """Reads operations in order, and substitutes the constants that precede them."""

    def __init__(self, place: str, files: Files, known: dict[str, Typed]) -> None:
        self.place, self.files, self.known = place, files, known
        self.constants: dict[str, Constant] = {}

    def operation(self, message: Any) -> Operation:
        """Reads one operation, and adds its outputs to the known values."""
        shown: InFile | bytes | str = ""
        if "name" in message.attributes:
            shown = self._constant("", message.attributes["name"], self.place).source
        if not isinstance(shown, str):
            raise EdgeError(f"{self.place} has a {message.type} whose name is no string", AGAIN)
        shown = shown or (message.outputs[0].name if message.outputs else "")
        place = f"{self.place}, {message.type} '{shown}'"
        called = message.outputs[0].name if message.type == CONST and message.outputs else ""
        inputs: dict[str, tuple[str | Constant, ...]] = {
            key: (self._constant(called, value, place),) for key, value in message.attributes.items() if key != "name"
        }
        for key, argument in message.inputs.items():
            if key in inputs:
                raise EdgeError(f"{place} has '{key}' both as input and as attribute", AGAIN)
            inputs[key] = tuple(self._binding(one, place) for one in argument.arguments)
        outputs = tuple(_typed(one.name, one.type, place) for one in message.outputs)
        for one in outputs:
            if one.name in self.known:
                raise EdgeError(f"{place} computes '{one.name}' for the second time", AGAIN)
            self.known[one.name] = one
        if message.type == CONST:
            self._remember(inputs, outputs, place)
        return Operation(message.type, shown, inputs, outputs, bool(message.blocks))

    def _remember(self, inputs: dict[str, tuple[str | Constant, ...]], outputs: tuple[Typed, ...], place: str) -> None:
        value = inputs.get("val", ())
        if set(inputs) != {"val"} or len(value) != 1 or not isinstance(value[0], Constant) or len(outputs) != 1:
            raise EdgeError(f"{place} does not hold one value", AGAIN)
        if (value[0].dtype, value[0].shape) != (outputs[0].dtype, outputs[0].shape):
            raise EdgeError(f"{place} is declared otherwise than its value", AGAIN)
        self.constants[outputs[0].name] = value[0]

    def _binding(self, binding: Any, place: str) -> str | Constant:
        if binding.WhichOneof("binding") == "value":
            return self._constant("", binding.value, place)
        name: str = binding.name
        if name not in self.known:
            raise EdgeError(f"{place} reads '{name}', which nothing before it computes", AGAIN)
        return self.constants.get(name, name)

    def _constant(self, name: str, value: Any, place: str) -> Constant:
        kind = _typed(name, value.type, place)
        number, shape = FORMATS[kind.dtype], kind.shape
        fixed = tuple(size for size in shape if size is not None)
        if len(fixed) != len(shape):
            raise EdgeError(f"{place} holds a constant of unknown shape", AGAIN)
        count = math.prod(fixed)
        source: InFile | bytes | str
        if value.WhichOneof("value") == "blobFileValue":
            file = self.files(value.blobFileValue.fileName)
            source = InFile(file, file.find(value.blobFileValue.offset, number, count, name or place))
        else:
            source = _immediate(value, number, count, place)
        return Constant(name, kind.dtype, fixed, source)


def _immediate(value: Any, number: Format, count: int, place: str) -> bytes | str:
    if value.WhichOneof("value") != "immediateValue" or value.immediateValue.WhichOneof("value") != "tensor":
        raise EdgeError(f"{place} holds a constant that is no tensor", AGAIN)
    tensor = value.immediateValue.tensor
    field = tensor.WhichOneof("value")
    if number.name == "string":
        if field != "strings" or count != 1 or len(tensor.strings.values) != 1:
            raise EdgeError(f"{place} holds {count} strings where one is read", AGAIN)
        text: str = tensor.strings.values[0]
        return text
    if field == "bytes":
        data: bytes = tensor.bytes.values
    elif field in FIELDS:
        numbers = np.array(getattr(tensor, field).values, FIELDS[field])
        data = _as_declared(numbers, number, place).tobytes()
    else:
        raise EdgeError(f"{place} holds a constant without numbers", AGAIN)
    if len(data) != bytes_of(number, count):
        raise EdgeError(f"{place} holds {len(data)} bytes, not those of {count} numbers of {number.name}", AGAIN)
    return data


def _as_declared(numbers: NDArray[Any], number: Format, place: str) -> NDArray[Any]:
    """Converts numbers of a repeated field to the declared format. Raises EdgeError where that alters integers."""
    if number.bits < 8 or number.name == "bfloat16":
        raise EdgeError(f"{place} holds {number.name} that is not packed", AGAIN)
    with np.errstate(over="ignore", invalid="ignore"):
        found = numbers.astype(number.array)
    if not number.is_float and not np.array_equal(found, numbers):
        raise EdgeError(f"{place} holds numbers outside {number.name}", AGAIN)
    return found


def _typed(name: str, message: Any, place: str) -> Typed:
    if message.WhichOneof("type") != "tensorType":
        raise EdgeError(f"{place} has a {message.WhichOneof('type') or 'missing type'}, not a tensor", AGAIN)
    tensor = message.tensorType
    if tensor.dataType not in BY_PROTO:
        raise EdgeError(f"{place} has the unknown number format {tensor.dataType}", AGAIN)
    if tensor.rank != len(tensor.dimensions) or tensor.rank > RANKS:
        raise EdgeError(f"{place} has rank {tensor.rank} and {len(tensor.dimensions)} dimensions", AGAIN)
    shape: list[int | None] = []
    for one in tensor.dimensions:
        if one.WhichOneof("dimension") == "constant":
            if one.constant.size >= 2**40:
                raise EdgeError(f"{place} has a dimension of {one.constant.size}", AGAIN)
            shape.append(one.constant.size)
        elif one.unknown.variadic:
            raise EdgeError(f"{place} has a shape of unknown rank", AGAIN)
        else:
            shape.append(None)
    return Typed(name, BY_PROTO[tensor.dataType].name, tuple(shape))
