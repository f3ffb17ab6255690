"""Weights that each step of the paper's recipe trains (section 4)."""

from torch import nn

FIRST_STEP = ("projector", "phantom_query", "phantom_key", "phantom_value", "gate_plain", "gate_phantom")
"""Modules that step 1 trains: the projector, the phantom maps X and the gates; the rest of the model is frozen.

Small and new to the language model, they are never adapted or quantized either.
"""


def in_first_step(name: str) -> bool:
    """True where step 1 trains the parameter or module of that name."""
    return any(part in FIRST_STEP for part in name.split("."))


def freeze_for(model: nn.Module, step: int) -> None:
    """Freeze all parameters but those that ``step`` (1 or 2) trains: in step 2 all are trained."""
    for name, weight in model.named_parameters():
        weight.requires_grad_(step == 2 or in_first_step(name))


def trained_parameters(model: nn.Module) -> int:
    """Returns the number of trained parameters."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
