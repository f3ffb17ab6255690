"""Folders that ``--force`` may replace: ours and checkpoints, never one that holds anything else."""

import json
import re
from pathlib import Path
from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json

MARKER = ".phantom-edge.json"
"""File in every folder that we write, which lists the folder's contents."""

CHECKPOINT_NAMES = re.compile(
    r".*\.(json|safetensors|jinja|py)|pytorch_model.*\.bin|tokenizer\.model|merges\.txt"
    r"|README\.md|LICENSE.*|\.gitattributes|\.DS_Store"
)
"""Files that a checkpoint of any origin may hold (transformers' ``save_pretrained``, a download, a copy by hand)."""


def mark(folder: Path) -> None:
    """Record the contents of ``folder``, so that later additions by others are recognized."""
    about = {"written_by": "phantom-edge", "holds": sorted(path.name for path in folder.iterdir())}
    (folder / MARKER).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def mark_also(folder: Path, name: str) -> None:
    """Add ``name`` to the recorded contents; nothing where none are recorded."""
    about = _read(folder / MARKER)
    known = about.get("holds")
    if not isinstance(known, list) or name in known:
        return
    partial = folder / f"{MARKER}.partial"
    partial.write_text(
        json.dumps(about | {"holds": sorted([*map(str, known), name])}, indent=1) + "\n", encoding="utf-8"
    )
    partial.replace(folder / MARKER)


def check_replaceable(folder: Path) -> None:
    """Raises EdgeError unless everything in ``folder`` was written by us or belongs to a Phantom checkpoint."""
    if Path.cwd().resolve().is_relative_to(folder):
        raise EdgeError(f"{folder} holds the folder that you are in", "choose another folder")
    foreign = _foreign(folder)
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise EdgeError(
            f"{folder} holds other things than what phantom-edge writes: {foreign[0]}{more}",
            "choose another folder, or move them away",
        )


def _foreign(folder: Path) -> list[str]:
    """Names in ``folder`` that are neither ours nor a checkpoint's. A subfolder is accepted where its contents are."""
    known = _read(folder / MARKER).get("holds")
    written = {MARKER, *map(str, known)} if isinstance(known, list) else set()
    is_checkpoint = _read(folder / "config.json").get("model_type") == "phantom"

    def is_fine(path: Path) -> bool:
        if path.name in written:
            return True
        if path.is_dir() and not path.is_symlink():
            is_cache = is_checkpoint and path.name == ".cache"  # what `hf download` leaves beside the weights
            return not ([name for name in _names(path) if name != "huggingface"] if is_cache else _foreign(path))
        return is_checkpoint and CHECKPOINT_NAMES.fullmatch(path.name) is not None

    return [path.name for path in sorted(folder.iterdir()) if not is_fine(path)]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``, empty where there is none."""
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # JSON and UTF-8 errors are ValueErrors
        return {}
    return content if isinstance(content, dict) else {}
