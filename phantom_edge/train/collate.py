"""Batches of questions about pictures, where nothing is computed twice.

One row holds one picture, every question that is asked about it, and the answers to each: a tree. A token attends to
its own branch from the root down, never to a neighbour's, and its position counts along that branch. So a row equals
its questions one by one, exactly, and a rejected answer costs its own tokens only: it shares the picture and the
question with the chosen one.

    picture -+- question 1 -+- chosen
             |              +- rejected
             +- question 2 --- chosen
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from phantom_edge.data.rows import Picture, Sample
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.images import ImageSource
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.prompt import IMAGE_MARK, expand


@dataclass(frozen=True)
class Pair:
    """A question with one chosen and one rejected answer; ``rejected`` is None where there is none."""

    question: str
    chosen: str
    rejected: str | None = None
    kind: str = ""


@dataclass(frozen=True)
class Group:
    """Pairs about the same pictures: one row of a batch."""

    images: tuple[ImageSource, ...]
    pairs: tuple[Pair, ...]


def groups_of(samples: Iterable[Sample], most: int = 16) -> Iterator[Group]:
    """Yields groups of pairs: a pair for each rejected answer, a group for each run of samples about the same pictures.

    A group has at most ``most`` pairs. A question that places its pictures itself has a group of its own.
    """
    images: tuple[Picture, ...] = ()
    pairs: list[Pair] = []
    for sample in samples:
        triple = sample.triple
        for rejected in triple.rejected or (None,):
            starts_anew = sample.pictures != images or len(pairs) >= most or IMAGE_MARK in triple.question
            if pairs and (starts_anew or IMAGE_MARK in pairs[-1].question):
                yield Group(images, tuple(pairs))
                pairs = []
            images = sample.pictures
            pairs.append(Pair(triple.question, triple.chosen, rejected, triple.kind))
    if pairs:
        yield Group(images, tuple(pairs))


class Batch(TypedDict):
    """Groups as tensors: R rows of N tokens, A answers with T tokens in all, P pairs.

    ``input_ids``, ``position_ids``, ``questions``, ``answers`` (R, N): the last two number the branches of a row,
    0 for the part that branches share, -1 for padding, which lies on the right. ``pixel_values`` (tiles, 3, S, S) and
    ``tiles_per_image`` (pictures,), in the order of the rows.
    ``target_row``, ``target_from``, ``target_id``, ``target_answer`` (T,): an answer's token ``target_id`` is
    predicted at position ``target_from``. ``chosen`` and ``rejected`` (P,) number answers; ``kinds`` (P,) number
    the collator's kinds.
    """

    input_ids: Tensor
    position_ids: Tensor
    questions: Tensor
    answers: Tensor
    target_row: Tensor
    target_from: Tensor
    target_id: Tensor
    target_answer: Tensor
    chosen: Tensor
    kinds: Tensor
    rejected: NotRequired[Tensor]
    pixel_values: NotRequired[Tensor]
    tiles_per_image: NotRequired[Tensor]


class _Row:
    """A row that grows branch by branch."""

    def __init__(self, trunk: list[int]) -> None:
        self.ids = list(trunk)
        self.positions = list(range(len(trunk)))
        self.questions = [0] * len(trunk)
        self.answers = [0] * len(trunk)
        self.trunk = len(trunk)

    def add_question(self, ids: list[int], question: int) -> int:
        """Append a question; returns the index of its last token, which predicts an answer's first."""
        self._extend(ids, self.trunk, question, 0)
        return len(self.ids) - 1

    def add_answer(self, ids: list[int], position: int, question: int, answer: int) -> range:
        """Append an answer; returns the range of its tokens."""
        start = len(self.ids)
        self._extend(ids, position, question, answer)
        return range(start, len(self.ids))

    def _extend(self, ids: list[int], position: int, question: int, answer: int) -> None:
        self.ids += ids
        self.positions += range(position, position + len(ids))
        self.questions += [question] * len(ids)
        self.answers += [answer] * len(ids)


@dataclass(frozen=True)
class _Branch:
    """A question of a row: its number there, index of its last token, length of the prompt, answers by their text."""

    number: int
    last: int
    length: int
    answers: dict[str, int]


class _Targets:
    """Prediction targets of a batch."""

    def __init__(self) -> None:
        self.row: list[int] = []
        self.source: list[int] = []
        self.ids: list[int] = []
        self.answer: list[int] = []
        self.count = 0

    def add(self, row: int, before: int, places: range, ids: list[int]) -> int:
        """Add an answer whose tokens ``ids`` lie at ``places`` and whose first is predicted at ``before``."""
        self.row += [row] * len(ids)
        self.source += [before, *places[:-1]]
        self.ids += ids
        self.answer += [self.count] * len(ids)
        self.count += 1
        return self.count - 1


class Collator:
    """Makes batches of groups.

    ``max_tokens`` is the maximum row length; a longer row raises EdgeError. ``kinds`` are numbered as listed.
    """

    def __init__(self, processor: PhantomProcessor, max_tokens: int = 4096, kinds: Sequence[str] = ("",)) -> None:
        self.processor = processor
        self.max_tokens = max_tokens
        self.kinds = {kind: number for number, kind in enumerate(kinds)}
        pad = processor.tokenizer.pad_token_id
        assert pad is not None  # the processor ensures it
        self.pad = int(pad)
        self._answer = lru_cache(maxsize=4096)(self._answer_ids)  # "yes" and "no" come by the thousand

    def __call__(self, groups: Sequence[Group]) -> Batch:
        has_rejected = all(pair.rejected is not None for group in groups for pair in group.pairs)
        targets, rows = _Targets(), []
        chosen: list[int] = []
        rejected: list[int] = []
        prompts, pixels, tiles = self._prompts(groups)
        for number, (group, ids) in enumerate(zip(groups, prompts, strict=True)):
            trunk = _shared(ids)
            row = _Row(ids[0][:trunk])
            questions: dict[str, _Branch] = {}
            for pair, prompt in zip(group.pairs, ids, strict=True):
                if pair.question not in questions:
                    last = row.add_question(prompt[trunk:], len(questions) + 1)
                    questions[pair.question] = _Branch(len(questions) + 1, last, len(prompt), {})
                branch = questions[pair.question]
                chosen.append(self._place(pair.chosen, branch, row, number, targets))
                if has_rejected and pair.rejected is not None:
                    rejected.append(self._place(pair.rejected, branch, row, number, targets))
            rows.append(row)
        input_ids, position_ids, question_numbers, answer_numbers = self._padded(rows)
        batch = Batch(
            input_ids=input_ids,
            position_ids=position_ids,
            questions=question_numbers,
            answers=answer_numbers,
            target_row=torch.tensor(targets.row),
            target_from=torch.tensor(targets.source),
            target_id=torch.tensor(targets.ids),
            target_answer=torch.tensor(targets.answer),
            chosen=torch.tensor(chosen),
            kinds=torch.tensor([self.kinds[pair.kind] for group in groups for pair in group.pairs]),
        )
        if has_rejected:
            batch["rejected"] = torch.tensor(rejected)
        if pixels:
            batch["pixel_values"], batch["tiles_per_image"] = torch.cat(pixels), torch.tensor(tiles)
        return batch

    def _place(self, text: str, branch: "_Branch", row: _Row, number: int, targets: _Targets) -> int:
        """Returns the answer's number; appends it to the row unless another pair of the question has it, too."""
        if text not in branch.answers:
            tokens = self._answer(text)
            places = row.add_answer(tokens, branch.length, branch.number, len(branch.answers) + 1)
            branch.answers[text] = targets.add(number, branch.last, places, tokens)
        return branch.answers[text]

    def _padded(self, rows: list[_Row]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns ids, positions, questions and answers of all rows, padded on the right."""
        longest = max(len(row.ids) for row in rows)
        if longest > self.max_tokens:
            raise EdgeError(
                f"a row has {longest} tokens, more than {self.max_tokens}", "shorten the answers, or allow more tokens"
            )

        def filled(lists: list[list[int]], filler: int) -> Tensor:
            return torch.tensor([[*items, *[filler] * (longest - len(items))] for items in lists])

        return (
            filled([row.ids for row in rows], self.pad),
            filled([row.positions for row in rows], 0),
            filled([row.questions for row in rows], -1),
            filled([row.answers for row in rows], -1),
        )

    def _prompts(self, groups: Sequence[Group]) -> tuple[list[list[list[int]]], list[Tensor], list[int]]:
        """Returns prompt ids of every pair, the tiles of every group once, and their number in each picture."""
        ids: list[list[list[int]]] = []
        pixels: list[Tensor] = []
        counts: list[int] = []
        for group in groups:
            tiles: list[int] = []
            if group.images:
                cut = self.processor.image_processor(group.images)
                pixels.append(torch.as_tensor(cut["pixel_values"]))
                tiles = cut["tiles_per_image"]
                counts += tiles
            texts = [self._text(pair.question, len(group.images)) for pair in group.pairs]
            ids.append(self._ids([expand(text, tiles, self.processor.tokens_per_tile) for text in texts]))
        return ids, pixels, counts

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return [list(ids) for ids in self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def _text(self, question: str, images: int, answer: str | None = None) -> str:
        marks = "" if IMAGE_MARK in question else IMAGE_MARK * images
        turns = [{"role": "user", "content": marks + question}]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        text = self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer is None)
        assert isinstance(text, str)
        return text

    def _answer_ids(self, answer: str) -> list[int]:
        """Returns ids of an answer with the turn's end, tokenized by itself, as the model will generate it."""
        before = self._text("?", 0)
        whole = self._text("?", 0, answer)
        assert whole.startswith(before), "the chat template changes the prompt when an answer follows"
        return self._ids([whole[len(before) :]])[0]


def _shared(prompts: list[list[int]]) -> int:
    """Returns the length of the prompts' common prefix; at least the last token stays with each question."""
    equal = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False)))
    return min(equal, min(map(len, prompts)) - 1)


def branch_mask(questions: Tensor, answers: Tensor, position_ids: Tensor, window: int | None = None) -> Tensor:
    """Attention mask (R, 1, N, N), True where the row's token attends to the column's.

    A token attends to itself and to earlier tokens of its own branch, at most ``window`` positions back.
    """
    tokens = questions.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool, device=questions.device).tril()
    seen = causal & _on_branch(questions) & _on_branch(answers)
    if window is not None:
        seen &= position_ids[:, :, None] - position_ids[:, None, :] < window
    return (seen | torch.eye(tokens, dtype=torch.bool, device=questions.device))[:, None]


def _on_branch(branch: Tensor) -> Tensor:
    return (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
