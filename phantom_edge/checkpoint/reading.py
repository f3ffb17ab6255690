"""A folder of safetensors, inspected without loading it: names, shapes, dtypes, and one tensor at a time."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import AGAIN, is_pointer, pointer_fault, read_json, regular

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Accepted types of weights; any other type in a checkpoint is refused by name."""


WRAPPERS = {
    "module.": "DataParallel",
    "_orig_mod.": "torch.compile",
    "base_model.model.": "PEFT",
    "_fsdp_wrapped_module.": "FSDP",
}
"""Beginnings of names that a wrapper around a model adds to all of its tensors."""


@dataclass(frozen=True)
class Entry:
    """File, type and shape of a tensor."""

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

        Raises EdgeError for a folder without safetensors, a missing, empty or truncated shard, a tensor in two
        shards, or an index that disagrees with the shards; all faults in one message.
        """
        files, index = _shards(folder)
        problems: list[str] = []
        entries: dict[str, Entry] = {}
        for file in files:
            try:
                found = _header(file)
            except FileNotFoundError:
                problems.append(f"{file.name} is {'a link to nothing' if file.is_symlink() else 'missing'}")
            except (SafetensorError, OSError, ValueError) as error:
                problems.append(f"{file.name} cannot be read ({_short(error)})")
            else:
                twice = [name for name in found if name in entries]
                problems += [f"{name} is in both {entries[name].file.name} and {file.name}" for name in twice]
                entries |= found
        raise_problems(folder, problems or _index_faults(index, entries), AGAIN)
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
        """Size of all shards on disk, bytes."""
        return sum(file.stat().st_size for file in {entry.file for entry in self.entries.values()})


def _shards(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The shard files that the folder claims to have, and the shard of each tensor where it has an index."""
    if os.path.lexists(folder / INDEX):
        weight_map = _weight_map(folder)
        files = [folder / file for file in sorted(set(weight_map.values()))]
        if not (folder / SINGLE).exists():
            return files, weight_map
        if all(file.exists() for file in files):
            raise EdgeError(
                f"{folder} holds both {SINGLE} and {INDEX}", "remove the one that is left over from an earlier save"
            )
    if os.path.lexists(folder / SINGLE):
        return [folder / SINGLE], {}  # an index beside it whose shards are gone is ignored
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise EdgeError(
            f"{folder} holds pickled weights, which are never read (they can run code)",
            "ask the publisher for safetensors, or convert them on a machine that you trust",
        )
    if (adapter := folder / "adapter_config.json").exists():
        base = read_json(adapter).get("base_model_name_or_path") or "a base model"
        raise EdgeError(
            f"{folder} is a LoRA adapter of {base}, not a model",
            "merge it: PeftModel.from_pretrained(base, folder).merge_and_unload().save_pretrained(out)",
        )
    raise EdgeError(f"{folder} has neither {SINGLE} nor {INDEX}", AGAIN)


def _weight_map(folder: Path) -> dict[str, str]:
    weight_map = read_json(folder / INDEX).get("weight_map", {} if (folder / SINGLE).exists() else None)
    listed = list(weight_map.values()) if isinstance(weight_map, dict) else []
    below = [file for file in listed if isinstance(file, str) and re.fullmatch(r"([\w-][\w.-]*/)+[\w.-]+", file)]
    if below:
        raise EdgeError(
            f"{folder / INDEX} names shards in other folders: {below[0]}",
            "move them beside it, and take the folder out of their names there",
        )
    if not isinstance(weight_map, dict) or not all(map(_is_plain_name, listed)):
        raise EdgeError(f"{folder / INDEX} has no weight_map of .safetensors files that lie beside it", AGAIN)
    return weight_map


def _index_faults(index: dict[str, str], entries: dict[str, Entry]) -> list[str]:
    """Contradictions between an index and the headers of its shards; none where there is no index."""
    lost = [f"{name} is in the index but in no shard" for name in index if name not in entries]
    moved = [
        f"{name} is in {entries[name].file.name}, not in {file} as in the index"
        for name, file in index.items()
        if name in entries and entries[name].file.name != file
    ]
    unlisted = [
        f"{name} is in {entry.file.name} but not in the index"
        for name, entry in entries.items()
        if index and name not in index
    ]
    return lost + moved + unlisted


def _is_plain_name(file: object) -> bool:
    return isinstance(file, str) and Path(file).name == file and file.endswith(".safetensors")


def _header(file: Path) -> dict[str, Entry]:
    if regular(file).stat().st_size == 0:
        raise OSError("the file is empty")
    if is_pointer(file):
        raise pointer_fault(file)
    with file.open("rb") as raw:  # first, because safetensors calls a file missing that it may not open
        with safe_open(file, framework="pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (no __iter__)
            entries = {name: Entry(file, part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
        json.loads(raw.read(int.from_bytes(raw.read(8), "little")), object_pairs_hook=_refuse_twice)
    return entries


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    """Raises ValueError for two entries of one name, of which safetensors keeps the last."""
    names = Counter(name for name, _ in pairs)
    if len(names) < len(pairs):
        raise ValueError(f"its header has two entries {names.most_common(1)[0][0]}")


def check_tensors(found: TensorFiles, expected: dict[str, tuple[int, ...]], optional: Iterable[str] = ()) -> None:
    """Refuse a checkpoint whose tensors are not exactly ``expected`` (name to shape), every fault in one message."""
    for prefix, wrapper in WRAPPERS.items():
        if found.entries and all(name.startswith(prefix) for name in found.entries):
            raise EdgeError(
                f"all names of tensors in {found.folder} begin with {prefix}, as {wrapper} leaves them",
                "save the model inside the wrapper, or rename the tensors without that beginning",
            )
    optional = set(optional)
    missing = [f"{name} is missing" for name in expected if name not in found.entries]
    extra = [
        f"{name} belongs to no part of the model"
        for name in found.entries
        if name not in expected and name not in optional and not name.endswith("rotary_emb.inv_freq")
    ]
    shape = [
        f"{name} has shape {list(entry.shape)}, config.json requires {list(expected[name])}"
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
