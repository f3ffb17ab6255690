"""Official to ours and back: every tensor the same bytes under another name."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from phantom_edge.checkpoint import official
from phantom_edge.checkpoint.card import carry_card
from phantom_edge.checkpoint.draft import carry_draft
from phantom_edge.checkpoint.loading import is_finite, our_shapes
from phantom_edge.checkpoint.reading import DTYPES, TensorFiles
from phantom_edge.checkpoint.writing import Planned
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.families.family import Rule
from phantom_edge.models.official_config import write_config

if TYPE_CHECKING:
    from phantom_edge.processing.processor import PhantomProcessor

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)
"""Files copied unchanged; code and pickles are not."""

TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
"""The files of each kind of tokenizer."""


def write_companions(
    source: Path,
    folder: Path,
    config: PhantomConfig,
    processor: "PhantomProcessor | None",
    to_official: bool = False,
    preface: str = "",
) -> None:
    """Write the files beside a checkpoint's weights: config, tokenizer, processor, card; ``preface`` is the card's."""
    save_config(config, folder, to_official)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    carry_card(source, folder, preface)
    if not to_official:
        carry_draft(source, folder)
    if processor is not None and not to_official:
        processor.save_pretrained(folder)


def read_processor(folder: Path) -> "PhantomProcessor | None":
    """The processor of a folder, None where it has no tokenizer. Raises EdgeError for a damaged one."""
    from phantom_edge.processing.processor import PhantomProcessor

    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        return None
    return PhantomProcessor.from_pretrained(folder)


def save_config(config: PhantomConfig, folder: Path, to_official: bool = False) -> None:
    """Write config.json in either layout."""
    if to_official:
        text = json.dumps(write_config(config), indent=2) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
    else:
        config.architectures = ["PhantomForConditionalGeneration"]
        config.save_pretrained(folder)


def plan(
    config: PhantomConfig, files: TensorFiles, from_official: bool, to_official: bool, dtype: torch.dtype | None
) -> list[Planned]:
    """The tensors of the result, each with the function that makes it from ``files``; reads none of them."""
    ours = our_shapes(config)
    rules = official.tensor_rules(config)
    from_names = {name: rule.official if from_official else name for rule in rules for name in rule.ours}

    def read_official(rule: Rule) -> Tensor:
        if from_official:
            return files.read(rule.official)
        return official.join([files.read(name) for name in rule.ours], rule, config.text)

    def check_one_dtype(rule: Rule) -> None:
        dtypes = {files.entries[name].dtype for name in rule.ours}
        if len(dtypes) > 1:
            raise EdgeError(
                f"{rule.official} would pack weights of {' and '.join(sorted(dtypes))}", "choose one with --dtype"
            )

    def stored(name: str) -> torch.dtype:
        return DTYPES[files.entries[from_names[name]].dtype]

    if to_official:
        if not from_official and dtype is None:
            for rule in rules:
                check_one_dtype(rule)
        shapes = official.official_shapes(config, ours)
        sources: list[tuple[str, torch.dtype, Callable[[], Tensor]]] = [
            (rule.official, stored(rule.ours[0]), partial(read_official, rule)) for rule in rules
        ]
    else:
        shapes = ours
        readers = (
            official.readers(config, files) if from_official else {name: partial(files.read, name) for name in ours}
        )
        sources = [(name, stored(name), readers[name]) for name in ours]
    return [
        Planned(name, shapes[name], dtype or kept, partial(_cast, name, make, dtype or kept))
        for name, kept, make in sources
    ]


def _cast(name: str, make: Callable[[], Tensor], dtype: torch.dtype) -> Tensor:
    tensor = make()
    if not is_finite(tensor):
        raise EdgeError(
            f"{name} holds NaN or infinity", "the checkpoint is damaged or training diverged; use an earlier one"
        )
    cast = tensor.to(dtype)
    if not is_finite(cast):
        raise EdgeError(f"{name} does not fit {dtype}", "choose --dtype bf16 or fp32")
    return cast
