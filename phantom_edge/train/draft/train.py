"""Trains a draft layer beside a frozen checkpoint, and writes both as a new checkpoint."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from phantom_edge.checkpoint.draft import SHAPE, WEIGHTS, Draft, write_draft
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.checkpoint.source import Source
from phantom_edge.data.sources import open_triples
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.files import check_target, whole_folder
from phantom_edge.models.draft_shape import INNER, MOST_STEPS, MOST_WORDS, STEPS, DraftShape
from phantom_edge.models.hub import find_folder
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.runtime.drafting import AFTER
from phantom_edge.train.collate import groups_of
from phantom_edge.train.draft.fit import Frozen, accepted, begun, fit, starts_of
from phantom_edge.train.draft.states import long_answers, read_states

COPIED = (".json", ".jinja", ".md", ".model", ".safetensors", ".txt")
"""Endings of a checkpoint's files; code and pickles are not copied."""

Begin = Callable[[str, int], Callable[[int], object]]


@dataclass(frozen=True)
class Settings:
    """Settings of a run. ``steps`` are the tokens of a draft, ``words`` at most its vocabulary.

    ``tokens`` of answers are learned from at most; ``rows`` groups are in memory at a time.
    """

    steps: int = STEPS
    words: int = MOST_WORDS
    tokens: int = 200_000
    updates: int = 500
    batch: int = 512
    learning_rate: float = 2e-3
    held_out: float = 0.1
    rows: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        rules = (
            (1 <= self.steps <= MOST_STEPS, f"--steps is {self.steps}", f"give 1 to {MOST_STEPS}"),
            (1 <= self.words <= MOST_WORDS, f"--words is {self.words}", f"give 1 to {MOST_WORDS}"),
            (self.tokens >= 1, f"--tokens is {self.tokens}", "give 1 or more"),
            (self.updates >= 2, f"--updates is {self.updates}", "give 2 or more"),
            (self.batch >= 1 and self.rows >= 1, "a batch is empty", "give --batch and --micro-batch 1 or more"),
            (0 < self.learning_rate < 1, f"--learning-rate is {self.learning_rate:g}", "give more than 0, less than 1"),
            (0 < self.held_out < 1, f"--held-out is {self.held_out:g}", "give a share of the answers, such as 0.1"),
            (0 <= self.seed < 2**32, f"--seed is {self.seed}", f"give 0 to {2**32 - 1}"),
        )
        for holds, problem, remedy in rules:
            if not holds:
                raise UsageError(problem, remedy)


@dataclass(frozen=True)
class Trained:
    """Result of a run. ``tokens_a_step`` is expected of answers that were held out, behind their first tokens.

    ``covered`` is the share of the tokens of answers that the draft vocabulary has.
    """

    tokens: int
    answers: int
    words: int
    covered: float
    loss: float
    tokens_a_step: float


def train_draft(source: str, data: Path | str, out: Path, settings: Settings, begin: Begin, *, force: bool) -> Trained:
    """Write the checkpoint ``source`` with a draft layer to ``out``, which appears whole or not at all.

    ``begin`` counts pictures and updates. Raises EdgeError for mistakes that the user can fix.
    """
    check_target(out, force)
    folder = find_folder(source)
    if out.resolve() == folder.resolve() or folder.resolve().is_relative_to(out.resolve()):
        raise EdgeError(f"{out} holds the checkpoint {folder}", "write to a folder beside it")
    Source.open(folder).check_ids()
    processor = PhantomProcessor.from_pretrained(folder)
    groups = long_answers(groups_of(open_triples(data)), processor, settings.tokens)
    if not groups:
        raise EdgeError(
            f"{data} has no answers of more than {AFTER} tokens, where drafts begin",
            "give triples with descriptions: phantom-edge data scenes",
        )
    torch.manual_seed(settings.seed)
    model = PhantomForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    states = read_states(model, processor, groups, settings.rows, begin("reading answers", len(groups)))
    train, held_out = states.split(settings.held_out)
    if not len(starts_of(train)) or not len(starts_of(held_out)):
        raise EdgeError(f"{data} has too few long answers to train and to measure on", "give more triples")
    text = model.config.text
    frozen = _frozen(model, _words(train.ids, text.vocab_size, settings.words))
    shape = DraftShape(text.hidden_size, INNER * text.hidden_size, len(frozen.words), settings.steps, text.rms_norm_eps)
    layer = begun(shape, model.model.language_model.norm.weight.detach())
    step = begin("training", settings.updates)
    loss = fit(layer, train, frozen, shape, settings.batch, settings.updates, settings.learning_rate, step)
    draft = Draft(shape, layer, frozen.words)
    _write(folder, out, draft, force)
    return Trained(
        tokens=len(states),
        answers=int((states.before == 0).sum()),
        words=len(frozen.words),
        covered=float(torch.isin(held_out.ids, frozen.words).float().mean()),
        loss=loss,
        tokens_a_step=1 + accepted(layer, held_out, frozen, settings.steps),
    )


def _words(ids: Tensor, vocabulary: int, most: int) -> Tensor:
    """Token ids of the draft vocabulary, ascending: all, or the commonest of the answers."""
    if vocabulary <= most:
        return torch.arange(vocabulary)
    commonest = ids.bincount().argsort(descending=True, stable=True)[: min(most, len(set(ids.tolist())))]
    words: Tensor = commonest.sort().values
    return words


def _frozen(model: PhantomForConditionalGeneration, words: Tensor) -> Frozen:
    embedding = model.model.language_model.embed_tokens.weight.detach()
    return Frozen(embedding, embedding[words], model.lm_head.weight.detach()[words], words)


def _write(folder: Path, out: Path, draft: Draft, force: bool) -> None:
    """Write the checkpoint's own files as they are, and the draft beside them."""
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and (path.suffix in COPIED or path.name.startswith("LICENSE"))
    ]
    needed = sum(path.stat().st_size for path in files)
    with whole_folder(out, force=force, bytes_needed=needed) as new:
        for path in files:
            if path.name not in (SHAPE, WEIGHTS):
                shutil.copyfile(path, new / path.name)
        write_draft(new, draft)


def document(trained: Trained, out: Path) -> dict[str, object]:
    """The document of ``--json``."""
    return {"model": str(out), **asdict(trained)}
