"""From triples to batches: prompts with their answers, and which tokens a loss may look at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from phantom_edge.data.triples import Triple
from phantom_edge.errors import EdgeError
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.prompt import IMAGE_MARK
from phantom_edge.train.objectives import IGNORED


@dataclass(frozen=True)
class Pair:
    """A question with one chosen and one rejected answer; ``rejected`` is None where there is none to push away."""

    question: str
    images: tuple[Path, ...]
    chosen: str
    rejected: str | None


def pairs_of(triples: Iterable[Triple], folder: Path) -> list[Pair]:
    """A pair for each rejected answer; relative pictures count from ``folder``, where the data file lies."""
    return [
        Pair(triple.question, tuple(folder / name for name in triple.images), triple.chosen, rejected)
        for triple in triples
        for rejected in (triple.rejected or (None,))
    ]


@dataclass(frozen=True)
class Batch:
    """Pairs as tensors: the B chosen rows first, then, where there are pairs, the B rejected rows.

    ``input_ids``, ``attention_mask``, ``labels`` (B or 2B, N), padded on the left; ``pixel_values``
    (tiles, 3, S, S) of the B questions' pictures once: both halves look at the same.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    pixel_values: Tensor | None
    pairs: int
    has_rejected: bool


class Collator:
    """Makes batches of pairs. ``max_tokens`` is the longest row that is taken; longer ones are an EdgeError."""

    def __init__(self, processor: PhantomProcessor, max_tokens: int = 4096) -> None:
        self.processor = processor
        self.max_tokens = max_tokens
        pad = processor.tokenizer.pad_token_id
        assert pad is not None  # the processor sees to it
        self.pad = int(pad)

    def __call__(self, pairs: Sequence[Pair]) -> Batch:
        has_rejected = all(pair.rejected is not None for pair in pairs)
        prompts = self._prompts(pairs)
        rows = [self._row(ids, pair.question, pair.chosen) for ids, pair in zip(prompts.ids, pairs, strict=True)]
        if has_rejected:
            rows += [
                self._row(ids, pair.question, pair.rejected)
                for ids, pair in zip(prompts.ids, pairs, strict=True)
                if pair.rejected is not None
            ]
        longest = max(len(ids) for ids, _ in rows)
        if longest > self.max_tokens:
            raise EdgeError(
                f"a row has {longest} tokens, more than {self.max_tokens}", "shorten the answers, or allow more tokens"
            )
        input_ids = torch.full((len(rows), longest), self.pad)
        labels = torch.full((len(rows), longest), IGNORED)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for row, (ids, answer_start) in enumerate(rows):
            at = longest - len(ids)
            input_ids[row, at:] = torch.tensor(ids)
            mask[row, at:] = 1
            labels[row, at + answer_start :] = torch.tensor(ids[answer_start:])
        return Batch(input_ids, mask, labels, prompts.pixels, len(pairs), has_rejected)

    def _prompts(self, pairs: Sequence[Pair]) -> "_Prompts":
        texts = [self._text(pair.question, len(pair.images)) for pair in pairs]
        images = tuple(pair.images for pair in pairs)
        batch = self.processor(text=texts, images=images if any(images) else None, padding=False, return_tensors=None)
        pixels = batch.get("pixel_values")
        return _Prompts(batch["input_ids"], None if pixels is None else torch.as_tensor(pixels))

    def _text(self, question: str, images: int, answer: str | None = None) -> str:
        marks = "" if IMAGE_MARK in question else IMAGE_MARK * images
        turns = [{"role": "user", "content": marks + question}]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        text = self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer is None)
        assert isinstance(text, str)
        return text

    def _row(self, prompt: list[int], question: str, answer: str) -> tuple[list[int], int]:
        """Ids of prompt and answer, the turn's end included, and where the answer begins.

        The answer is tokenized by itself, as the model will write it: no token spans the border.
        """
        before = self._text(question, 0)
        whole = self._text(question, 0, answer)
        assert whole.startswith(before), "the chat template changes the prompt when an answer follows"
        ids = self.processor.tokenizer(whole[len(before) :], add_special_tokens=False)["input_ids"]
        return [*prompt, *ids], len(prompt)


@dataclass(frozen=True)
class _Prompts:
    ids: list[list[int]]
    pixels: Tensor | None
