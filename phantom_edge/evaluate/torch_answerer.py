"""The reference model as an answerer: greedy, in batches, every picture encoded once.

All questions about a picture begin alike, so the part of the prompt up to the last image token runs once a picture and
its cache is copied for each question; then the questions run in left-padded batches. Answers equal those of
``generate`` one by one, up to rounding.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling

from phantom_edge.checkpoint.generation import carried
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.data.examples import Picture, Query
from phantom_edge.evaluate.answerer import Progress
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.json_file import regular
from phantom_edge.processing.images import open_image
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.prompt import IMAGE_MARK, expand
from phantom_edge.processing.tiling import Tiling, choose_grid
from phantom_edge.processing.token_ids import check_ids
from phantom_edge.runtime.constraints import constraint

MOST_ROWS = 64
ROWS_TIMES_TOKENS = 1 << 14
"""Limits of the default batch: its caches stay below a gigabyte for the 0.5B model in bf16."""
TILES_AT_ONCE = 16

Pictures = tuple[Picture, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class _Row:
    """A question as tokens: ``prefix`` ends with the last image token, ``suffix`` is the rest of the prompt."""

    number: int
    pictures: Pictures
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    question: str


class TorchAnswerer:
    """Answers with a model in memory, in its own number format.

    ``batch`` is the number of questions that run together, and of pictures' caches held; by default as many as fit a
    moderate memory.
    """

    def __init__(
        self,
        model: PhantomForConditionalGeneration,
        processor: PhantomProcessor,
        batch: int | None = None,
        max_new_tokens: int = 64,
    ) -> None:
        for name, value in (("batch", batch), ("max-new-tokens", max_new_tokens)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} is {value}", "give 1 or more")
        self.model = model
        self.processor = processor
        self.max_new_tokens = max_new_tokens
        tiling = processor.image_processor.tiling
        self.batch = batch or moderate_batch(tiling, processor.tokens_per_tile, max_new_tokens)
        self.carried = carried(model.generation_config, model.config)

    @torch.inference_mode()
    def answer(self, queries: Sequence[Query], progress: Progress = lambda _: None) -> list[str]:
        """See :class:`~phantom_edge.evaluate.answerer.Answerer`. A model in training mode returns to it."""
        training = self.model.training
        self.model.eval()
        try:
            return self._answer(queries, progress)
        finally:
            self.model.train(training)

    def _answer(self, queries: Sequence[Query], progress: Progress) -> list[str]:
        texts = [""] * len(queries)
        groups: dict[Pictures, list[int]] = {}
        for number, query in enumerate(queries):
            groups.setdefault(query.images, []).append(number)
        tiling = self.processor.image_processor.tiling
        tiles_of = {picture: _tiles(picture, tiling) for pictures in groups for picture in pictures}
        alike = sorted(groups.items(), key=lambda group: sum(tiles_of[picture] for picture in group[0]))
        for window in _batches(alike, self.batch):
            features, tiles = self._encode_images([pictures for pictures, _ in window])
            numbers = [number for _, group in window for number in group]
            rows = self._rows({number: queries[number] for number in numbers}, tiles)
            for some in self._by_prefix(rows):
                for done in self._answer_rows(some, features):
                    for number, answer in done.items():
                        texts[number] = self.processor.tokenizer.decode(answer, skip_special_tokens=True)
                    progress(len(done))
        return texts

    def _encode_images(self, groups: Sequence[Pictures]) -> tuple[dict[Picture, Tensor], dict[Picture, int]]:
        """Returns features (tokens, hidden) and number of tiles of every picture, each encoded once."""
        sources = list(dict.fromkeys(picture for pictures in groups for picture in pictures))
        if not sources:
            return {}, {}
        batch = self.processor.image_processor(list(sources), return_tensors="pt")
        counts = batch["tiles_per_image"]
        parts = [
            self.model.get_image_features(tiles.to(self.model.device), return_dict=True).pooler_output
            for tiles in torch.split(batch["pixel_values"], TILES_AT_ONCE)
        ]
        each = torch.split(torch.cat(parts), counts)
        return {s: f.flatten(0, 1) for s, f in zip(sources, each, strict=True)}, dict(zip(sources, counts, strict=True))

    def _rows(self, queries: dict[int, Query], tiles: dict[Picture, int]) -> list[_Row]:
        chats = []
        for query in queries.values():
            if not query.question.strip():
                raise EdgeError("a question is empty", "run: phantom-edge data validate DATA --repaired fixed.jsonl")
            marks = "" if IMAGE_MARK in query.question else IMAGE_MARK * len(query.images)
            chats.append([{"role": "user", "content": marks + query.question}])
        texts = self.processor.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        prompts = [
            expand(str(text), [tiles[picture] for picture in query.images], self.processor.tokens_per_tile)
            for text, query in zip(texts, queries.values(), strict=True)
        ]
        tokens = self.processor.tokenizer(prompts, add_special_tokens=False)["input_ids"]
        return [self._row(number, query, ids) for (number, query), ids in zip(queries.items(), tokens, strict=True)]

    def _row(self, number: int, query: Query, ids: list[int]) -> _Row:
        config = self.model.config.text
        check_ids(ids, config.vocab_size, self.processor.tokenizer.convert_ids_to_tokens)
        if len(ids) >= config.max_position_embeddings:
            raise EdgeError(
                f"a prompt has {len(ids)} tokens, the model's context is {config.max_position_embeddings}: "
                f"{query.question[:60]!r}",
                "shorten the question, or leave it out",
            )
        image = self.model.config.image_token_id
        cut = len(ids) - ids[::-1].index(image) if image in ids else 1
        if len(ids) + self.max_new_tokens > self._padding_matters_from():
            cut = len(ids) - 1
        return _Row(number, query.images, tuple(ids[:cut]), tuple(ids[cut:]), query.question)

    def _padding_matters_from(self) -> float:
        """Returns the length from which a prompt can be cut only before its last token.

        A sliding window counts padding between picture and question as tokens, and longrope rotates all keys anew past
        its original length. Cut before its last token, a prompt has no padding inside.
        """
        config = self.model.config.text
        limits = (config.sliding_window, (config.rope_parameters or {}).get("original_max_position_embeddings"))
        return min((limit for limit in limits if limit), default=float("inf"))

    def _by_prefix(self, rows: list[_Row]) -> Iterator[list[_Row]]:
        """Yields rows in groups of at most ``batch`` prefixes, apart from rows cut before their last token."""
        for is_long in (False, True):
            prefixes: dict[tuple[Pictures, tuple[int, ...]], list[_Row]] = {}
            for row in rows:
                if (len(row.suffix) == 1) is is_long:
                    prefixes.setdefault((row.pictures, row.prefix), []).append(row)
            ordered = sorted(prefixes.values(), key=lambda group: len(group[0].prefix))
            for some in _batches(ordered, self.batch):
                yield [row for group in some for row in group]

    def _answer_rows(self, rows: list[_Row], features: dict[Picture, Tensor]) -> Iterator[dict[int, list[int]]]:
        """Yields batches of answers as tokens, by number; equal lengths and questions run together: they end alike."""
        prefixes: dict[tuple[Pictures, tuple[int, ...]], int] = {}
        for row in rows:
            prefixes.setdefault((row.pictures, row.prefix), len(prefixes))
        ids, mask = self._pad([prefix for _, prefix in prefixes])
        seen = [features[picture] for pictures, _ in prefixes for picture in pictures]
        images = {"image": BaseModelOutputWithPooling(pooler_output=torch.cat(seen))} if seen else None
        cache = self.model.model(
            input_ids=ids, attention_mask=mask, mm_encoder_outputs=images, use_cache=True
        ).past_key_values
        for batch in _batches(sorted(rows, key=lambda row: (len(row.suffix), row.question)), self.batch):
            chosen = torch.tensor([prefixes[row.pictures, row.prefix] for row in batch], device=ids.device)
            answers = self._greedy(batch, _rows_of(cache, chosen), mask[chosen])
            yield {row.number: answer for row, answer in zip(batch, answers, strict=True)}

    def _greedy(self, rows: Sequence[_Row], cache: Cache, mask: Tensor) -> list[list[int]]:
        """Decode greedily, without the tokens that end answers; a finished row leaves the batch."""
        ids, more = self._pad([row.suffix for row in rows])
        mask = torch.cat([mask, more], dim=1)
        ends = torch.tensor(self.carried.stop_tokens, dtype=torch.long, device=ids.device)
        answers: list[list[int]] = [[] for _ in rows]
        alive = torch.arange(len(rows), device=ids.device)
        for _ in range(self.max_new_tokens):
            logits = self.model(
                input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1
            ).logits
            tokens = self._likeliest(logits[:, -1], [(rows[row], answers[row]) for row in alive.tolist()])
            going = ~torch.isin(tokens, ends)
            for row, token in zip(alive[going].tolist(), tokens[going].tolist(), strict=True):
                answers[row].append(token)
            if not going.all():
                alive, tokens, mask = alive[going], tokens[going], mask[going]
                cache.batch_select_indices(going.nonzero().squeeze(1))
            if not len(alive):
                break
            ids = tokens[:, None]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        return answers

    def _likeliest(self, logits: Tensor, rows: Sequence[tuple[_Row, list[int]]]) -> Tensor:
        """Tokens (B,) from logits (B, vocab) and the rows with their answers so far, by the checkpoint's settings."""
        settings = self.carried.generation
        if settings.is_plain:
            return logits.argmax(dim=-1)
        changed = []
        for (row, answer), scores in zip(rows, logits.float().cpu().numpy(), strict=True):
            prompt = [*row.prefix, *row.suffix]
            changed.append(constraint(settings, self.carried.stop_tokens, len(prompt))(prompt + answer, scores))
        return torch.from_numpy(np.stack(changed)).argmax(dim=-1).to(logits.device)

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Returns rows as ids and mask (B, N), padded on the left."""
        longest = max(map(len, rows))
        pad = self.processor.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows], device=self.model.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=self.model.device)
        return ids, mask


def moderate_batch(tiling: Tiling, tokens_per_tile: int, max_new_tokens: int) -> int:
    """Returns the default batch size, for questions about one picture each."""
    tokens = (tiling.max_tiles + tiling.thumbnail) * tokens_per_tile + 64 + max_new_tokens  # 64 for the question
    return max(1, min(MOST_ROWS, ROWS_TIMES_TOKENS // tokens))


def _tiles(picture: Picture, tiling: Tiling) -> int:
    """Returns a picture's number of tiles, from its header alone: equal numbers run together without padding.

    For a picture that must be rotated the number may be wrong, which costs padding only. Raises EdgeError for a file
    that is no picture, before any work.
    """
    try:
        with Image.open(BytesIO(picture) if isinstance(picture, bytes) else regular(picture)) as header:
            columns, rows = choose_grid(*header.size, tiling)
    except (OSError, ValueError, SyntaxError, ArithmeticError):
        columns, rows = choose_grid(*open_image(picture).size, tiling)  # raises EdgeError with the fault
    return columns * rows


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    ordered = list(items)
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def _rows_of(cache: Cache, rows: Tensor) -> Cache:
    """Returns a cache of some rows, with repeats; the given one stays unchanged.

    Shallow copies suffice: a cache layer replaces its tensors and never writes into them.
    """
    picked = copy(cache)
    picked.layers = [copy(layer) for layer in cache.layers]
    picked.batch_select_indices(rows)
    return picked
