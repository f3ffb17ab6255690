"""Save a model into a folder that may hold an older one: the old weights stay whole until the new ones are complete."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from phantom_edge.checkpoint.card import carry_card_of
from phantom_edge.checkpoint.reading import INDEX, SINGLE
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import mode_of_files, plain_words
from phantom_edge.foundation.staging import left_overs, staging_folder

WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
PREFIX = ".saving-"


def save(write: Callable[..., None], folder: Path, arguments: dict[str, Any], loaded_from: str = "") -> None:
    """Implements :meth:`PhantomForConditionalGeneration.save_pretrained` around ``write``, transformers' own.

    The files are written beside their places and renamed, so a model that was loaded from ``folder`` keeps its mapped
    weights; then weights of another shard layout are removed. Card and licence come from the checkpoint that it was
    ``loaded_from``, "" for none, unless ``folder`` has its own.
    """
    if arguments.get("variant"):
        raise EdgeError("weights of a variant cannot be loaded again", "leave variant out and save to another folder")
    if arguments.get("distributed_checkpoint"):  # all ranks write to one folder, and none of these files
        write(folder, **arguments)
        return
    if arguments.get("push_to_hub"):
        arguments = {"repo_id": folder.resolve().name, **arguments}  # transformers would take the staging folder's
    try:
        if folder.exists() and not folder.is_dir():
            raise EdgeError(f"{folder} is a file, not a folder", "choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        for left in left_overs(folder, PREFIX):
            shutil.rmtree(left, ignore_errors=True)
        with staging_folder(folder, PREFIX) as staging:
            try:
                write(staging, **arguments)
                _move(staging, folder)
                if loaded_from:
                    carry_card_of(loaded_from, folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except SafetensorError as error:
        raise EdgeError(
            f"cannot write {folder} ({error})", "check the free space on that disk, then save again"
        ) from error
    except OSError as error:
        raise plain_words(error, folder) from error


def _move(staging: Path, folder: Path) -> None:
    """Put the files in their places. A crash in between leaves a folder that is refused, never a mix of two models."""
    names = {path.name for path in staging.iterdir()}
    weights = {name for name in names if WEIGHTS.fullmatch(name)}
    if any((folder / name).exists() for name in weights - {SINGLE}):
        (folder / INDEX).unlink(missing_ok=True)  # it would list shards of which only some are new
    mode = mode_of_files(staging)
    for name in weights:
        (staging / name).chmod(mode)  # safetensors makes it readable for its owner only
    for name in [*sorted(names - weights - {INDEX}), *sorted(weights), *sorted(names & {INDEX})]:
        (staging / name).replace(folder / name)
    if weights:
        for path in list(folder.iterdir()):
            if path.name not in names and (path.name == INDEX or WEIGHTS.fullmatch(path.name)):
                path.unlink()
