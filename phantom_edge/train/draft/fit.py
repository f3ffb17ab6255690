"""Training of a draft layer against the next-token distributions of its frozen model."""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phantom_edge.models.draft import DraftLayer, drafted
from phantom_edge.models.draft_shape import DraftShape
from phantom_edge.runtime.drafting import AFTER
from phantom_edge.train.draft.states import States

LATER = 0.8
"""Weight of a step's loss relative to the step before."""

WARMUP, LARGEST_GRADIENT, INITIAL = 0.05, 1.0, 0.02
"""Share of the steps with a rising rate, norm at which gradients are clipped, and deviation of initial weights."""


@dataclass(frozen=True)
class Frozen:
    """What a draft layer shares with its model: all embeddings (vocab, hidden), and table and head of its words."""

    embedding: Tensor
    table: Tensor
    head: Tensor
    words: Tensor


def begun(shape: DraftShape, last_norm: Tensor) -> DraftLayer:
    """A layer that passes on the hidden state at first; ``last_norm`` is the weight of the model's last norm."""
    layer = DraftLayer(shape)
    with torch.no_grad():
        for weight in (layer.join.weight, layer.gate_up.weight, layer.down.weight):
            nn.init.normal_(weight, std=INITIAL)
        layer.join.weight[:, : shape.hidden] += torch.eye(shape.hidden)
        layer.last_norm.weight.copy_(last_norm)
    return layer


def fit(
    layer: DraftLayer,
    states: States,
    frozen: Frozen,
    shape: DraftShape,
    batch: int,
    updates: int,
    learning_rate: float,
    advance: Callable[[int], object],
) -> float:
    """Train a layer by ``updates`` steps of AdamW over chains from ``batch`` positions; ``advance`` counts them.

    Returns the mean loss of the last tenth, nats a token.
    """
    starts, losses = starts_of(states), []
    optimizer = torch.optim.AdamW(layer.parameters(), lr=learning_rate, weight_decay=0.01)
    rising = max(1, round(WARMUP * updates))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1.0, (done + 1) / rising) * (1 + cos(pi * done / updates)) / 2
    )
    layer.train()
    with torch.enable_grad():
        for _ in range(updates):
            chosen = starts[torch.randint(len(starts), (batch,))]
            loss = chain_loss(layer, states, frozen, shape.steps, chosen)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(layer.parameters(), LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            advance(1)
    layer.eval()
    last = losses[-max(1, updates // 10) :]
    return sum(last) / len(last)


def starts_of(states: States) -> Tensor:
    """Positions from which a draft may begin."""
    return torch.nonzero((states.left >= 1) & (states.before >= AFTER - 1)).flatten()


def chain_loss(layer: DraftLayer, states: States, frozen: Frozen, steps: int, chosen: Tensor) -> Tensor:
    """Cross-entropy (nats a token) of chains that begin at the positions ``chosen``, later steps by less weight."""
    hidden, ids = states.hidden[chosen], states.ids[chosen]
    total, weights = torch.zeros(()), 0.0
    for step in range(1, steps + 1):
        hidden = layer(hidden, frozen.embedding[ids])
        goes_on = states.left[chosen] >= step
        there = (chosen + step).clamp(max=len(states) - 1)
        wanted = (states.hidden[there] @ frozen.head.T).softmax(-1)
        apart = F.cross_entropy(hidden @ frozen.head.T, wanted, reduction="none")
        weight = LATER ** (step - 1)
        total = total + weight * apart[goes_on].sum() / goes_on.sum().clamp(min=1)
        weights, ids = weights + weight, states.ids[there]
    return total / weights


@torch.no_grad()
def accepted(layer: DraftLayer, states: States, frozen: Frozen, steps: int) -> float:
    """Mean number of a draft's tokens that the model would have chosen itself, over the positions of ``states``.

    A draft counts as far as the answer of the data is the model's own choice.
    """
    starts = starts_of(states)
    embeds = frozen.embedding[states.ids[starts]]
    drafts = frozen.words[drafted(layer, states.hidden[starts], embeds, frozen.table, frozen.head, steps)]
    own = (states.hidden @ frozen.head.T).argmax(-1)
    ahead = (starts[:, None] + torch.arange(1, steps + 1)).clamp(max=len(states) - 1)  # (N, steps)
    stands = (drafts == frozen.words[own[ahead]]) & (states.left[starts, None] >= torch.arange(1, steps + 1))
    is_own = frozen.words[own[ahead]] == states.ids[ahead]
    follows = torch.cat([torch.ones(len(starts), 1, dtype=torch.bool), is_own[:, :-1]], dim=-1)
    return float((stands & follows).long().cumprod(-1).sum(-1).float().mean())
