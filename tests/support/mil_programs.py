"""ML programs built with coremltools, for tests of the interpreter."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phantom_edge.export.interpreters.mil import Interpreter, Package
from phantom_edge.export.interpreters.mil.importing import coremltools

ct = coremltools()
mil = coremltools("coremltools.converters.mil.mil")
convert = coremltools("coremltools.converters.mil.converter").mil_convert
mb, types = mil.Builder, mil.types

TARGETS = {15: ct.target.iOS15, 16: ct.target.iOS16, 17: ct.target.iOS17, 18: ct.target.iOS18}
Body = Callable[..., Any]
Shapes = Mapping[str, tuple[tuple[int, ...], Any]]
FP16, FP32, INT32 = types.fp16, types.fp32, types.int32


def function(inputs: Shapes, body: Body, ios: int = 18, states: Shapes | None = None) -> Any:
    """A function whose outputs are what ``body`` returns; inputs and states are its keyword arguments."""
    ports = {name: mb.placeholder(shape, dtype=dtype, name=name) for name, (shape, dtype) in inputs.items()}
    for name, (shape, dtype) in (states or {}).items():
        ports[name] = mb.state_tensor_placeholder(shape, dtype=dtype)
    with mil.Function(ports, opset_version=TARGETS[ios]) as made:
        found = body(**made.inputs)
        made.set_outputs(list(found) if isinstance(found, Sequence) else [found])
    return made


def save(path: Path, functions: Mapping[str, Any], ios: int = 18) -> Path:
    """Save functions as a package, without any pass of coremltools."""
    program = mil.Program()
    for name, one in functions.items():
        program.add_function(name, one)
    several = set(functions) != {"main"}
    if several:
        program.default_function_name, program.export_as_multifunction = next(iter(functions)), True
    convert(
        program,
        convert_from="milinternal",
        convert_to="mlprogram",
        specification_version=TARGETS[ios],
        compute_units=ct.ComputeUnit.CPU_ONLY,
        main_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
        package_dir=str(path),
        export_multi_functions=several,
    )
    return path


def package(path: Path, inputs: Shapes, body: Body, ios: int = 18, states: Shapes | None = None) -> Package:
    """Save and open a package of one function."""
    return Package.open(save(path, {"main": function(inputs, body, ios, states)}, ios))


def only(found: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The only output."""
    (tensor,) = found.values()
    return tensor


def converted(
    path: Path,
    module: torch.nn.Module,
    example: Sequence[torch.Tensor],
    front: str,
    states: Sequence[Any] | None = None,
) -> Interpreter:
    """Convert a torch module by a front end of coremltools, trace or export; in float32 unless it has ``states``.

    Under export, the states are the module's buffers, and ``states`` only says that there are some.
    """
    options: dict[str, Any] = {
        "convert_to": "mlprogram",
        "minimum_deployment_target": ct.target.iOS18,
        "compute_precision": ct.precision.FLOAT32 if states is None else ct.precision.FLOAT16,
        "skip_model_load": True,
    }
    module = module.eval()
    if front == "trace":
        options["inputs"] = [
            ct.TensorType(shape=tuple(one.shape), dtype=np.int32 if one.dtype == torch.int32 else np.float32)
            for one in example
        ]
        options["states"] = states
        program = torch.jit.trace(module, tuple(example), check_trace=False)
    else:
        program = torch.export.export(module, tuple(example)).run_decompositions({})
    ct.convert(program, **options).save(str(path))
    return Interpreter(Package.open(path))


def run(interpreter: Interpreter, *inputs: torch.Tensor, states: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    """Run a function of one output, with its inputs in order."""
    names = [one.name for one in interpreter.function.inputs]
    return only(interpreter.run(dict(zip(names, inputs, strict=True)), states))
