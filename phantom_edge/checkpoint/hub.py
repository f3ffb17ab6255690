"""Where a checkpoint lies: a folder, or a model on a hub."""

import re
from pathlib import Path

from huggingface_hub import snapshot_download

from phantom_edge.errors import EdgeError

SMALL_FILES = ("*.json", "*.jinja", "tokenizer.model", "merges.txt")
"""All that preparing inputs needs of a checkpoint: no weights, no code."""

CHECKPOINT_FILES = (*SMALL_FILES, "*.safetensors")
"""All that is ever fetched: no code, no pickles."""


def find_folder(
    source: str | Path,
    patterns: tuple[str, ...] = CHECKPOINT_FILES,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The folder ``source`` itself, or a download of the files that match where it is a hub id (owner/name).

    The options are huggingface_hub's. Raises EdgeError when there is neither.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise EdgeError(f"{source} is a file", "give the folder that holds config.json and the safetensors")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(source)):
        raise EdgeError(
            f"there is no folder {source}", "give a checkpoint folder, or a hub id such as BK-Lee/Phantom-0.5B"
        )
    try:
        return Path(
            snapshot_download(
                str(source),
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=list(patterns),
            )
        )
    except (OSError, ValueError, RuntimeError) as error:  # what huggingface_hub and its HTTP client raise
        raise EdgeError(
            f"there is no folder {source}, and no such model could be fetched from the hub ({type(error).__name__})",
            "check the spelling and the connection, or give the path of a folder",
        ) from error
