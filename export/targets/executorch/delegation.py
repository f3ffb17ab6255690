"""Operators of a lowered method that run in its delegate, and their share of the work."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from phantom_edge.bundle.part import Delegation

CALL = "executorch_call_delegate"
FUSED = "auto_functionalized"
"""Wrapper of an operator that writes into a buffer; its first argument is the operator."""


@dataclass
class Counted:
    """Operators by name, and their multiply-adds."""

    operators: Counter[str] = field(default_factory=Counter)
    work: Counter[str] = field(default_factory=Counter)

    def add(self, node: Any) -> None:
        """Counts an operator, unless it makes no tensor."""
        name = name_of(node)
        if name:
            self.operators[name] += 1
            self.work[name] += multiply_adds(name, node)


def delegation_of(program: Any, backend: str) -> Delegation:
    """Measures the delegation of a method's edge program, for one token with a full cache."""
    inside, outside, calls = Counted(), Counted(), 0
    module = program.graph_module
    for node in _called(module):
        if CALL not in str(node.target):
            outside.add(node)
            continue
        calls += 1
        for own in _called(getattr(module, node.args[0].target).original_module.graph_module):
            inside.add(own)
    left = {name: count for name, count in sorted(outside.operators.items(), key=lambda pair: (-pair[1], pair[0]))}
    return Delegation(
        backend=backend,
        subgraphs=calls,
        delegated=inside.operators.total(),
        outside=left,
        multiply_adds=inside.work.total() + outside.work.total(),
        multiply_adds_outside={name: work for name, work in outside.work.items() if work},
    )


def operators_of(program: Any) -> dict[str, int]:
    """Counts all operators of a method's edge program by name, in delegates and outside."""
    found, module = Counted(), program.graph_module
    for node in _called(module):
        if CALL in str(node.target):
            for own in _called(getattr(module, node.args[0].target).original_module.graph_module):
                found.add(own)
        else:
            found.add(node)
    return dict(found.operators)


def _called(module: Any) -> Iterator[Any]:
    return (node for node in module.graph.nodes if node.op == "call_function")


def name_of(node: Any) -> str:
    """Returns an operator's name without its namespace; "" where it computes no tensor or only keeps books."""
    target = node.target
    if FUSED in str(target):
        target = node.args[0]
    said = str(getattr(target, "_name", "") or getattr(target, "__name__", target))
    if said == "getitem" or not _makes_tensors(node.meta.get("val")):
        return ""
    return said.rpartition("::")[2].partition(".")[0] if "::" in said else said.split(".")[-2] if "." in said else said


def _makes_tensors(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_makes_tensors(one) for one in value)
    return hasattr(value, "dtype") and hasattr(value, "shape")


def multiply_adds(name: str, node: Any) -> int:
    """Counts an operator's multiply-adds; a dimension that differs from run to run counts as one."""
    shapes = [_shape(arg) for arg in node.args]
    match name:
        case "linear" | "mm" | "bmm" | "matmul":
            return math.prod(_sizes(node.meta["val"].shape)) * shapes[0][-1]
        case "addmm":
            return math.prod(_sizes(node.meta["val"].shape)) * shapes[1][-1]
        case "convolution" | "conv2d":
            return math.prod(_sizes(node.meta["val"].shape)) * math.prod(shapes[1][1:])
        case "custom_sdpa" if node.args[4] is not None or node.args[6]:
            return 2 * math.prod(shapes[0]) * shapes[1][1]  # heads as tokens do the work of the call beside them
        case _:
            return 0


def _shape(argument: Any) -> list[int]:
    value: Any = getattr(argument, "meta", {}).get("val")
    return _sizes(value.shape) if _makes_tensors(value) else []


def _sizes(shape: Any) -> list[int]:
    return [size if isinstance(size, int) else 1 for size in shape]
