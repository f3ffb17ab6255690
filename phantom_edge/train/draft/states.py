"""Hidden states of a frozen model over the answers of triples: what a draft layer learns from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.runtime.drafting import AFTER
from phantom_edge.train.collate import Batch, Collator, Group, Pair, branch_mask


@dataclass(frozen=True)
class States:
    """Tokens of answers, one answer behind the other.

    ``hidden`` (N, width) predicted the token ``ids`` (N,); ``left`` (N,) tokens of the same answer follow it, and
    ``before`` (N,) precede it.
    """

    hidden: Tensor
    ids: Tensor
    left: Tensor
    before: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def split(self, share: float) -> tuple["States", "States"]:
        """The states without the last ``share``, and those, cut between answers."""
        starts = torch.nonzero(self.before == 0).flatten()
        cut = int(starts[min(round(len(starts) * (1 - share)), len(starts) - 1)])
        return self._part(slice(None, cut)), self._part(slice(cut, None))

    def _part(self, which: slice) -> "States":
        return States(self.hidden[which], self.ids[which], self.left[which], self.before[which])


def long_answers(groups: Iterable[Group], processor: PhantomProcessor, most: int) -> list[Group]:
    """Groups with chosen answers that are long enough for a draft, up to ``most`` tokens of answers."""
    found, tokens = [], 0
    for group in groups:
        pairs = dict.fromkeys(Pair(pair.question, pair.chosen) for pair in group.pairs)
        lengths = [len(ids) for ids in processor.tokenizer([pair.chosen for pair in pairs])["input_ids"]]
        kept = {pair: length for pair, length in zip(pairs, lengths, strict=True) if length > AFTER}
        if kept:
            found.append(Group(group.images, tuple(kept)))
        tokens += sum(kept.values())
        if tokens >= most:
            break
    return found


@torch.no_grad()
def read_states(
    model: PhantomForConditionalGeneration,
    processor: PhantomProcessor,
    groups: Sequence[Group],
    rows: int,
    advance: Callable[[int], object],
) -> States:
    """The states of all answers, ``rows`` groups at a time; ``advance`` counts groups."""
    collate = Collator(processor, model.config.text.max_position_embeddings)
    parts = []
    for start in range(0, len(groups), rows):
        some = groups[start : start + rows]
        parts.append(_states(model, collate(some)))
        advance(len(some))
    return States(*(torch.cat([getattr(part, name) for part in parts]) for name in States.__dataclass_fields__))


def _states(model: PhantomForConditionalGeneration, batch: Batch) -> States:
    window = model.config.text.sliding_window
    mask = branch_mask(batch["questions"], batch["answers"], batch["position_ids"], window)
    device = model.device
    hidden = model.model(
        input_ids=batch["input_ids"].to(device),
        attention_mask=mask.to(device),
        position_ids=batch["position_ids"].to(device),
        pixel_values=batch["pixel_values"].to(device) if "pixel_values" in batch else None,
        use_cache=False,
    ).last_hidden_state
    found = hidden[batch["target_row"].to(device), batch["target_from"].to(device)].float().cpu()
    lengths = batch["target_answer"].bincount()
    before = torch.cat([torch.arange(length) for length in lengths.tolist()])
    return States(found, batch["target_id"], lengths.repeat_interleave(lengths) - 1 - before, before)
