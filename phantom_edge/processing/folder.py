"""What a model folder says about preparing its inputs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from phantom_edge.errors import EdgeError
from phantom_edge.processing.tiling import Tiling

SMALL_FILES = ("*.json", "*.jinja", "tokenizer.model", "merges.txt")
"""All that preparing inputs needs of a checkpoint on a hub: no weights, no code."""


@dataclass(frozen=True)
class InputSettings:
    """How a model wants its pictures cut, how many tokens it makes of a tile, and the name of its prompt style."""

    tiling: Tiling
    tokens_per_tile: int
    style: str


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises EdgeError when it is missing, cut short or something else."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise EdgeError(f"{path} does not exist", "download the folder again, with all its small files") from None
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path} cannot be read: {error}", "download this file again") from None
    if not isinstance(content, dict):
        raise EdgeError(f"{path} holds a {type(content).__name__}, not an object", "download this file again")
    return content


def read_settings(folder: Path) -> InputSettings:
    """The settings that ``config.json`` implies, of an official Phantom or of one that we wrote.

    Official folders carry no processor configuration: the family of their language model decides the prompt.
    Raises EdgeError when the file is missing, damaged or not a Phantom's.
    """
    from phantom_edge.checkpoint.loading import read_config
    from phantom_edge.models.families import family_named

    config = read_config(folder)
    tiling = Tiling(config.vision.image_size, config.min_tiles, config.max_tiles, config.use_thumbnail)
    return InputSettings(tiling, config.tokens_per_tile, family_named(config.family).prompt)


def fetch_small_files(
    source: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The folder ``source``, or for a hub id (owner/name) a download of the files that inputs need.

    Raises EdgeError when there is neither.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise EdgeError(f"{source} is a file", "give the folder that holds it")
    try:
        return Path(
            snapshot_download(
                str(source),
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=list(SMALL_FILES),
            )
        )
    except (OSError, ValueError, RuntimeError) as error:  # what huggingface_hub and its HTTP client raise
        raise EdgeError(
            f"there is no folder {source}, and the hub gave none ({type(error).__name__})",
            "check the spelling and the connection, or give the path of a folder",
        ) from error
