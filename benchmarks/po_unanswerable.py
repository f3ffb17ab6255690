"""PO against SFT alone, at equal steps on equal data, on questions that a picture cannot answer.

    python -m benchmarks.po_unanswerable runs/nano/finish/model --out benchmarks/results/po-unanswerable.json

Every run starts from the same checkpoint, which has never been asked such a question, and sees the same pictures in the
same order; runs of a seed differ in their objective alone. Half of the kinds of question are asked unanswerably once
more, and wrong answers to those are confident guesses.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from transformers.utils.logging import set_verbosity_error

from benchmarks.harness import Json, begin, machine
from benchmarks.nano_ruler import Part, measure
from phantom_edge.data.scenes.exhibit import Material
from phantom_edge.models.sizes import SIZES
from phantom_edge.train.nano.model import new_processor
from phantom_edge.train.nano.recipe import MetricsCallback, load_trained, run_stage
from phantom_edge.train.nano.stages import SEED_STRIDE, Stage

MATERIALS: tuple[Material, ...] = ("plain", "plain", "plain", "nothing")
"""Pictures of one tile, and none: quick to train on, and enough to ask what cannot be known."""

STAGE = Stage("unanswerable", 120, 32, 3e-4, materials=MATERIALS, warmup=10, final_share=0.02)
OBJECTIVES = ("sft", "po")
PART = Part("unanswerable", ("plain", "blank", "nothing"), unanswerable=1.0)
QUESTIONS = 2000


def run(start: Path, scratch: Path, objective: str, seed: int, steps: int, questions: int) -> Json:
    """Train with one objective, and ask."""
    own = scratch / f"{objective}-{seed}"
    model, processor = load_trained(start), new_processor(SIZES["nano"])
    run_stage(
        replace(STAGE, objective=objective, steps=steps),
        model,
        processor,
        own,
        first_scene=(100 + seed) * SEED_STRIDE,
        seed=seed,
        evaluate=False,
        callbacks=(MetricsCallback(objective, own),),
    )
    processor.save_pretrained(own / "model")
    model.save_pretrained(own / "model")
    return {"objective": objective, "seed": seed, **measure(PART, own / "model", scratch, questions)}


def main() -> None:
    """Measure the start and every run, each once."""
    start = {"dest": "start", "type": Path, "help": "a checkpoint from before the stage tiles"}
    bench = begin("po-unanswerable", __doc__, start, seeds=2, steps=STAGE.steps, questions=QUESTIONS)
    asked = bench.asked
    torch.manual_seed(0)
    set_verbosity_error()
    rows = [
        bench.once(
            f"{objective}-{seed}-result",
            partial(run, asked.start, bench.scratch, objective, seed, asked.steps, asked.questions),
        )
        for seed in range(asked.seeds)
        for objective in OBJECTIVES
    ]
    bench.write({"steps": asked.steps, "batch": STAGE.batch, "runs": rows, "machine": machine()})


if __name__ == "__main__":
    main()
