"""A quantized checkpoint on disk: a checkpoint of our layout whose quantized weights are integers and scales.

``quantization.json`` says which they are. Read by their names, they come out dequantized; so all that reads a
checkpoint (run, eval, convert, export, verify) computes with exactly what a target is to compute with.
"""

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from phantom_edge.checkpoint.reading import Entry, TensorFiles, raise_problems
from phantom_edge.checkpoint.writing import Planned
from phantom_edge.errors import EdgeError
from phantom_edge.quantize.inputs import Inputs
from phantom_edge.quantize.names import AlgorithmName
from phantom_edge.quantize.recipe import STATIC, part_of
from phantom_edge.quantize.schemes import Quantized, Scheme, packed, unpacked
from phantom_edge.typed import WrongJson, from_json, strict_json, to_json

QUANTIZATION = "quantization.json"
AGAIN = "quantize it again: phantom-edge quantize"
INTEGERS, SCALES, ZEROS = "integers", "scales", "zero_points"
PACKED_BITS = 4
"""Integers of so many bits and fewer lie two in a byte."""


@dataclass(frozen=True)
class Quantization:
    """What ``quantization.json`` says: scheme of every quantized weight, and how its integers were found.

    ``source`` is the checkpoint that they were made from, ``fingerprint`` its SHA-256; ``recipe`` is the recipe's name,
    ``digest`` the SHA-256 of what it says.
    ``calibration`` tells data from other data, None where there was none. ``inputs`` are the fixed scales of what the
    layers of static schemes read, by their weights' names.
    """

    schema_version: Literal[1]
    made_by: str
    source: str
    fingerprint: str
    recipe: str
    digest: str
    algorithm: AlgorithmName
    weights: dict[str, Scheme]
    calibration: str | None = None
    inputs: dict[str, Inputs] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if {name for name, scheme in self.weights.items() if scheme.static_inputs} != self.inputs.keys():
            raise ValueError("inputs has not a scale for each weight of a static scheme")
        if wrong := [name for name in self.inputs if part_of(name) not in STATIC]:
            raise ValueError(f"inputs is of {wrong[0]}, which can have no fixed scale")


def read_quantization(folder: Path) -> Quantization:
    """Raises EdgeError for a file that is damaged or of another version."""
    path = folder / QUANTIZATION
    try:
        return from_json(Quantization, strict_json(path.read_text(encoding="utf-8")))
    except WrongJson as error:
        raise EdgeError(f"{path}: {error}", AGAIN) from error
    except (OSError, ValueError, RecursionError) as error:
        raise EdgeError(f"{path} cannot be read ({type(error).__name__})", AGAIN) from error


def write_quantization(folder: Path, quantization: Quantization) -> None:
    """Write ``quantization.json``."""
    text = json.dumps(to_json(quantization), indent=1, ensure_ascii=False) + "\n"
    (folder / QUANTIZATION).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class QuantizedFiles(TensorFiles):
    """Tensors of a quantized checkpoint under the names of the model's weights; ``raw`` are those on disk."""

    raw: TensorFiles
    about: Quantization

    @property
    def schemes(self) -> dict[str, Scheme]:
        """Of every quantized weight."""
        return self.about.weights

    @classmethod
    def open(cls, folder: Path) -> "QuantizedFiles":
        """Read headers and ``quantization.json``. Raises EdgeError where they do not fit together."""
        about = read_quantization(folder)
        raw = TensorFiles.open(folder)
        problems: list[str] = []
        entries = dict(raw.entries)
        for name, scheme in about.weights.items():
            parts = {part: entries.pop(f"{name}.{part}", None) for part in (INTEGERS, SCALES, ZEROS)}
            try:
                entries[name] = _entry(scheme, parts)
            except ValueError as error:
                problems.append(f"{name} {error}")
        raise_problems(folder, problems, AGAIN)
        return cls(folder, entries, raw, about)

    def read(self, name: str) -> Tensor:
        """A weight, dequantized to float32 where it is quantized."""
        return self.quantized(name).dequantize() if name in self.schemes else self.raw.read(name)

    def quantized(self, name: str) -> Quantized:
        """A weight that is. Raises EdgeError for scales that are not finite and integers that do not exist."""
        scheme, (_, columns) = self.schemes[name], self.entries[name].shape
        integers = self.raw.read(f"{name}.{INTEGERS}")
        if scheme.bits <= PACKED_BITS:
            integers = unpacked(integers, columns)
        zeros = None if scheme.symmetric else self.raw.read(f"{name}.{ZEROS}")
        found = Quantized(scheme, integers, self.raw.read(f"{name}.{SCALES}"), zeros)
        largest = max(int(part.max()) for part in (integers, zeros) if part is not None)
        if largest >= scheme.levels or not found.scales.isfinite().all() or not found.scales.all():
            raise EdgeError(f"{name} in {self.folder} holds numbers that its scheme does not have", AGAIN)
        return found


def _entry(scheme: Scheme, parts: dict[str, Entry | None]) -> Entry:
    """The entry of a weight made of ``parts``. Raises ValueError where they are not what ``scheme`` wants."""
    integers, scales, zeros = parts[INTEGERS], parts[SCALES], parts[ZEROS]
    if integers is None or scales is None or (zeros is None) is not scheme.symmetric:
        raise ValueError("lacks its integers, scales or zero points, or has too many")
    if len(integers.shape) != 2 or len(scales.shape) != 2:
        raise ValueError("has parts that are no matrices")
    rows, width = integers.shape
    columns = width if scheme.group is None or scheme.bits > PACKED_BITS else scales.shape[1] * scheme.group
    wanted = (columns + 1) // 2 if scheme.bits <= PACKED_BITS else columns
    is_whole = scheme.group is None or columns % scheme.group == 0
    if not is_whole or width != wanted or scales.shape != (rows, scheme.groups(columns)):
        raise ValueError("has parts whose shapes do not fit")
    if zeros is not None and zeros.shape != scales.shape:
        raise ValueError("has zero points whose shape does not fit")
    dtypes = (integers.dtype, scales.dtype, "U8" if zeros is None else zeros.dtype)
    if dtypes not in (("U8", "F16", "U8"), ("U8", "F32", "U8")):
        raise ValueError(f"has parts of {', '.join(dtypes)}")
    return replace(integers, dtype="F32", shape=(rows, columns))


def planned(
    name: str,
    shape: tuple[int, int],
    scheme: Scheme,
    find: "partial[Quantized]",
    scales: torch.dtype = torch.float16,
) -> list[Planned]:
    """The tensors that a weight of ``shape`` becomes on disk; ``find`` is asked for it once while they are written."""
    rows, columns = shape
    once = lru_cache(maxsize=1)(find)
    is_packed = scheme.bits <= PACKED_BITS
    width, groups = (columns + 1) // 2 if is_packed else columns, scheme.groups(columns)

    def integers() -> Tensor:
        found = once().integers
        return packed(found) if is_packed else found

    def last() -> Tensor:
        found = once()
        once.cache_clear()
        return found.scales if found.zero_points is None else found.zero_points

    parts = [Planned(f"{name}.{INTEGERS}", (rows, width), torch.uint8, integers)]
    if not scheme.symmetric:
        parts.append(Planned(f"{name}.{SCALES}", (rows, groups), scales, lambda: once().scales))
    what, dtype = (SCALES, scales) if scheme.symmetric else (ZEROS, torch.uint8)
    parts.append(Planned(f"{name}.{what}", (rows, groups), dtype, last))
    return parts
