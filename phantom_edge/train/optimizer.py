"""Muon for matrices and AdamW for the rest, as one optimizer that Trainer can schedule, save and resume."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class MuonAndAdamW(torch.optim.Optimizer):
    """torch's Muon on the weights of linear layers, torch's AdamW on tables, norms, biases and convolutions.

    Muon's step is scaled to AdamW's size (``match_rms_adamw``), so one learning rate serves both.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float]) -> None:
        matrices = {
            id(module.weight): module.weight
            for module in model.modules()
            if isinstance(module, nn.Linear) and module.weight.requires_grad
        }
        tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}  # a tied head is a table
        for table in tables:
            matrices.pop(table, None)
        rest = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in matrices]
        muon = torch.optim.Muon(
            list(matrices.values()), lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        adamw = torch.optim.AdamW(rest, lr=lr, weight_decay=0.0, betas=betas)
        self.parts: tuple[torch.optim.Optimizer, ...] = (muon, adamw)
        groups = [group for part in self.parts for group in part.param_groups]
        super().__init__([{"params": group["params"]} for group in groups], {"lr": lr})
        self.param_groups = groups  # the parts' very dicts, so that a schedule reaches both

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Step both optimizers."""
        assert closure is None
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of both."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of both, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states of both."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
