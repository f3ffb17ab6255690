"""Peak memory and time of training adapters over an 8- or 4-bit base of a real shape, random weights.

    python -m benchmarks.qlora 0.5b --bases nf4 int8 --out benchmarks/results/qlora.json

Twenty optimizer steps of step 2 each, a picture with its questions a step, as processes of their own. Random weights
learn little; that the loss falls at all is the check that they learn. The floor: the weights in float16.
"""

from benchmarks.harness import begin, edge, machine
from benchmarks.materials import checkpoint, scenes
from phantom_edge.models.sizes import SIZES
from phantom_edge.train.runs import RunFolder

STEPS = 20
TRAIN = "--step 2 --batch 1 --micro-batch 1 --rank 16 --alpha 32 --lr 2e-4"


def main() -> None:
    """Measure each base."""
    bench = begin("qlora", __doc__, {"dest": "size", "choices": SIZES}, bases=["nf4"])
    size, rows = bench.asked.size, []
    data, model = scenes(bench.scratch / "scenes", 20, "train", size=448), checkpoint(size, bench.scratch / size)
    for base in bench.asked.bases:
        run = bench.scratch / f"run-{base}"
        arguments = ("--base", base, *TRAIN.split(), "--max-steps", STEPS, "--held-out", 0)
        figures = edge("train", "po", model, "--data", data, "--out", run, *arguments)
        losses = [line["sft_loss"] for line in RunFolder(run).lines() if "sft_loss" in line]
        rows.append({"size": size, "base": base, **figures, "first_loss": losses[0], "last_loss": losses[-1]})
    weights = round(sum(SIZES[size].parameters().values()) * 2 / 1e6)
    about = {"steps": STEPS, "train": TRAIN, "weights_fp16_megabytes": weights, "machine": machine()}
    bench.write({**about, "rows": rows})


if __name__ == "__main__":
    main()
