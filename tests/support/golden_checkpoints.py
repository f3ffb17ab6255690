"""The golden checkpoints: tiny official ones, with the activations of the reference implementation."""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from phantom_edge.checkpoint.loading import open_checkpoint
from phantom_edge.checkpoint.planning import plan
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.source import Source
from phantom_edge.convert.random_tokenizer import make_tokenizer
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.sizes import SIZES

GOLDEN = Path(__file__).parents[1] / "golden"
ARCHITECTURES = ("0_5b", "1_8b", "3_8b", "7b")
FIRST = 1
"""The token that every prompt begins with."""


@dataclass(frozen=True)
class Golden:
    """A tiny official checkpoint, and the activations of the reference implementation."""

    folder: Path
    model: PhantomForConditionalGeneration
    io: dict[str, Tensor]
    eta: float


def official_folder(name: str, target: Path) -> Path:
    """Write golden checkpoint ``name`` as an official folder; its weights may be another's, or lack some."""
    meta = json.loads((GOLDEN / name / "meta.json").read_text())
    weights = load_file(GOLDEN / name / meta["weights"])
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").write_text((GOLDEN / name / "config.json").read_text())
    kept = {key: value for key, value in weights.items() if key not in meta.get("drop_keys", [])}
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    return target


@cache
def open_golden(name: str, scratch: Path) -> Golden:
    """Golden checkpoint ``name``, loaded, with the eta of its recording."""
    folder = official_folder(name, scratch / name)
    config = PhantomConfig.from_pretrained(folder)
    eta = float(json.loads((GOLDEN / name / "meta.json").read_text())["eta"])
    config.text.eta = eta
    model = PhantomForConditionalGeneration.from_pretrained(folder, config=config).eval()
    return Golden(folder, model, load_file(GOLDEN / name / "io.safetensors"), eta)


def add_tokenizer(g: Golden) -> None:
    """Write a tokenizer that knows the ids of the checkpoint's embedding, and no others."""
    image, names = g.model.config.image_token_id, ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>")
    free = (index for index in range(g.model.config.text.vocab_size) if index != image)
    marks = {"<IMG_CONTEXT>": image, **dict(zip(names, free, strict=False))}
    size = replace(SIZES["tiny"], vocab=g.model.config.text.vocab_size, special_tokens=marks)
    make_tokenizer(size).save_pretrained(g.folder)


class GoldenSource(Source):
    """A golden checkpoint without tokenizer."""

    def first_token(self) -> int:
        return FIRST


def golden_source(g: Golden, folder: Path | None = None) -> GoldenSource:
    """The checkpoint, or the one made from it in ``folder``, as a source with the eta of the golden data."""
    folder = folder or g.folder
    _, files, from_official = open_checkpoint(folder)
    config = g.model.config
    planned = plan(config, files, from_official, to_official=False, dtype=None)
    integers = files if isinstance(files, QuantizedFiles) else None
    return GoldenSource(folder, config, {one.name: one for one in planned}, None, integers)  # type: ignore[arg-type]


def prompt_of(g: Golden, tokens: int) -> torch.Tensor:
    """Random tokens after the first, whose phantom attention is folded; none stands for a picture."""
    ids = torch.randint(0, g.model.config.text.vocab_size, (tokens,), generator=torch.Generator().manual_seed(1))
    ids[ids == g.model.config.image_token_id] = 0
    ids[0] = FIRST
    return ids
