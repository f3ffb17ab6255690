"""Put a trained phantom-nano into the package, and measure what was put there.

    python scripts/ship_nano.py runs/nano/finish/model     copy it, then measure
    python scripts/ship_nano.py                            measure only

Weights are kept in float16. The figures, on scenes of the test split, which
training never sees, go to benchmarks/results/nano.json; scripts/readme.py writes them into the README.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phantom_edge.convert.convert import convert
from phantom_edge.generate import load
from phantom_edge.models.attention import HeadMap
from phantom_edge.models.shipped import NANO
from phantom_edge.models.sizes import SIZES
from phantom_edge.train.collate import Collator
from phantom_edge.train.nano.scenes import SCENE_KINDS, SceneGroups, SceneRange
from phantom_edge.train.trainer import read_targets

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "nano.json"
COMMAND = [sys.executable, "-m", "phantom_edge"]
CARD = """# phantom-nano

A Phantom (arXiv 2409.14713) of {parameters:.1f} M parameters, trained from nothing by phantom-edge on pictures that
`phantom-edge data scenes` draws. It answers ten kinds of questions about such pictures, in English, in a few words:
right in {right:.1f} % of {questions:,} questions about scenes that training never saw. It knows nothing else, and says
something about every picture all the same: it is there to try and to test the toolkit with, not to be relied on.

Whole architecture (InternViT, tiles and thumbnail, pixel shuffle, grouped queries, phantom attention with eta 1),
weights in float16. The handwriting is that of the UCI digits that scikit-learn brings. Made by `make train-nano`.
Licence: Apache-2.0.
"""
PICTURES = 1050
"""Test scenes drawn; somewhat more than 5,000 questions."""

QUESTIONS = 5000


def ship(trained: Path) -> None:
    """Copy the checkpoint into the package."""
    convert(trained, NANO, to_official=False, dtype=torch.float16, force=True)


def measure() -> dict[str, Any]:
    """What ``phantom-edge eval`` says of it on the test split."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes"
        subprocess.run(
            [*COMMAND, "data", "scenes", str(scenes), "--split", "test", "--pictures", str(PICTURES)], check=True
        )
        asked = [*COMMAND, "eval", "nano", "--data", str(scenes / "triples.jsonl"), "--limit", str(QUESTIONS)]
        report: dict[str, Any] = json.loads(
            subprocess.run([*asked, "--dtype", "fp32", "--json"], check=True, stdout=subprocess.PIPE).stdout
        )
    return report


@torch.no_grad()
def measure_branch(pictures: int = 512) -> dict[str, Any]:
    """How much the phantom branch weighs, and what switching it off in the trained model changes."""
    model, processor = load("nano", torch.float32)
    maps = [module for module in model.modules() if isinstance(module, HeadMap)]
    scenes = SceneGroups(SceneRange("test", 50_000, pictures))
    collator = Collator(processor, kinds=SCENE_KINDS)
    shares: list[float] = []

    def note_share(_map: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        shares.append(float(output.norm(dim=-1).mean() / inputs[0].norm(dim=-1).mean()))

    def answers() -> tuple[Tensor, Tensor]:
        log_probs, verdicts = [], []
        for start in range(0, pictures, 32):
            batch = collator([scenes[index] for index in range(start, min(start + 32, pictures))])
            found, right = read_targets(model, batch)
            log_probs.append(found)
            verdicts.append(right[batch["chosen"]])
        return torch.cat(log_probs), torch.cat(verdicts)

    hooks = [head_map.register_forward_hook(note_share) for head_map in maps]
    with_branch, right = answers()
    for hook in hooks:
        hook.remove()
    for head_map in maps:
        head_map.eta = 0.0
    without, right_off = answers()
    sizes = torch.tensor(shares).view(-1, len(maps)).mean(0)
    return {
        "questions": len(right),
        "share_least": float(sizes.min()),
        "share_most": float(sizes.max()),
        "right": float(right.float().mean()),
        "right_without": float(right_off.float().mean()),
        "log_prob_change_most": float((with_branch - without).abs().max()),
    }


def training_seconds(run: Path) -> dict[str, float]:
    """How long each stage of a run took, from its metrics; of a stage that was resumed, the last part."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["stage"]: round(line["train_runtime"]) for line in lines if "train_runtime" in line}


def main() -> None:
    """Ship and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, nargs="?", help="folder of the finished checkpoint")
    trained = parser.parse_args().trained
    if trained is not None:
        ship(trained)
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    report = measure()
    report["training_seconds"] = training_seconds(trained.parents[1]) if trained else before.get("training_seconds")
    report["branch"] = measure_branch()
    report["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    report["data"] = f"phantom-edge data scenes --split test --pictures {PICTURES}"
    overall = report["overall"]
    card = CARD.format(
        parameters=sum(SIZES["nano"].parameters().values()) / 1e6,
        right=100 * overall["accuracy"]["value"],
        questions=overall["questions"],
    )
    (NANO / "README.md").write_text(card, encoding="utf-8")
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
