"""Finds a checkpoint: a folder, a model on a hub, or the one inside this package."""

import os
import re
from pathlib import Path, PurePosixPath

from huggingface_hub import snapshot_download

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.naming import own_name
from phantom_edge.models.shipped import NAME, NANO

SMALL_FILES = ("*.json", "*.jinja", "tokenizer.model", "merges.txt")
"""Files that prepare inputs: no weights, no code."""

CARD_FILES = ("README.md", "LICENSE*")
"""Model card and licence."""

CHECKPOINT_FILES = (*SMALL_FILES, *CARD_FILES, "*.safetensors")
"""Files that are downloaded: no code, no pickles."""


def find_folder(
    source: str | Path,
    patterns: tuple[str, ...] = CHECKPOINT_FILES,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
    subfolder: str = "",
) -> Path:
    """Returns the folder ``source``, or a download of the matching files where it is a hub id (owner/name).

    Without a folder of that name, nano is the model inside this package. ``subfolder`` is a folder inside ``source``.
    The other options are huggingface_hub's. Raises EdgeError when there is neither.
    """
    inside = PurePosixPath(subfolder)
    if inside.is_absolute() or ".." in inside.parts:
        raise EdgeError(f"subfolder '{subfolder}' leads out of {source}", "name a folder inside it")
    try:
        folder = Path(source).expanduser()
        is_folder, is_there = folder.is_dir(), folder.exists()
    except (OSError, RuntimeError) as error:  # RuntimeError: a home that is not there, a link to itself
        raise EdgeError(f"cannot read {source} ({error})", "give a checkpoint folder that you may read") from error
    if is_folder:
        return _inside(folder, subfolder)
    if is_there:
        raise EdgeError(f"{source} is a file", "give the folder that holds config.json and the safetensors")
    if str(source) == NAME:
        return _inside(NANO, subfolder)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(source)):
        raise EdgeError(
            f"there is no folder {source}",
            f"give a checkpoint folder, {NAME} (it is inside this package), or a hub id such as BK-Lee/Phantom-0.5B",
        )
    try:
        fetched = snapshot_download(
            str(source),
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=[str(inside / pattern) for pattern in patterns],
        )
    except (OSError, ValueError, RuntimeError) as error:  # what huggingface_hub and its HTTP client raise
        raise EdgeError(
            f"there is no folder {source}, and no such model could be fetched from the hub ({type(error).__name__})",
            "check the spelling and the connection, or give the path of a folder",
        ) from error
    return _inside(Path(fetched), subfolder)


def name_of(source: str | Path) -> str:
    """Returns a checkpoint's name without its place on this machine: nano, a hub id, or the folder's own name.

    The folder of a hub's model in huggingface_hub's cache has the hub id, and the model of a training run the run's.
    """
    if not Path(source).expanduser().is_dir():
        return str(source)
    folder = Path(os.path.abspath(Path(source).expanduser()))
    if folder == NANO:
        return NAME
    cached = re.search(r"/models--([^/]+?)--([^/]+)/snapshots/[^/]+$", folder.as_posix())
    return "/".join(cached.groups()) if cached else own_name(folder)


def _inside(folder: Path, subfolder: str) -> Path:
    if not (folder / subfolder).is_dir():
        raise EdgeError(f"{folder} has no folder {subfolder}", "check the spelling of subfolder")
    return folder / subfolder
