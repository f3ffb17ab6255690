"""The objectives of the paper's Table 4: SFT, SimPO, their sum (PO, eq. 4), and DPO beside them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""Label of a position that is no part of an answer: prompt, picture, padding."""


@dataclass(frozen=True)
class Preference:
    """Strength of the preference term. The paper: beta 2, gamma 0.5; DPO's own beta is usually 0.1."""

    beta: float = 2.0
    gamma: float = 0.5


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of answers, (B,) each, and how many tokens they have.

    ``reference_*`` are those under the frozen reference model, which DPO alone needs.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    reference_chosen: Tensor | None = None
    reference_rejected: Tensor | None = None


def answer_log_probs(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each row's answer, and its length in tokens: both (B,).

    ``logits`` (B, N, vocab) at a position predict the next one; ``labels`` (B, N) hold the answer's ids at their own
    positions and IGNORED elsewhere. A label at position 0 has nothing before it and does not count.
    """
    targets = labels[:, 1:]
    counted = targets != IGNORED
    chosen = torch.where(counted, targets, 0)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    steps = F.log_softmax(wide[:, :-1], dim=-1).gather(-1, chosen[..., None]).squeeze(-1)
    return torch.where(counted, steps, 0.0).sum(-1), counted.sum(-1)


def sft_loss(scores: Scores) -> Tensor:
    """Negative log-likelihood of the chosen answers, averaged over all their tokens."""
    return -scores.chosen.sum() / scores.chosen_tokens.sum().clamp(min=1)


def margin(scores: Scores) -> Tensor:
    """How much likelier a token of the chosen answer is than one of the rejected, in nats (B,)."""
    return scores.chosen / scores.chosen_tokens.clamp(min=1) - scores.rejected / scores.rejected_tokens.clamp(min=1)


def simpo_loss(scores: Scores, preference: Preference) -> Tensor:
    """-log sigmoid(beta * margin - gamma), averaged over the pairs (SimPO, arXiv 2405.14734)."""
    return -F.logsigmoid(preference.beta * margin(scores) - preference.gamma).mean()


def po_loss(scores: Scores, preference: Preference) -> Tensor:
    """Phantom Optimization: L_SFT plus the SimPO term (paper, eq. 4)."""
    return sft_loss(scores) + simpo_loss(scores, preference)


def dpo_loss(scores: Scores, preference: Preference) -> Tensor:
    """-log sigmoid(beta * (gain of chosen - gain of rejected)) over the reference model (arXiv 2305.18290)."""
    assert scores.reference_chosen is not None and scores.reference_rejected is not None
    gain = (scores.chosen - scores.reference_chosen) - (scores.rejected - scores.reference_rejected)
    return -F.logsigmoid(preference.beta * gain).mean()


OBJECTIVES: dict[str, Callable[[Scores, Preference], Tensor]] = {
    "po": po_loss,
    "sft": lambda scores, _preference: sft_loss(scores),
    "simpo": simpo_loss,
    "dpo": dpo_loss,
}
