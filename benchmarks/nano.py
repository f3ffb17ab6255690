"""Put a trained phantom-nano into the package, and measure what was put there on scenes that training never sees.

    python -m benchmarks.nano runs/nano/camera/model --scratch runs/nano-measured      copy it, then measure
    python -m benchmarks.nano --scratch runs/nano-measured                             measure only

Weights are kept in float16. The figures of the docs are those of ``--out benchmarks/results/nano.json``.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.branch import BranchSize, head_maps, switch_off
from benchmarks.harness import begin, edge_says, machine
from benchmarks.materials import scenes
from phantom_edge.convert.convert import convert
from phantom_edge.generate import load
from phantom_edge.models.shipped import NANO
from phantom_edge.models.sizes import SIZES
from phantom_edge.train.collate import Collator
from phantom_edge.train.nano.scenes import SCENE_KINDS, SceneGroups, SceneRange
from phantom_edge.train.trainer import read_targets

CARD = """---
license: apache-2.0
language: en
library_name: phantom-edge
pipeline_tag: image-text-to-text
tags:
- phantom
- vision-language
---
# phantom-nano

A Phantom (arXiv 2409.14713) of {parameters:.1f} M parameters, trained from nothing by phantom-edge on pictures that
`phantom-edge data scenes` draws. It answers ten kinds of questions about such pictures, in English, in a few words:
right in {right:.1f} % of {questions:,} questions about scenes that training never saw.

## Direct Use

Trying and testing phantom-edge on pictures that `phantom-edge data scenes` draws.

## Out-of-Scope Use

Anything else, photos above all: it knows these drawn scenes only, and says something about every picture all the same.

## Origin

Whole architecture (InternViT, tiles and thumbnail, pixel shuffle, grouped queries, phantom attention with eta 1),
weights in float16. The handwriting is that of the UCI digits that scikit-learn brings. Made by `make train-nano`.
"""
PICTURES = 1050
"""Test scenes drawn; somewhat more than 5,000 questions."""

QUESTIONS = 5000


def measure(scratch: Path) -> dict[str, Any]:
    """The report of ``phantom-edge eval`` on the test split."""
    data = scenes(scratch / "scenes", PICTURES, "test")
    return edge_says("eval", "nano", "--data", data, "--limit", QUESTIONS, "--dtype", "fp32")


@torch.no_grad()
def measure_branch(pictures: int = 512) -> dict[str, Any]:
    """The share of the phantom branch in attention, and the effect of switching it off in the trained model."""
    model, processor = load("nano", torch.float32)
    maps, groups = head_maps(model), SceneGroups(SceneRange("test", 50_000, pictures))
    collator = Collator(processor, kinds=SCENE_KINDS)

    def answers() -> tuple[Tensor, Tensor]:
        log_probs, verdicts = [], []
        for start in range(0, pictures, 32):
            batch = collator([groups[index] for index in range(start, min(start + 32, pictures))])
            found, right = read_targets(model, batch)
            log_probs.append(found)
            verdicts.append(right[batch["chosen"]])
        return torch.cat(log_probs), torch.cat(verdicts)

    size = BranchSize(maps)
    with_branch, right = answers()
    size.stop()
    switch_off(maps)
    without, right_off = answers()
    return {
        "questions": len(right),
        "share_least": min(size.shares()),
        "share_most": max(size.shares()),
        "right": float(right.float().mean()),
        "right_without": float(right_off.float().mean()),
        "log_prob_change_most": float((with_branch - without).abs().max()),
    }


def training_seconds(run: Path) -> dict[str, float]:
    """Seconds of each stage of a run, from its metrics."""
    seconds: dict[str, float] = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()):
        seconds[line["stage"]] = seconds.get(line["stage"], 0.0) + line["seconds"]
    return seconds


def card(overall: dict[str, Any]) -> str:
    """The model card, with the accuracy on all questions."""
    return CARD.format(
        parameters=sum(SIZES["nano"].parameters().values()) / 1e6,
        right=100 * overall["accuracy"]["value"],
        questions=overall["questions"],
    )


def main() -> None:
    """Ship and measure."""
    bench = begin("nano", __doc__, {"dest": "trained", "type": Path, "nargs": "?"})
    trained, before = bench.asked.trained, bench.before()
    if trained is not None:
        convert(trained, NANO, to_official=False, dtype=torch.float16, force=True)
    report = measure(bench.scratch)
    report["training_seconds"] = training_seconds(trained.parents[1]) if trained else before.get("training_seconds")
    report["branch"] = measure_branch()
    report["machine"] = machine()
    report["data"] = f"phantom-edge data scenes --split test --pictures {PICTURES}"
    (NANO / "README.md").write_text(card(report["overall"]), encoding="utf-8")
    bench.write(report)


if __name__ == "__main__":
    main()
