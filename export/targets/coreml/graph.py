"""Functions of a Core ML package drawn operator by operator, with their constants shared by name.

Nothing is traced and no pass rewrites the drawing: the package holds these operators and these numbers.
"""

import io
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from phantom_edge.bundle.numbers import Number
from phantom_edge.bundle.part import Port
from phantom_edge.export.interpreters.mil.importing import coremltools

Array = NDArray[Any]
MODEL = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")
CONVERTED = "com.github.apple.coremltools.conversion_date"
NAMES = uuid.UUID("5a4cf8e0-9c55-4f0b-8f0c-5f1d6c1d7a11")


@dataclass(frozen=True)
class Function:
    """A drawn function's inputs, states, outputs, and number of operators of each kind."""

    inputs: tuple[Port, ...]
    states: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: dict[str, int]


def half(tensor: Tensor) -> Array:
    """Returns a float16 array. Drawn functions compute in no other format."""
    found: Array = tensor.detach().half().contiguous().numpy()
    return found


class Graph:
    """One function in the making; ``mb`` is coremltools' builder, which checks its operators."""

    def __init__(self, package: "Drawing", mb: Any, variables: Mapping[str, Any]) -> None:
        self.package, self.mb, self.variables = package, mb, variables
        self.known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Returns an input or a state."""
        return self.variables[name]

    def constant(self, name: str, make: Callable[[], Array]) -> Any:
        """Returns a constant, made once for all functions of the package."""
        if name not in self.known:
            self.known[name] = self.mb.const(val=self.package.array(name, make), name=identifier(name))
            self.known[name].op.weight_id = name
        return self.known[name]

    def held(self, name: str, tensor: Tensor) -> Any:
        """Returns a float16 constant with values from memory."""
        return self.constant(name, lambda: half(tensor))

    def shared(self, variable: Any, names: Mapping[str, str]) -> Any:
        """Shares inputs of the operator that made ``variable`` with those of these names in other functions."""
        for part, name in names.items():
            getattr(variable.op, part).op.weight_id = name
        return variable


class Drawing:
    """A package in the making, for iOS ``ios`` and the macOS of its year."""

    def __init__(self, ios: int) -> None:
        self.ct = coremltools()
        self.target = getattr(self.ct.target, f"iOS{ios}")
        self.program = self.ct.converters.mil.mil.Program()
        self.functions: dict[str, Function] = {}
        self.arrays: dict[str, Array] = {}

    def array(self, name: str, make: Callable[[], Array]) -> Array:
        """Returns the array of a constant."""
        if name not in self.arrays:
            self.arrays[name] = make()
        return self.arrays[name]

    def arrays_of(self, names: Mapping[str, str], make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
        """Returns several arrays that are made together; ``names`` and the result of ``make`` have the same keys."""
        if any(name not in self.arrays for name in names.values()):
            made = make()
            self.arrays |= {name: made[part] for part, name in names.items()}
        return {part: self.arrays[name] for part, name in names.items()}

    def function(
        self,
        name: str,
        inputs: Sequence[Port],
        states: Sequence[Port],
        draw: Callable[[Graph], Mapping[str, Any]],
    ) -> None:
        """Draw a function; ``draw`` returns its outputs by name."""
        mil, types = self.ct.converters.mil.mil, self.ct.converters.mil.mil.types
        mb = self.ct.converters.mil.Builder
        kinds = {"float16": types.fp16, "float32": types.fp32, "int32": types.int32}
        placeholders = {
            port.name: mb.placeholder(port.shape, dtype=kinds[port.dtype], name=port.name) for port in inputs
        }
        for port in states:
            placeholders[port.name] = mb.state_tensor_placeholder(port.shape, dtype=kinds[port.dtype])
        with mil.Function(placeholders, opset_version=self.target) as function:
            found = draw(Graph(self, mb, function.inputs))
            for output, variable in found.items():
                variable.name = output
            function.set_outputs(list(found.values()))
        self.program.add_function(name, function)
        numbers: dict[Any, Number] = {kind: dtype for dtype, kind in kinds.items()}  # type: ignore[misc]
        outputs = tuple(Port(output, tuple(map(int, one.shape)), numbers[one.dtype]) for output, one in found.items())
        kept = Counter(op.op_type for op in function.operations if op.op_type != "const")
        self.functions[name] = Function(tuple(inputs), tuple(states), outputs, dict(kept.most_common()))

    def weight_bytes(self) -> dict[str, int]:
        """Returns bytes of the constants by number format."""
        found: Counter[str] = Counter()
        for array in self.arrays.values():
            bits = _bits(array)
            found[f"int{bits}" if bits < 8 else str(array.dtype)] += array.size * bits // 8
        return dict(found)

    def save(self, path: Path) -> None:
        """Write the package, the same bytes for the same drawing. The drawing is used up."""
        first = next(iter(self.functions))
        is_one = list(self.functions) == ["main"]
        self.program.default_function_name = first
        self.program.export_as_multifunction = not is_one
        with redirect_stderr(io.StringIO()):  # its progress bars, of passes that do nothing
            self.ct.converters.mil.converter.mil_convert(
                self.program,
                convert_from="milinternal",
                convert_to="mlprogram",
                specification_version=self.target,
                compute_units=self.ct.ComputeUnit.CPU_ONLY,
                main_pipeline=self.ct.PassPipeline.EMPTY,
                skip_model_load=True,
                package_dir=str(path),
                export_multi_functions=not is_one,
            )
        _make_deterministic(path, self.ct)


def _make_deterministic(path: Path, ct: Any) -> None:
    """Order maps of the model, and replace random names of items by fixed ones."""
    model = ct.proto.Model_pb2.Model()
    model.ParseFromString((path / MODEL).read_bytes())
    model.description.metadata.userDefined.pop(CONVERTED, None)
    (path / MODEL).write_bytes(model.SerializeToString(deterministic=True))
    manifest = json.loads((path / "Manifest.json").read_text(encoding="utf-8"))
    names = {old: str(uuid.uuid5(NAMES, entry["path"])).upper() for old, entry in manifest["itemInfoEntries"].items()}
    manifest["itemInfoEntries"] = {
        names[old]: manifest["itemInfoEntries"][old] for old in sorted(names, key=lambda old: names[old])
    }
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    (path / "Manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _bits(array: Array) -> int:
    """Returns the bits of one stored element."""
    metadata: Mapping[str, Any] = array.dtype.metadata or {}
    kind = metadata.get("true_dtype")
    return 8 * array.dtype.itemsize if kind is None else int(kind.get_bitwidth())


def identifier(name: str) -> str:
    """Returns a name with MIL's allowed characters."""
    return name.replace(".", "_")


def port(name: str, shape: Sequence[int], dtype: Number = "float16") -> Port:
    """Returns a port of a fixed shape."""
    return Port(name, tuple(shape), dtype)
