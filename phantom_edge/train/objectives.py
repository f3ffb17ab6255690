"""The objectives of the paper's Table 4: SFT, SimPO, their sum (PO, eq. 4), and DPO beside them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Preference:
    """Strength of the preference term. The paper: beta 2, gamma 0.5; DPO's own beta is usually 0.1."""

    beta: float = 2.0
    gamma: float = 0.5


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of answers and their numbers of tokens, (P,) each.

    ``rejected*`` are None where there are no rejected answers, ``reference_*`` are those under the frozen reference
    model, which DPO alone needs. ``step_tokens`` and ``step_pairs`` count the chosen tokens and the pairs of the
    whole optimizer step, over all its micro-batches and processes, so that their losses add up to the step's; None
    where these are all.
    """

    chosen: Tensor
    chosen_tokens: Tensor
    rejected: Tensor | None = None
    rejected_tokens: Tensor | None = None
    reference_chosen: Tensor | None = None
    reference_rejected: Tensor | None = None
    step_tokens: Tensor | None = None
    step_pairs: Tensor | None = None


def token_log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """Returns the log-probability (T,) of each of ``targets`` (T,) under ``logits`` (T, vocab), in float32 or wider."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.log_softmax(wide, dim=-1).gather(-1, targets[:, None]).squeeze(-1)


def answer_sums(values: Tensor, answer: Tensor, answers: int) -> Tensor:
    """Returns sums (answers,) of ``values`` (T,) over each answer's tokens; ``answer`` (T,) is a token's answer."""
    return values.new_zeros(answers).index_add(0, answer, values)


def sft_loss(scores: Scores) -> Tensor:
    """Negative log-likelihood of the chosen answers, averaged over all their tokens."""
    tokens = scores.chosen_tokens.sum() if scores.step_tokens is None else scores.step_tokens
    return -scores.chosen.sum() / tokens.clamp(min=1)


def margin(scores: Scores) -> Tensor:
    """Mean log-probability of the chosen answer's tokens minus that of the rejected one's, in nats (P,)."""
    assert scores.rejected is not None and scores.rejected_tokens is not None
    return scores.chosen / scores.chosen_tokens.clamp(min=1) - scores.rejected / scores.rejected_tokens.clamp(min=1)


def simpo_loss(scores: Scores, preference: Preference) -> Tensor:
    """-log sigmoid(beta * margin - gamma), averaged over the pairs (SimPO, arXiv 2405.14734)."""
    return _average(-F.logsigmoid(preference.beta * margin(scores) - preference.gamma), scores)


def po_loss(scores: Scores, preference: Preference) -> Tensor:
    """Phantom Optimization: L_SFT plus the SimPO term (paper, eq. 4)."""
    return sft_loss(scores) + simpo_loss(scores, preference)


def dpo_loss(scores: Scores, preference: Preference) -> Tensor:
    """-log sigmoid(beta * (gain of chosen - gain of rejected)) over the reference model (arXiv 2305.18290)."""
    assert scores.rejected is not None and scores.reference_rejected is not None
    assert scores.reference_chosen is not None
    gain = (scores.chosen - scores.reference_chosen) - (scores.rejected - scores.reference_rejected)
    return _average(-F.logsigmoid(preference.beta * gain), scores)


def _average(losses: Tensor, scores: Scores) -> Tensor:
    return losses.mean() if scores.step_pairs is None else losses.sum() / scores.step_pairs.clamp(min=1)


OBJECTIVES: dict[str, Callable[[Scores, Preference], Tensor]] = {
    "po": po_loss,
    "sft": lambda scores, _preference: sft_loss(scores),
    "simpo": simpo_loss,
    "dpo": dpo_loss,
}
