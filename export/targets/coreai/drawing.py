"""Functions of an asset: drawn by the code of Core ML packages, traced by torch.export, lowered by Apple's converter.

One piece of code draws a model's graph for both targets: here its builder is torch.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phantom_edge.bundle.part import Port
from phantom_edge.export.targets.coreai.importing import coreai, quiet
from phantom_edge.export.targets.coreai.operators import Operators
from phantom_edge.export.targets.coreml.graph import Array, Drawing, Function, Graph

Draw = Callable[[Graph], Mapping[str, Any]]
PREFIXES = ("coreai.decomposable.", "coreai.")
FILES = ("main.hash", "main.mlirb", "metadata.json")
"""Files inside an asset."""


@dataclass
class Tape:
    """A builder that runs operators on tensors without numbers, and records them.

    Products with constants whose ids are in ``ones`` are left out: Apple's converter multiplies a factor after a
    convolution into its weights, and changes them even where it is 1.
    """

    steps: list[tuple[str, dict[str, Any], list[Tensor]]] = field(default_factory=list)
    ones: set[int] = field(default_factory=set)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operator = getattr(Operators, name)

        def recorded(**given: Any) -> Any:
            if name == "mul" and id(given["y"]) in self.ones:
                return given["x"]
            found = operator(**given)
            self.steps.append((name, given, list(found) if isinstance(found, Sequence) else [found]))
            return found

        return recorded


class TapeGraph(Graph):
    """A function in the making; ``constants`` are its constants, by name."""

    def __init__(self, package: Drawing, inputs: Mapping[str, Tensor]) -> None:
        self.tape = Tape()
        super().__init__(package, self.tape, inputs)
        self.constants: dict[str, Tensor] = {}

    def constant(self, name: str, make: Callable[[], Array]) -> Any:
        """See Graph."""
        if name not in self.constants:
            array = self.package.array(name, make)
            self.constants[name] = torch.from_numpy(array).to("meta")
            if (array == 1).all():
                self.tape.ones.add(id(self.constants[name]))
        return self.constants[name]


class Played(nn.Module):
    """A drawn function as a module, its constants as buffers."""

    def __init__(self, graph: TapeGraph, outputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph, self.outputs = graph, outputs
        for number, name in enumerate(graph.constants):
            self.register_buffer(f"constant_{number}", torch.from_numpy(graph.package.arrays[name]))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Computes the outputs, in the order in which they were drawn."""
        graph = self.graph
        values = dict(zip(map(id, graph.variables.values()), inputs, strict=True))
        values |= dict(zip(map(id, graph.constants.values()), self.buffers(), strict=True))

        def real(one: Any) -> Any:
            if isinstance(one, Tensor):
                return values[id(one)]
            return [real(part) for part in one] if isinstance(one, list | tuple) else one

        for name, given, outputs in graph.tape.steps:
            found = getattr(Operators, name)(**{key: real(one) for key, one in given.items()})
            values |= zip(map(id, outputs), [found] if isinstance(found, Tensor) else found, strict=True)
        return tuple(values[id(one)] for one in self.outputs)


class AssetDrawing(Drawing):
    """An asset in the making."""

    def __init__(self) -> None:  # without coremltools, which a Drawing holds
        self.functions: dict[str, Function] = {}
        self.arrays: dict[str, Array] = {}
        torch_side = coreai("coreai_torch")
        self.converter = torch_side.TorchConverter(mode=torch_side.TorchConverter.Mode.RELEASE)
        self.table = torch_side.get_decomp_table()
        self.converted: Any = None

    def function(self, name: str, inputs: Sequence[Port], states: Sequence[Port], draw: Draw) -> None:
        """See Drawing. Only stored numbers are read here; torch.export then traces the recorded operators."""
        assert not states and self.converted is None
        shapes = [[int(side) for side in port.shape] for port in inputs]
        graph = TapeGraph(
            self,
            {
                port.name: torch.empty(shape, dtype=torch.float16, device="meta")
                for port, shape in zip(inputs, shapes, strict=True)
            },
        )
        found = draw(graph)
        outputs = tuple(Port(output, tuple(one.shape), "float16") for output, one in found.items())
        example = tuple(torch.zeros(shape, dtype=torch.float16) for shape in shapes)
        played = Played(graph, list(found.values())).eval()
        with quiet():
            program = torch.export.export(played, example).run_decompositions(self.table)
        self.converter.add_exported_program(
            program,
            input_names=[port.name for port in inputs],
            output_names=[port.name for port in outputs],
            entrypoint_name=name,
        )
        self.functions[name] = Function(tuple(inputs), (), outputs, {})

    def convert(self) -> None:
        """Lower all functions, and count their operators."""
        with quiet():
            self.converted = self.converter.to_coreai()
        for name, function in self.functions.items():
            kinds = Counter(_kinds(self.converted._get_graph(name)))
            self.functions[name] = Function(function.inputs, (), function.outputs, dict(kinds.most_common()))

    def save(self, path: Path) -> None:
        """Write the asset."""
        with quiet():
            self.converted.save_asset(path)


def _kinds(graph: Any) -> Iterator[str]:
    """Yields the kinds of operators except constants; a call of the asset's own function has that function's name."""
    for operation in graph.bodyRegion.blocks[0].operations:
        name = str(operation.operation.name)
        if name == "coreai.invoke":
            yield str(operation.operation.attributes["callee"]).rpartition("@")[2].rpartition("_")[0]
        elif name not in ("coreai.constant", "coreai.output"):
            yield next(name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix))
