"""Compares a bundle's draft layer with its checkpoint's, and answers under drafts with those without."""

from collections.abc import Sequence

import numpy as np
import torch

from phantom_edge.bundle.proof import ABSOLUTE, DIVERGENCE, OTHERS, RELATIVE, Check
from phantom_edge.checkpoint.draft import Draft
from phantom_edge.export.proof.judge import Judge, Read
from phantom_edge.export.proof.measures import Tally
from phantom_edge.models.draft import drafted
from phantom_edge.runtime.drafting import Decoding, Drafted
from phantom_edge.runtime.engine import DraftingEngine, Floats

CASES = ("text alone", "a picture")
"""Cases that are compared: drafts read no picture and no prompt of their own."""

PROPOSED = 32
"""Number of drafts to compare."""


def compare_drafts(judge: Judge, read: Read, hidden: torch.Tensor, draft: Draft) -> list[Check]:
    """Checks of the stage ``draft``: hidden states, proposed tokens, and the logits of an answer that is drafted.

    ``hidden`` are the reference's last hidden states over prompt and answer. Whatever is proposed, answers stay the
    same: so proposed tokens have a bound only where nothing is rounded.
    """
    engine = judge.runner.engine
    assert isinstance(engine, DraftingEngine)
    states, bounds, found = Tally(), judge.trial.bounds, []
    for start, part in judge.runner.chunks(read.case, read.embeds):
        found.append(engine.forward_hidden(part, start, np.arange(len(part)))[1])
        states.add(found[-1], hidden[start : start + len(part)], is_logits=False)
    answers = _answer(engine, read, judge)
    proposed = _proposed(engine, np.concatenate(found), read, judge, draft)
    found_in = {**_of(states, HIDDEN), **_of(answers, ANSWER)}
    named = [(read.case.name, measure, value, bounds.get(measure)) for measure, value in found_in.items()]
    named.append((f"{read.case.name}, proposed", OTHERS, proposed, 0.0 if bounds.get(OTHERS) == 0 else None))
    return [Check("draft", *one) for one in named]  # type: ignore[arg-type]


def _of(tally: Tally, names: Sequence[str]) -> dict[str, float | None]:
    return {name: value for name, value in tally.measures().items() if name in names}


HIDDEN, ANSWER = (RELATIVE, ABSOLUTE), (DIVERGENCE, OTHERS)
"""Measures of hidden states against the reference, and of logits with drafts against those without."""


def _answer(engine: DraftingEngine, read: Read, judge: Judge) -> Tally:
    """Logits after every token of the bundle's answer, under drafts, against those of the plain decoding."""
    decoding, tally = Decoding(engine, Drafted(), is_drafting=True), Tally()
    for step, token in enumerate(read.answer.tolist()):
        room = judge.runner.manifest.cache.max_context - len(read.ids) - step - 1
        found = decoding.after(token, len(read.ids) + step, drafts=room)
        tally.add(found[None], torch.from_numpy(read.decoded[step : step + 1]), is_logits=True)
    return tally


def _proposed(engine: DraftingEngine, hidden: Floats, read: Read, judge: Judge, draft: Draft) -> float:
    """Share of the proposed tokens that are not those of the checkpoint's layer, for the same hidden states."""
    rows, ids = hidden[:-1][-PROPOSED:], read.ids[1:][-PROPOSED:]
    reference = judge.reference
    table, head = reference.table[draft.words].float(), reference.head[draft.words]
    embeds = reference.embed(torch.from_numpy(ids))
    wanted = draft.words[drafted(draft.layer, torch.from_numpy(rows), embeds, table, head, draft.shape.steps)].numpy()
    found = np.stack([engine.draft(row, int(token)) for row, token in zip(rows, ids, strict=True)])
    return float(np.mean(found != wanted))
