"""Opens a .pte file: ExecuTorch's own reader parses the bytes, and the result is checked and converted here."""

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.export.interpreters.pte.importing import executorch
from phantom_edge.export.interpreters.pte.program import (
    Call,
    Constant,
    Gathered,
    Handed,
    Method,
    Plain,
    Planned,
    Program,
    Step,
    Typed,
    Unplanned,
    Value,
)
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import regular

LONGEST = 300
"""Longest description of what is not understood, in characters: a damaged program has shapes of any length."""

MAGIC = b"ET"
DELEGATE = "XnnpackBackend"

BROKEN = (
    struct.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)
"""Exceptions that readers of flatbuffers raise for damaged bytes, here and in ExecuTorch."""

DTYPES = {
    0: torch.uint8,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.int64,
    5: torch.float16,
    6: torch.float32,
    7: torch.float64,
    11: torch.bool,
    15: torch.bfloat16,
}
"""Number formats by ExecuTorch's ScalarType."""

NONE = -1
"""Entry of a list of values that stands for none."""

LISTS = {"IntList", "TensorList", "OptionalTensorList"}
PLAIN = {"Int": "int_val", "Bool": "bool_val", "String": "string_val"}


def open_program(path: Path) -> Program:
    """Reads a whole file. Raises EdgeError for one that is missing, damaged or not understood."""
    try:
        data = regular(path).read_bytes()
    except OSError as error:
        raise EdgeError(f"{path} cannot be read ({error.strerror})", AGAIN) from None
    if data[4:6] != MAGIC:
        raise EdgeError(f"{path} is no ExecuTorch program", AGAIN)
    try:
        file = executorch("executorch.exir._serialize._program").deserialize_pte_binary(data)
        constants = [one.storage for one in file.program.constant_buffer]
        methods = [_method(plan, file.program, constants) for plan in file.program.execution_plan]
        named = {} if file.named_data is None else _named(file.named_data)
    except BROKEN as error:
        raise EdgeError(f"{path} is damaged: {one_line(error)}", AGAIN) from error
    return Program({one.name: one for one in methods}, named)


def one_line(error: Exception) -> str:
    """An error's type and message in one line."""
    return f"{type(error).__name__} {' '.join(str(error).split())}".strip()[:200]


def refuse(what: str) -> EdgeError:
    """Returns the error for a feature that this interpreter lacks, with the beginning of a long description."""
    shown = " ".join(what.split())
    return EdgeError(
        f"{shown[:LONGEST]}{' ...' * (len(shown) > LONGEST)} is not understood",
        "make the program without it, or add it to phantom_edge/export/interpreters/pte",
    )


def _named(store: Any) -> dict[str, bytes]:
    return {key: bytes(store.buffers[entry.buffer_index]) for key, entry in store.pte_data.items()}


def _method(plan: Any, program: Any, constants: Sequence[bytes]) -> Method:
    names = [f"{one.name}.{one.overload}" for one in plan.operators]
    if len(plan.chains) != 1:
        raise refuse(f"{plan.name}, which has {len(plan.chains)} chains of instructions,")
    steps = tuple(_step(one.instr_args, names) for one in plan.chains[0].instructions)
    memory = tuple(plan.non_const_buffer_sizes)
    values = tuple(_value(one.val, memory, constants) for one in plan.values)
    payloads = tuple(_payload(one, program) for one in plan.delegates)
    found = Method(plan.name, values, tuple(plan.inputs), tuple(plan.outputs), steps, memory, payloads)
    _check_numbers(found)
    return found


def _check_numbers(method: Method) -> None:
    """Raises IndexError for numbers of missing values and payloads."""
    numbers = {*method.inputs, *method.outputs}
    for step in method.steps:
        numbers.update(step.args)
        if isinstance(step, Handed) and not 0 <= step.payload < len(method.payloads):
            raise IndexError(f"{method.name} has no payload {step.payload}")
    for value in method.values:
        numbers.update(one for one in (value.items if isinstance(value, Gathered) else ()) if one != NONE)
    wrong = [one for one in numbers if not 0 <= one < len(method.values)]
    if wrong:
        raise IndexError(f"{method.name} has no value {wrong[0]}")


def _step(instruction: Any, names: Sequence[str]) -> Step:
    kind = type(instruction).__name__
    if kind == "KernelCall":
        return Call(names[instruction.op_index], tuple(instruction.args))
    if kind == "DelegateCall":
        return Handed(instruction.delegate_index, tuple(instruction.args))
    raise refuse(f"the instruction {kind}")


def _payload(delegate: Any, program: Any) -> bytes:
    if delegate.id != DELEGATE:
        raise refuse(f"the delegate {delegate.id}")
    return bytes(program.backend_delegate_data[delegate.processed.index].data)


def _value(value: Any, memory: Sequence[int], constants: Sequence[bytes]) -> Value:
    kind = type(value).__name__
    if kind == "Tensor":
        return _tensor(value, memory, constants)
    if kind in LISTS:
        return Gathered(tuple(value.items))
    if kind == "Null":
        return Plain(None)
    if kind == "Double":
        return Plain(float(value.double_val))
    if kind in ("BoolList", "DoubleList"):
        return Plain(list(value.items))
    if kind in PLAIN:
        return Plain(getattr(value, PLAIN[kind]))
    raise refuse(f"a value of kind {kind}")


def _tensor(value: Any, memory: Sequence[int], constants: Sequence[bytes]) -> Value:
    if int(value.scalar_type) not in DTYPES:
        raise refuse(f"number format {value.scalar_type!r}")
    typed = Typed(DTYPES[int(value.scalar_type)], tuple(value.sizes), int(value.shape_dynamism) != 0)
    if any(size < 0 for size in typed.shape):
        raise ValueError(f"a tensor has shape {typed.shape}")
    extra = value.extra_tensor_info
    if extra is not None and (extra.mutable_data_segments_idx or int(extra.location)):
        raise refuse("a tensor that begins as data of its own, or is in another file,")
    if value.storage_offset or value.layout or list(value.dim_order) != list(range(len(typed.shape))):
        raise refuse("a tensor whose numbers are not in order")
    place = value.allocation_info
    if value.data_buffer_idx:
        if place is not None:
            raise refuse("a tensor that is constant and has memory")
        return Constant(tensor_of(constants[value.data_buffer_idx], typed.dtype, typed.shape))
    if place is None:
        return Unplanned(typed)
    most = math.prod(typed.shape) * typed.dtype.itemsize
    if not 0 < place.memory_id < len(memory) or place.memory_offset + most > memory[place.memory_id]:
        raise IndexError(f"a tensor lies at byte {place.memory_offset} of memory {place.memory_id}, outside of it")
    if place.memory_offset % typed.dtype.itemsize:
        raise ValueError(f"a tensor of {typed.dtype} lies at byte {place.memory_offset}")
    return Planned(typed, place.memory_id, place.memory_offset)


def tensor_of(data: bytes, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """The first numbers of ``data``, which may end in padding. Raises ValueError where it is too short."""
    count = math.prod(shape)
    if len(data) < count * dtype.itemsize:
        raise ValueError(f"a constant has {len(data)} bytes and needs {count * dtype.itemsize}")
    if not count:
        return torch.empty(tuple(shape), dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype, count=count).view(tuple(shape))
