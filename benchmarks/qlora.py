"""Peak memory and time of training adapters over an 8- or 4-bit base of a real shape, random weights.

    python benchmarks/qlora.py 0.5b --bases nf4 int8 --scratch runs/qlora --out benchmarks/results/qlora.json

Twenty optimizer steps of step 2 each, a picture with its questions a step, as processes of their own; the peak is what
the kernel accounts to them. Random weights learn little; that the loss falls at all is the check that they learn.
"""

import argparse
import json
import os
import platform
from pathlib import Path

from memory import CLI, measure
from rich.console import Console
from rich.table import Table

from phantom_edge.models.sizes import SIZES
from phantom_edge.train.runs import RunFolder

STEPS = 20
TRAIN = ("--step", "2", "--batch", "1", "--micro-batch", "1", "--rank", "16", "--alpha", "32", "--lr", "2e-4")


def main() -> None:
    """Measure each base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--bases", nargs="+", default=["nf4"])
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    scenes, checkpoint = (str(options.scratch / name) for name in ("scenes", options.size))
    measure(CLI, "data", "scenes", scenes, "--pictures", "20", "--size", "448", "--force")
    measure(CLI, "init", options.size, checkpoint, "--random", "--force")
    rows = []
    for base in options.bases:
        run = options.scratch / f"run-{base}"
        arguments = ("train", "po", checkpoint, "--data", f"{scenes}/triples.jsonl", "--out", str(run), "--base", base)
        figures = measure(CLI, *arguments, *TRAIN, "--max-steps", str(STEPS), "--held-out", "0")
        losses = [line["sft_loss"] for line in RunFolder(run).lines() if "sft_loss" in line]
        rows.append({"size": options.size, "base": base, **figures, "first_loss": losses[0], "last_loss": losses[-1]})
    weights = sum(SIZES[options.size].parameters().values()) * 2 / 1e6
    document = {
        "steps": STEPS,
        "train": " ".join(TRAIN),
        "weights_fp16_megabytes": round(weights),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rows": rows,
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    table = Table("size", "base", "peak memory, MB", "seconds", "SFT loss, first step", "last step")
    for row in rows:
        table.add_row(
            *(str(row[name]) for name in ("size", "base", "peak_megabytes", "seconds", "first_loss", "last_loss"))
        )
    Console().print(f"weights in float16: {weights:,.0f} MB", table)


if __name__ == "__main__":
    main()
