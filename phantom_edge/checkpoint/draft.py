"""A checkpoint's draft layer: ``draft.safetensors`` beside the model's weights, and ``draft.json`` with its shape."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from phantom_edge.checkpoint.loading import is_finite
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import mode_of_files
from phantom_edge.foundation.json_file import read_json, regular
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.draft import DraftLayer
from phantom_edge.models.draft_shape import DraftShape

SHAPE, WEIGHTS = "draft.json", "draft.safetensors"
WORDS = "words"
"""Name of the tensor of token ids: the draft vocabulary."""

AGAIN = "train it again: phantom-edge train draft; or remove draft.json and draft.safetensors"


@dataclass(frozen=True)
class Draft:
    """A draft layer, and the token ids (words,) of its vocabulary."""

    shape: DraftShape
    layer: DraftLayer
    words: Tensor


def read_draft(folder: Path, text: PhantomTextConfig) -> Draft | None:
    """The draft layer of a checkpoint, None where it has none. Raises EdgeError for a damaged one."""
    if not (folder / SHAPE).exists() and not (folder / WEIGHTS).exists():
        return None
    try:
        shape = from_json(DraftShape, read_json(folder / SHAPE, AGAIN))
    except WrongJson as error:
        raise EdgeError(f"{folder / SHAPE}: {error}", AGAIN) from error
    if shape.hidden != text.hidden_size:
        raise EdgeError(
            f"{folder / SHAPE} is for a model of {shape.hidden} hidden numbers, this one has {text.hidden_size}", AGAIN
        )
    tensors = _tensors(folder / WEIGHTS)
    expected = shape.tensors()
    fault = _fault(tensors, expected, shape, text.vocab_size)
    if fault:
        raise EdgeError(f"{folder / WEIGHTS} is no draft layer of this model: {fault}", AGAIN)
    with torch.device("meta"):
        layer = DraftLayer(shape)
    layer.load_state_dict({name: tensors[name].float() for name in expected}, assign=True)
    return Draft(shape, layer.eval().requires_grad_(False), tensors[WORDS])


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(regular(path))
    except FileNotFoundError:
        raise EdgeError(f"{path} is missing", AGAIN) from None
    except (SafetensorError, OSError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EdgeError(f"{path} cannot be read ({why})", AGAIN) from error


def _fault(tensors: dict[str, Tensor], expected: dict[str, tuple[int, ...]], shape: DraftShape, vocabulary: int) -> str:
    """The first contradiction between the tensors and the shape, or ""."""
    wanted = {**expected, WORDS: (shape.words,)}
    if tensors.keys() != wanted.keys():
        return f"its tensors are {', '.join(sorted(tensors)) or 'none'}"
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != wanted[name]:
            return f"{name} has shape {list(tensor.shape)}, not {list(wanted[name])}"
        if name == WORDS:
            if tensor.dtype != torch.int64:
                return f"{name} is {tensor.dtype}, not torch.int64"
        elif not tensor.is_floating_point() or not is_finite(tensor):
            return f"{name} holds no finite numbers"
    words = tensors[WORDS]
    if not bool((words[1:] > words[:-1]).all() & (words[0] >= 0) & (words[-1] < vocabulary)):
        return f"{WORDS} are no ascending ids of {vocabulary:,} tokens"
    return ""


def write_draft(folder: Path, draft: Draft) -> None:
    """Write a draft layer beside the weights in ``folder``. Raises EdgeError or OSError where the disk refuses."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in draft.layer.state_dict().items()}
    path = folder / WEIGHTS
    try:
        save_file({**tensors, WORDS: draft.words}, path)
    except SafetensorError as error:
        raise EdgeError(f"cannot write {path} ({error})", "check the free space on that disk") from error
    path.chmod(mode_of_files(folder))  # safetensors makes it readable for its owner only
    (folder / SHAPE).write_text(json.dumps(to_json(draft.shape), indent=2) + "\n", encoding="utf-8")


def carry_draft(source: Path, folder: Path) -> None:
    """Copy the draft layer of the checkpoint ``source``, where it has one."""
    for name in (SHAPE, WEIGHTS):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
