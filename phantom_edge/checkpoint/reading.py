"""A folder of safetensors, looked at without loading it: names, shapes, dtypes, and one tensor at a time."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from phantom_edge.errors import EdgeError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Weights that we take; any other type in a checkpoint is refused by name."""

AGAIN = "fetch the checkpoint again from its source"


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies and what it is."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TensorFiles:
    """All tensors of a folder by name."""

    folder: Path
    entries: dict[str, Entry]

    @classmethod
    def open(cls, folder: Path) -> "TensorFiles":
        """Read the headers of every shard.

        Raises EdgeError for a folder without safetensors, a missing, empty or truncated shard, or an index that
        names what no shard has; all faults in one message.
        """
        files, index = _shards(folder)
        problems = [f"{file.name} is missing" for file in files if not file.exists()]
        entries: dict[str, Entry] = {}
        for file in files:
            if file.exists():
                try:
                    entries |= _header(file)
                except (SafetensorError, OSError) as error:
                    problems.append(f"{file.name} cannot be read ({_short(error)})")
        if not problems:
            problems = [f"{name} is in the index but in no shard" for name in index if name not in entries]
        raise_problems(folder, problems, AGAIN)
        return cls(folder, entries)

    def read(self, name: str) -> Tensor:
        """One tensor, memory-mapped on a mapping of its own, so that dropping it gives the memory back."""
        entry = self.entries[name]
        try:
            with safe_open(entry.file, framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
                return tensor
        except (SafetensorError, OSError) as error:
            raise EdgeError(f"{entry.file} cannot be read ({_short(error)})", AGAIN) from error

    def bytes(self) -> int:
        """Size of all shards on disk."""
        return sum(file.stat().st_size for file in {entry.file for entry in self.entries.values()})


def _shards(folder: Path) -> tuple[list[Path], list[str]]:
    """The shard files that the folder claims to have, and the tensors that its index promises."""
    if (folder / INDEX).exists() and (folder / SINGLE).exists():
        raise EdgeError(
            f"{folder} holds both {SINGLE} and {INDEX}", "remove the one that is left over from an earlier save"
        )
    if (folder / INDEX).exists():
        weight_map = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not all(_is_plain_name(file) for file in weight_map.values()):
            raise EdgeError(f"{folder / INDEX} has no usable weight_map", AGAIN)
        return [folder / file for file in sorted(set(weight_map.values()))], list(weight_map)
    if (folder / SINGLE).exists():
        return [folder / SINGLE], []
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise EdgeError(
            f"{folder} holds pickled weights, which are never read (they can run code)",
            "ask the publisher for safetensors, or convert them on a machine that you trust",
        )
    raise EdgeError(f"{folder} has neither {SINGLE} nor {INDEX}", AGAIN)


def _is_plain_name(file: object) -> bool:
    return isinstance(file, str) and Path(file).name == file and file.endswith(".safetensors")


def _header(file: Path) -> dict[str, Entry]:
    if file.stat().st_size == 0:
        raise OSError("the file is empty")
    with safe_open(file, framework="pt") as tensors:
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (no __iter__)
        return {name: Entry(file, part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from ``path``; EdgeError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EdgeError(f"{path} is missing", AGAIN) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise EdgeError(f"{path} is not readable JSON ({_short(error)})", AGAIN) from error
    if not isinstance(content, dict):
        raise EdgeError(f"{path} is not a JSON object", AGAIN)
    return content


def check_tensors(found: TensorFiles, expected: dict[str, tuple[int, ...]], optional: Iterable[str] = ()) -> None:
    """Refuse a checkpoint whose tensors are not exactly ``expected`` (name to shape), every fault in one message."""
    optional = set(optional)
    missing = [f"{name} is missing" for name in expected if name not in found.entries]
    extra = [
        f"{name} belongs to no part of the model"
        for name in found.entries
        if name not in expected and name not in optional and not name.endswith("rotary_emb.inv_freq")
    ]
    shape = [
        f"{name} has shape {list(entry.shape)}, config.json wants {list(expected[name])}"
        for name, entry in found.entries.items()
        if name in expected and entry.shape != expected[name]
    ]
    dtype = [
        f"{name} is {entry.dtype}, not one of {', '.join(DTYPES)}"
        for name, entry in found.entries.items()
        if name in expected and entry.dtype not in DTYPES
    ]
    raise_problems(
        found.folder, missing + extra + shape + dtype, "check that config.json and the weights belong together"
    )


def raise_problems(folder: Path, problems: list[str], remedy: str, shown: int = 8) -> None:
    """One EdgeError for a list of faults; nothing for an empty list."""
    if not problems:
        return
    more = f"; and {len(problems) - shown} more" if len(problems) > shown else ""
    count = "1 fault" if len(problems) == 1 else f"{len(problems)} faults"
    listed = "".join(letter if letter.isprintable() else "?" for letter in "; ".join(problems[:shown]))
    raise EdgeError(f"checkpoint {folder} has {count}: {listed}{more}", remedy)


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
