"""Precision of an asset's graph: unchanged, with sums in float32, or in float32 altogether.

Apple's interpreter for Linux sums products of float16 matrices term by term: it rounds every product and every sum, an
error of 1e-2 after a thousand terms. It sums convolutions, norms and softmax in float32. GPUs sum products in float32,
too, so bundles are held to that; the unchanged graph is the strictest reading of float16.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from phantom_edge.export.targets.coreai.importing import coreai

Mode = Literal["fp16", "smooth", "strict"]
"""Products of matrices summed in float32; all in float32; unchanged."""

PRODUCT = "matmul"
ELEMENTS = "coreai._compiler._mlir_libs._coreaiIR._bindings.mlir.dialects.coreai"


def set_mode(program: Any, mode: Mode) -> None:
    """Rewrite a program of an asset so that it computes in ``mode``."""
    if mode == "strict":
        return
    ir = coreai("coreai._compiler.ir")
    module = program._module._mlir_module
    with module.context, ir.Location.unknown():
        Rewriting(ir, module).run(mode)


class Rewriting:
    """Changes a module in place."""

    def __init__(self, ir: Any, module: Any) -> None:
        self.ir, self.module = ir, module
        self.single, self.half = ir.F32Type.get(), ir.F16Type.get()
        self.elements = coreai(ELEMENTS).create_elements_attr

    def run(self, mode: Mode) -> None:
        """See ``set_mode``."""
        if mode == "fp16":
            self._each(self._sum_in_single)
        else:
            self._each(self._widen)
            self._each(self._drop_cast)
            self._each(self._declare)

    def _each(self, change: Callable[[Any], None]) -> None:
        for operation in list(_operations(self.module.operation)):
            change(operation)

    def _sum_in_single(self, operation: Any) -> None:
        if PRODUCT not in operation.name or not self._is_half(operation.results[0].type):
            return
        before = self.ir.InsertionPoint(operation)
        for place, operand in enumerate(list(operation.operands)):
            if self._is_half(operand.type):
                operation.operands[place] = self._cast(operand, self.single, before).results[0]
        self._cast_behind(operation, self.half, of=self.single)

    def _widen(self, operation: Any) -> None:
        if operation.name == "coreai.graph":
            for argument in operation.regions[0].blocks[0].arguments:
                argument.set_type(self._wide(argument.type))
        elif operation.name == "coreai.constant":
            if self._is_half(operation.results[0].type):
                self._widen_constant(operation)
        else:
            for result in operation.results:
                result.set_type(self._wide(result.type))

    def _widen_constant(self, operation: Any) -> None:
        """Replaces a constant by one in float32; after a cast Apple's compiler takes numbers below 2^-14 for 0."""
        value, result = operation.attributes["value"], operation.results[0]
        wide, location = self._wide(result.type), self.ir.Location.unknown()
        array = np.array(value) if isinstance(value, self.ir.DenseElementsAttr) else self._blob(operation)
        elements = self.elements(location, wide, array.astype(np.float32).reshape(wide.shape))
        before = self.ir.InsertionPoint(operation)
        made = self.ir.Operation.create(operation.name, results=[wide], attributes={"value": elements}, ip=before)
        result.replace_all_uses_with(made.results[0])
        operation.erase()

    def _blob(self, operation: Any) -> NDArray[np.float16]:
        """Returns the numbers of a constant outside its graph: only its printed form holds them, after 4 bytes."""
        alone = self.ir.Module.create()
        operation.clone(ip=self.ir.InsertionPoint(alone.body))
        (printed,) = re.findall(r': "0x([0-9A-Fa-f]+)"', str(alone))
        return np.frombuffer(bytes.fromhex(printed)[4:], np.float16)

    def _drop_cast(self, operation: Any) -> None:
        if operation.name == "coreai.cast" and operation.operands[0].type == operation.results[0].type:
            operation.results[0].replace_all_uses_with(operation.operands[0])
            operation.erase()

    def _declare(self, operation: Any) -> None:
        """Declare the types of a graph's inputs and outputs."""
        if operation.name != "coreai.graph":
            return
        ir = self.ir
        known = ir.TypeAttr(operation.attributes["function_type"]).value
        sides = ([self._wide(one) for one in side] for side in (known.inputs, known.results))
        operation.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(*sides))

    def _cast_behind(self, operation: Any, kind: Any, of: Any = None) -> None:
        """Cast an operation's result to ``kind`` for all its readers; the operation itself computes in ``of``."""
        result = operation.results[0]
        if of is not None:
            result.set_type(self.ir.RankedTensorType.get(result.type.shape, of))
        cast = self._cast(result, kind, self.ir.InsertionPoint.after(operation))
        result.replace_all_uses_except(cast.results[0], cast)

    def _cast(self, value: Any, kind: Any, place: Any) -> Any:
        found = self.ir.RankedTensorType.get(value.type.shape, kind)
        return self.ir.Operation.create("coreai.cast", results=[found], operands=[value], ip=place)

    def _is_half(self, kind: Any) -> bool:
        return isinstance(kind, self.ir.RankedTensorType) and self.ir.F16Type.isinstance(kind.element_type)

    def _wide(self, kind: Any) -> Any:
        return self.ir.RankedTensorType.get(kind.shape, self.single) if self._is_half(kind) else kind


def _operations(parent: Any) -> Iterator[Any]:
    for region in parent.regions:
        for block in region.blocks:
            for one in list(block.operations):
                yield one.operation
                yield from _operations(one.operation)
