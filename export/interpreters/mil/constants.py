"""Constants of a function as tensors, decoded once for all interpreters of a package."""

import torch
from torch import Tensor

from phantom_edge.export.interpreters.mil.blobs import AGAIN
from phantom_edge.export.interpreters.mil.constexpr import CONSTEXPR, decode
from phantom_edge.export.interpreters.mil.package import Package
from phantom_edge.export.interpreters.mil.program import Constant, Function, InFile, Operation
from phantom_edge.foundation.errors import EdgeError


class Constants:
    """Tensors of constants and of compressed weights; with ``rounds``, those declared float16 are rounded to it."""

    def __init__(self, package: Package, function: Function, rounds: bool) -> None:
        self.decoded, self.rounds = package.decoded, rounds
        self.makers = {
            output.name: (operation, place)
            for operation in function.operations
            if operation.type in CONSTEXPR
            for place, output in enumerate(operation.outputs)
        }

    def __contains__(self, name: str) -> bool:
        return name in self.makers

    def tensor(self, value: Constant | str) -> Tensor:
        """Tensor of a constant, or of the compressed weight called ``value``. Raises EdgeError as ``decode``."""
        key = self._key(value)
        if key not in self.decoded:
            self.decoded[key] = as_tensor(value) if isinstance(value, Constant) else self._decoded(value)
        return self.decoded[key]

    def _decoded(self, name: str) -> Tensor:
        operation, place = self.makers[name]

        def read(part: str) -> Tensor:
            (value,) = operation.inputs[part]
            if isinstance(value, Constant):
                return as_tensor(value)
            if value not in self:
                raise EdgeError(f"{operation} takes '{part}' from '{value}', which is no constant", AGAIN)
            return self._decoded(value)

        found = decode(operation, read)[place]
        if self.rounds and operation.outputs[place].dtype == "float16":
            return found.half().float()
        return found

    def _key(self, value: Constant | str) -> object:
        """Cache key, equal for equal numbers of all functions."""
        if isinstance(value, Constant):
            source = value.source
            if isinstance(source, InFile):
                return value.dtype, value.shape, str(source.file.path), source.blob.offset
            return value.dtype, value.shape, source
        operation, place = self.makers[value]
        return self.rounds, place, self._operation_key(operation)

    def _operation_key(self, operation: Operation) -> object:
        parts = []
        for name in sorted(operation.inputs):
            for value in operation.inputs[name]:
                if isinstance(value, str) and value not in self:
                    raise EdgeError(f"{operation} takes '{name}' from '{value}', which is no constant", AGAIN)
                parts.append((name, self._key(value)))
        return operation.type, tuple(parts)


def as_tensor(value: Constant) -> Tensor:
    """The numbers of a constant in the dtype of computation. Raises EdgeError for a format without one."""
    dtype = value.number.tensor
    if dtype is None:
        raise EdgeError(f"'{value.name}' holds {value.dtype}, which nothing computes with", AGAIN)
    return torch.from_numpy(value.array().astype(NUMPY[dtype]))  # astype copies


NUMPY = {
    torch.float32: "f4",
    torch.bool: "?",
    torch.int8: "i1",
    torch.uint8: "u1",
    torch.int16: "i2",
    torch.int32: "i4",
    torch.int64: "i8",
}
