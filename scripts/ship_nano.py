"""Put a trained phantom-nano into the package, and measure what was put there.

    python scripts/ship_nano.py runs/nano/finish/model     copy it, then measure
    python scripts/ship_nano.py                            measure only

Weights are kept in float16. The figures, on scenes of the test split, which
training never sees, go to benchmarks/results/nano.json; scripts/readme.py writes them into the README.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from phantom_edge.checkpoint.convert import convert
from phantom_edge.shipped import NANO

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "nano.json"
COMMAND = [sys.executable, "-m", "phantom_edge"]
PICTURES = 1050
"""Test scenes drawn; somewhat more than 5,000 questions."""

QUESTIONS = 5000


def ship(trained: Path) -> None:
    """Copy the checkpoint into the package."""
    convert(trained, NANO, to_official=False, dtype=torch.float16, force=True)


def measure() -> dict[str, object]:
    """What ``phantom-edge eval`` says of it on the test split."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = Path(folder) / "scenes"
        subprocess.run(
            [*COMMAND, "data", "scenes", str(scenes), "--split", "test", "--pictures", str(PICTURES)], check=True
        )
        asked = [*COMMAND, "eval", "nano", "--data", str(scenes / "triples.jsonl"), "--limit", str(QUESTIONS), "--json"]
        report: dict[str, object] = json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)
    return report


def main() -> None:
    """Ship and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, nargs="?", help="folder of the finished checkpoint")
    trained = parser.parse_args().trained
    if trained is not None:
        ship(trained)
    report = measure()
    report["data"] = f"phantom-edge data scenes --split test --pictures {PICTURES}"
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
