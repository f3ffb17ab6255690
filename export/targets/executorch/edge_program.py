"""Lowering of torch modules to one ExecuTorch program, with parts in delegates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from phantom_edge.export.interpreters.pte.importing import executorch
from phantom_edge.foundation.captured import captured_stderr
from phantom_edge.foundation.quiet import quiet

Step = Callable[[int], None]


@dataclass(frozen=True)
class Method:
    """A module, example inputs, and the dimensions that differ from run to run (argument, axis)."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    moving: tuple[tuple[int, int], ...] = ()
    most: int = 1
    """Maximum of a moving dimension."""


def lowered(
    methods: Mapping[str, Method],
    partitioners: Sequence[Any],
    constants: Mapping[str, Any],
    step: Step,
    *,
    traced: bool,
) -> Any:
    """Returns ExecuTorch's EdgeProgramManager, with parts in delegates; ``step`` counts each method, and once more.

    ``traced``: the program keeps the records by which profiles are read.
    """
    exir = executorch()
    programs = {}
    for name, method in methods.items():
        with quiet(), torch.no_grad():
            programs[name] = torch.export.export(
                method.module.eval(), method.inputs, dynamic_shapes=_dynamic(method), strict=False
            )
        step(1)
    with quiet(), captured_stderr():  # coremltools draws its own bars
        edge = exir.to_edge_transform_and_lower(
            programs,
            partitioner={name: list(partitioners) for name in programs},
            constant_methods=dict(constants),
            compile_config=exir.EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
            generate_etrecord=traced,
        )
    step(1)
    return edge


def _dynamic(method: Method) -> tuple[dict[int, Any] | None, ...]:
    tokens = torch.export.Dim("tokens", min=1, max=method.most) if method.moving else None
    found: list[dict[int, Any]] = [{} for _ in method.inputs]
    for argument, axis in method.moving:
        found[argument][axis] = tokens
    return tuple(one or None for one in found)


def assembled(edge: Any) -> Any:
    """ExecuTorch's ExecutorchProgramManager."""
    exir, passes = executorch(), executorch("executorch.exir.passes")
    shapes = executorch("executorch.exir.passes.sym_shape_eval_pass")
    with quiet():
        return edge.to_executorch(
            exir.ExecutorchBackendConfig(
                extract_delegate_segments=True,
                memory_planning_pass=passes.MemoryPlanningPass(alloc_graph_input=False),
                sym_shape_eval_pass=shapes.ConstraintBasedSymShapeEvalPass(),
            )
        )
