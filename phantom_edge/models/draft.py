"""A draft layer: from the decoder's last hidden state and the newest token to the next hidden state, and a guess.

A chain as in EAGLE (arXiv 2401.15077, section 4.1), without attention and hence without a cache of its own: a draft
costs a few small products. Embedding and head are the model's own, for the draft vocabulary alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phantom_edge.models.decoder import RMSNorm
from phantom_edge.models.draft_shape import DraftShape


class DraftLayer(nn.Module):
    """One step of a draft: ``z = join([hidden; norm(embeds)])``, then ``norm(z + mlp(norm(z)))``."""

    def __init__(self, shape: DraftShape) -> None:
        super().__init__()
        self.token_norm = RMSNorm(shape.hidden, shape.eps)
        self.join = nn.Linear(2 * shape.hidden, shape.hidden, bias=False)
        self.mlp_norm = RMSNorm(shape.hidden, shape.eps)
        self.gate_up = nn.Linear(shape.hidden, 2 * shape.inner, bias=False)
        self.down = nn.Linear(shape.inner, shape.hidden, bias=False)
        self.last_norm = RMSNorm(shape.hidden, shape.eps)

    def forward(self, hidden: Tensor, embeds: Tensor) -> Tensor:
        """Hidden states (..., hidden) that predicted tokens, and these tokens' ``embeds``: the next hidden states."""
        joined = self.join(torch.cat([hidden, self.token_norm(embeds)], dim=-1))
        gate, up = self.gate_up(self.mlp_norm(joined)).chunk(2, dim=-1)
        found: Tensor = self.last_norm(joined + self.down(F.silu(gate) * up))
        return found


def drafted(layer: DraftLayer, hidden: Tensor, embeds: Tensor, table: Tensor, head: Tensor, steps: int) -> Tensor:
    """Rows (N, steps) of the draft vocabulary: each the likeliest after the one before.

    ``table`` and ``head`` (words, hidden) are the model's embedding and head for the draft vocabulary.
    """
    found = []
    for _ in range(steps):
        hidden = layer(hidden, embeds)
        rows = (hidden @ head.T).argmax(-1)
        embeds = table[rows]
        found.append(rows)
    return torch.stack(found, dim=-1)
