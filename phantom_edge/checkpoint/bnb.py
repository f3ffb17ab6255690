"""Checkpoints whose weights bitsandbytes quantized, as transformers saves them: read dequantized, by plain arithmetic.

LLM.int8 has integers and a scale for each row. NF4 has sixteen uneven levels (arXiv 2305.14314) and a scale for every
block; scales may be quantized themselves.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from phantom_edge.checkpoint.reading import TensorFiles, raise_problems
from phantom_edge.foundation.json_file import parse_json

ROWS, FORMAT = "SCB", "weight_format"
"""Tensors beside an int8 weight: the largest magnitude of each row, and the layout of the integers."""

STATE = ".quant_state.bitsandbytes__"
LARGEST = 127
ITEMS = {"U8": 1, "F16": 2, "BF16": 2, "F32": 4}
"""Dtypes that store weights of four bits, and their bytes."""

AGAIN = "save it again with bitsandbytes 0.45 or newer"


@dataclass(frozen=True)
class BnbFiles(TensorFiles):
    """Tensors under the names of the model's weights; ``raw`` on disk, int8 in ``rows`` and NF4 in ``blocks``."""

    raw: TensorFiles
    rows: frozenset[str]
    blocks: dict[str, "Blocks"]

    @classmethod
    def of(cls, raw: TensorFiles) -> "BnbFiles | None":
        """Returns None where no weight is so quantized. Raises EdgeError where parts are missing or do not fit."""
        entries, problems = dict(raw.entries), []
        rows: set[str] = set()
        blocks: dict[str, Blocks] = {}
        for name in raw.entries:
            if name.endswith(f".{ROWS}"):
                weight = f"{name.removesuffix(ROWS)}weight"
                entries.pop(name)
                entries.pop(f"{name.removesuffix(ROWS)}{FORMAT}", None)
                entry = entries.get(weight)
                if entry is None or entry.dtype != "I8" or raw.entries[name].shape != entry.shape[:1]:
                    problems.append(f"{weight} does not fit its scales")
                elif _layout(raw, f"{name.removesuffix(ROWS)}{FORMAT}"):
                    problems.append(f"{weight} lies in tiles, not in rows")
                else:
                    rows.add(weight)
                    entries[weight] = replace(entry, dtype="F32")
            elif STATE in name:
                weight = name[: name.index(STATE)]
                try:
                    blocks[weight] = Blocks.read(raw, weight, name)
                except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
                    problems.append(f"{weight} cannot be read ({type(error).__name__}: {error})")
                    continue
                for part in [part for part in entries if part.startswith(f"{weight}.")]:
                    entries.pop(part)
                entries[weight] = replace(raw.entries[weight], dtype="F32", shape=blocks[weight].shape)
        raise_problems(raw.folder, problems, AGAIN)
        return cls(raw.folder, entries, raw, frozenset(rows), blocks) if rows or blocks else None

    def read(self, name: str) -> Tensor:
        """A weight, dequantized to float32 where it is quantized."""
        if name in self.rows:
            integers, scales = self.by_rows(name)
            return integers.float() * scales[:, None]
        return self.blocks[name].read_weight(self.raw) if name in self.blocks else self.raw.read(name)

    def by_rows(self, name: str) -> tuple[Tensor, Tensor]:
        """Integers int8 (rows, columns) and float32 scales (rows,) of a weight in ``rows``."""
        largest = self.raw.read(f"{name.removesuffix('weight')}{ROWS}").float()
        return self.raw.read(name), (largest / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)


def _layout(raw: TensorFiles, name: str) -> int:
    """Layout of the integers: 0 is by rows, others are for one kind of GPU."""
    return int(raw.read(name)) if name in raw.entries else 0


@dataclass(frozen=True)
class Blocks:
    """A weight of uneven levels: its shape, the numbers per block, and the offset of quantized scales."""

    name: str
    shape: tuple[int, ...]
    block: int
    nested_block: int | None
    offset: float

    @classmethod
    def read(cls, raw: TensorFiles, name: str, state: str) -> "Blocks":
        """Reads the state beside the weight. Raises ValueError or KeyError where it is unusable."""
        about: dict[str, Any] = parse_json(bytes(raw.read(state).tolist()))
        shape, block, nested = tuple(about["shape"]), about["blocksize"], about.get("nested_blocksize")
        sizes = (*shape, block, *([] if nested is None else [nested]))
        if not all(type(size) is int and 0 < size < 2**31 for size in sizes):
            raise ValueError("its shape or its blocks are impossible")
        found = cls(name, shape, block, nested, float(about.get("nested_offset", 0)))
        numbers = prod(shape)
        scales = -(-numbers // block)
        wanted = {f"{name}.absmax": (scales, "F32" if nested is None else "U8"), f"{name}.quant_map": (16, "F32")}
        if nested is not None:
            wanted[f"{name}.nested_absmax"] = (-(-scales // nested), "F32")
            wanted[f"{name}.nested_quant_map"] = (256, "F32")
        for part, (size, dtype) in wanted.items():
            entry = raw.entries[part]
            if (prod(entry.shape), entry.dtype) != (size, dtype):
                raise ValueError(f"{part} has {prod(entry.shape)} {entry.dtype}, not {size} {dtype}")
        packed = raw.entries[name]  # bytes, in whatever dtype they were stored
        if prod(packed.shape) * ITEMS[packed.dtype] != -(-numbers // 2):
            raise ValueError(f"it has {prod(packed.shape)} {packed.dtype} for {numbers} numbers of 4 bits")
        return found

    def read_weight(self, raw: TensorFiles) -> Tensor:
        """The weight, dequantized to float32."""
        packed, numbers = raw.read(self.name).flatten().view(torch.uint8), prod(self.shape)
        levels = torch.stack([packed >> 4, packed & 15], dim=-1).flatten()[:numbers]
        values = raw.read(f"{self.name}.quant_map").float()[levels.int()]
        scales = self._scales(raw).repeat_interleave(self.block)[:numbers]
        return (values * scales).view(self.shape)

    def _scales(self, raw: TensorFiles) -> Tensor:
        scales = raw.read(f"{self.name}.absmax").flatten()
        if self.nested_block is None:
            return scales.float()
        levels = raw.read(f"{self.name}.nested_quant_map").float()[scales.int()]
        largest = raw.read(f"{self.name}.nested_absmax").float().repeat_interleave(self.nested_block)
        return levels * largest[: len(scales)] + self.offset
