"""A quantized checkpoint on disk: our layout, with quantized weights as integers and scales.

``quantization.json`` lists them. Read by their names, they are dequantized; so every reader of a checkpoint (run, eval,
convert, export, verify) computes with the same numbers as a target.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from phantom_edge.checkpoint.quantized.algorithm_names import AlgorithmName
from phantom_edge.checkpoint.quantized.inputs import Inputs
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, packed, palettized, steps_of, unpacked
from phantom_edge.checkpoint.reading import Entry, TensorFiles, raise_problems
from phantom_edge.checkpoint.writing import Planned
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json, regular
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.models.tensor_names import STATIC, part_of

QUANTIZATION = "quantization.json"
AGAIN = "quantize it again: phantom-edge quantize"
INTEGERS, SCALES, ZEROS, PALETTES = "integers", "scales", "zero_points", "palettes"
TENSORS = (INTEGERS, SCALES, ZEROS, PALETTES)
"""Suffixes of a weight's name in the names of its tensors."""
PACKED_BITS = 4
"""Integers of at most this many bits are packed two in a byte."""


def tensors_of(scheme: Scheme) -> tuple[str, ...]:
    """The TENSORS of a weight of ``scheme``."""
    if scheme.palette_rows is not None:
        return (INTEGERS, PALETTES)
    return (INTEGERS, SCALES) if scheme.symmetric else (INTEGERS, SCALES, ZEROS)


def assembled(scheme: Scheme, read: Callable[[str], Tensor]) -> Quantized:
    """A weight from its tensors; ``read`` returns each of them, unpacked."""
    if scheme.palette_rows is not None:
        return palettized(scheme, read(INTEGERS), read(PALETTES))
    return Quantized(scheme, read(INTEGERS), read(SCALES), None if scheme.symmetric else read(ZEROS))


def taken_apart(held: Quantized) -> dict[str, Tensor]:
    """Inverse of ``assembled``."""
    found = {INTEGERS: held.integers, SCALES: held.scales, ZEROS: held.zero_points, PALETTES: held.palettes}
    return {part: tensor for part in tensors_of(held.scheme) if (tensor := found[part]) is not None}


@dataclass(frozen=True)
class Quantization:
    """Content of ``quantization.json``: scheme of every quantized weight, and origin of the integers.

    ``source`` is the quantized checkpoint, ``fingerprint`` its SHA-256; ``recipe`` is the recipe's name, ``digest`` the
    SHA-256 of its content. ``calibration`` identifies the data, None without calibration. ``inputs`` are the fixed
    scales for inputs of layers of static schemes, by their weights' names.
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
            raise ValueError("inputs lacks scales of static schemes, or has others")
        if wrong := [name for name in self.inputs if part_of(name) not in STATIC]:
            raise ValueError(f"inputs has {wrong[0]}, which can have no fixed scale")


def read_quantization(folder: Path) -> Quantization:
    """Read ``quantization.json``. Raises EdgeError where it is damaged or of another version."""
    path = folder / QUANTIZATION
    try:
        return from_json(Quantization, parse_json(regular(path).read_text(encoding="utf-8")))
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
        """Scheme of every quantized weight."""
        return self.about.weights

    @classmethod
    def open(cls, folder: Path) -> "QuantizedFiles":
        """Read headers and ``quantization.json``. Raises EdgeError where they do not fit together."""
        about = read_quantization(folder)
        raw = TensorFiles.open(folder)
        problems: list[str] = []
        entries = dict(raw.entries)
        for name, scheme in about.weights.items():
            parts = {part: entries.pop(f"{name}.{part}", None) for part in TENSORS}
            try:
                entries[name] = _entry(scheme, {part: entry for part, entry in parts.items() if entry is not None})
            except ValueError as error:
                problems.append(f"{name} {error}")
        raise_problems(folder, problems, AGAIN)
        return cls(folder, entries, raw, about)

    def read(self, name: str) -> Tensor:
        """A weight, dequantized to float32 where it is quantized."""
        return self.quantized(name).dequantize() if name in self.schemes else self.raw.read(name)

    def quantized(self, name: str) -> Quantized:
        """A quantized weight.

        Raises EdgeError for scales and palettes that are not finite, and integers out of range.
        """
        scheme, (_, columns) = self.schemes[name], self.entries[name].shape

        def read(part: str) -> Tensor:
            tensor = self.raw.read(f"{name}.{part}")
            return unpacked(tensor, columns) if part == INTEGERS and scheme.bits <= PACKED_BITS else tensor

        found = assembled(scheme, read)
        largest = max(int(part.max()) for part in (found.integers, found.zero_points) if part is not None)
        numbers = found.scales if found.palettes is None else found.palettes
        is_sound = bool(numbers.isfinite().all()) and bool(found.scales.all())
        is_sound = is_sound and (not scheme.positive or _are_positive(found.scales))
        is_sound = is_sound and (not scheme.exact8 or steps_of(found.scales) is not None)
        if largest >= scheme.levels or not is_sound:
            raise EdgeError(f"{name} in {self.folder} holds numbers that its scheme does not have", AGAIN)
        return found


DTYPES = {INTEGERS: ("U8",), SCALES: ("F16", "F32"), ZEROS: ("U8",), PALETTES: ("F16",)}


def _are_positive(scales: Tensor) -> bool:
    """True where scales satisfy ``Scheme.positive``: above 0, and exact in bfloat16."""
    return bool((scales > 0).all()) and torch.equal(scales.bfloat16().to(scales.dtype), scales)


def _entry(scheme: Scheme, parts: dict[str, Entry]) -> Entry:
    """The entry of a weight made of ``parts``. Raises ValueError where they do not fit ``scheme``."""
    names = tensors_of(scheme)
    if parts.keys() != set(names):
        raise ValueError(f"lacks its {', '.join(names)}, or has too many")
    if any(len(part.shape) != 2 for part in parts.values()):
        raise ValueError("has parts that are no matrices")
    integers = parts[INTEGERS]
    rows, width = integers.shape
    columns = width
    if scheme.bits <= PACKED_BITS:
        columns = 2 * width if scheme.group is None else parts[SCALES].shape[1] * scheme.group
    try:
        shapes = _shapes(scheme, (rows, columns))
    except EdgeError as error:
        raise ValueError("has parts whose shapes do not fit") from error
    if any(parts[name].shape != shape for name, shape in shapes.items()):
        raise ValueError("has parts whose shapes do not fit")
    if any(part.dtype not in DTYPES[name] for name, part in parts.items()):
        raise ValueError(f"has parts of {', '.join(part.dtype for part in parts.values())}")
    return replace(integers, dtype="F32", shape=(rows, columns))


def _shapes(scheme: Scheme, shape: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Shapes of the tensors that a weight of ``shape`` becomes. Raises EdgeError where ``scheme`` does not fit it."""
    rows, columns = shape
    groups = (rows, scheme.groups(columns))
    found = {
        INTEGERS: (rows, (columns + 1) // 2 if scheme.bits <= PACKED_BITS else columns),
        SCALES: groups,
        ZEROS: groups,
        PALETTES: (scheme.palettes(rows), scheme.levels),
    }
    return {part: found[part] for part in tensors_of(scheme)}


def planned(
    name: str,
    shape: tuple[int, int],
    scheme: Scheme,
    find: "partial[Quantized]",
    scales: torch.dtype = torch.float16,
) -> list[Planned]:
    """The tensors that a weight of ``shape`` becomes on disk; ``find`` is called once while they are written."""
    once, shapes = lru_cache(maxsize=1)(find), _shapes(scheme, shape)

    def make(part: str) -> Tensor:
        tensor = taken_apart(once())[part]
        if part == list(shapes)[-1]:
            once.cache_clear()
        return packed(tensor) if part == INTEGERS and scheme.bits <= PACKED_BITS else tensor

    dtypes = {INTEGERS: torch.uint8, SCALES: scales, ZEROS: torch.uint8, PALETTES: torch.float16}
    return [Planned(f"{name}.{part}", wanted, dtypes[part], partial(make, part)) for part, wanted in shapes.items()]
