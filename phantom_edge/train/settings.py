"""The numbers of a fine-tuning run."""

from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

from phantom_edge.foundation.errors import UsageError
from phantom_edge.train.objectives import OBJECTIVES

STEPS = (1, 2)
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "adamw_8bit", "apollo_adamw")
"""transformers' names. apollo_adamw needs the package apollo-torch, adamw_8bit an accelerator."""
BASES = ("full", "lora", "int8", "nf4")
"""Training of the linear layers in step 2: in full, or through adapters over a float, 8-bit or 4-bit base."""


FEW = 100
"""Optimizer steps in a step of the recipe below which a model hardly moves."""

PAPER = (128, 1.0, 1e-5)
"""Pictures per optimizer step, epochs, and initial learning rate of the paper, for millions of triples."""

STEPS_PER_EPOCH, STEPS_WANTED, RATE = 15, 120, 1e-4
"""The recipe of ``benchmarks/own_triples.py``, which a few hundred pictures are enough for."""


def for_amount(pictures: int) -> tuple[int, float, float]:
    """Batch, epochs and learning rate for a number of training pictures.

    The paper's, where they make at least ``FEW`` optimizer steps; else as many small steps as were measured to teach
    phantom-nano 100 pictures.
    """
    if pictures // PAPER[0] >= FEW:
        return PAPER
    batch = min(max(pictures // STEPS_PER_EPOCH, 1), PAPER[0])
    return batch, float(max(1, ceil(STEPS_WANTED / max(1, ceil(pictures / batch))))), RATE


def micro_batch_for(batch: int, most: int = 4) -> int:
    """The largest divisor of ``batch`` up to ``most``."""
    return next(size for size in range(min(batch, most), 0, -1) if batch % size == 0)


@dataclass(frozen=True)
class Settings:
    """Settings of Phantom Optimization; the defaults are the paper's (section 4, arXiv 2409.14713).

    ``steps`` are run in order: 1 trains projector, phantom maps and gates with ``objective``, 2 trains everything
    with SFT, or with ``second_objective``. ``batch`` groups of questions make an optimizer step, ``micro_batch`` of
    them at a time. Learning rates run from ``learning_rate`` to ``final_learning_rate`` along a cosine.
    """

    steps: tuple[int, ...] = STEPS
    objective: str = "po"
    second_objective: str = "sft"
    beta: float = 2.0
    gamma: float = 0.5
    epochs: float = 1.0
    max_steps: int = -1
    batch: int = 128
    micro_batch: int = 4
    learning_rate: float = 1e-5
    final_learning_rate: float = 1e-6
    warmup: float = 0.03
    weight_decay: float = 0.0
    optimizer: str = "adamw_torch"
    base: str = "full"
    rank: int = 256
    alpha: int = 256
    held_out: float = 0.1
    max_tokens: int = 4096
    checkpoint_every: int = 50
    gradient_checkpointing: bool = False
    bf16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        rules = (
            (bool(self.steps) and set(self.steps) <= set(STEPS), f"--step is {self.steps}", "give 1, 2 or neither"),
            (self.objective in OBJECTIVES, f"--objective is {self.objective}", f"choose from {', '.join(OBJECTIVES)}"),
            (
                self.second_objective in OBJECTIVES,
                f"--second-objective is {self.second_objective}",
                f"choose from {', '.join(OBJECTIVES)}",
            ),
            (self.optimizer in OPTIMIZERS, f"--optimizer is {self.optimizer}", f"choose from {', '.join(OPTIMIZERS)}"),
            (self.base in BASES, f"--base is {self.base}", f"choose from {', '.join(BASES)}"),
            (
                self.batch >= 1 and self.micro_batch >= 1,
                "a batch is empty",
                "give --batch and --micro-batch 1 or more",
            ),
            (
                self.batch % self.micro_batch == 0,
                f"--batch {self.batch} is no multiple of --micro-batch {self.micro_batch}",
                "change one of them",
            ),
            (0 < self.learning_rate < 1, f"--learning-rate is {self.learning_rate:g}", "give more than 0, less than 1"),
            (
                0 <= self.final_learning_rate <= self.learning_rate,
                f"--final-learning-rate is {self.final_learning_rate:g}",
                "give 0 or more, and no more than --learning-rate",
            ),
            (0 <= self.held_out < 1, f"--held-out is {self.held_out:g}", "give a share of the pictures, such as 0.1"),
            (0 <= self.seed < 2**32, f"--seed is {self.seed}", f"give 0 to {2**32 - 1}"),
            (self.epochs > 0, f"--epochs is {self.epochs:g}", "give more than 0"),
            (self.beta > 0, f"--beta is {self.beta:g}", "give more than 0"),
            (self.rank >= 1 and self.alpha >= 1, "an adapter has rank or alpha 0", "give --rank and --alpha 1 or more"),
        )
        for holds, problem, remedy in rules:
            if not holds:
                raise UsageError(problem, remedy)

    def objective_of(self, step: int) -> str:
        """Returns the objective of ``step``."""
        return self.objective if step == 1 else self.second_objective

    def document(self) -> dict[str, Any]:
        """Returns the settings as a JSON object."""
        return asdict(self) | {"steps": list(self.steps)}

    def with_micro_batch(self, processes: int) -> "Settings":
        """Returns settings for several processes, each of which takes its share of a batch."""
        share, rest = divmod(self.batch, processes)
        if rest or share == 0:
            raise UsageError(
                f"--batch {self.batch} is no multiple of {processes} processes", f"give a multiple of {processes}"
            )
        micro = min(self.micro_batch, share)
        while share % micro:
            micro -= 1
        return replace(self, micro_batch=micro)
