"""Which weights a step of the paper's recipe trains (section 4)."""

from collections.abc import Iterator

from torch import nn

from phantom_edge.models.modeling import PhantomForConditionalGeneration

FIRST_STEP = (
    "model.projector.",
    ".phantom_query.",
    ".phantom_key.",
    ".phantom_value.",
    ".gate_plain.",
    ".gate_phantom.",
)
"""Step 1 trains the projector, the phantom maps X and the gates; vision tower and language model stand still."""


def in_first_step(name: str) -> bool:
    """Whether the parameter of that name is trained in step 1."""
    return any(part in name for part in FIRST_STEP)


def trained(model: PhantomForConditionalGeneration, step: int) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that ``step`` (1 or 2) trains: in step 2 all."""
    return ((name, weight) for name, weight in model.named_parameters() if step == 2 or in_first_step(name))


def freeze_for(model: PhantomForConditionalGeneration, step: int) -> int:
    """Let only what ``step`` trains require gradients; returns how many numbers that are."""
    model.requires_grad_(False)
    count = 0
    for _, weight in trained(model, step):
        weight.requires_grad_(True)
        count += weight.numel()
    return count
