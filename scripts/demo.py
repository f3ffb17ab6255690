"""What ``make demo`` shows: the model inside the package, end to end on this machine.

The commands are run as a person would type them: ask about pictures that the model has never seen, count how often it
is right, take its checkpoint to the official layout and back without changing a bit.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from phantom_edge.files import whole_folder

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path("runs/demo")
SAMPLES = Path("apps/samples")
"""Four pictures of the test split: phantom-edge data scenes apps/samples --split test --seed 9000 --pictures 4"""

COMMAND = [sys.executable, "-c", "from phantom_edge.cli.main import main; main()"]
ASKED = ("digits", "text", "relation")
console = Console()


def say(text: str, style: str = "") -> None:
    """A line of the demo's own."""
    console.print(text, style=style, highlight=False, soft_wrap=True)


def phantom_edge(*arguments: str) -> None:
    """Run one command of ours and stop where it fails."""
    say(f"\n[bold]$ phantom-edge {shlex.join(arguments)}[/]")
    done = subprocess.run([*COMMAND, *arguments], check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(done.returncode)


def questions() -> list[dict[str, str]]:
    """One question of each kind in ``ASKED`` about the sample pictures."""
    lines = (ROOT / SAMPLES / "triples.jsonl").read_text(encoding="utf-8").splitlines()
    known: dict[str, dict[str, str]] = {}
    for line in map(json.loads, lines):
        known.setdefault(line["kind"], line)
    return [known[kind] for kind in ASKED]


def main() -> None:
    """The walk."""
    say("[bold]phantom-edge demo[/]: phantom-nano, a small Phantom that knows drawn scenes and nothing else")
    for question in questions():
        phantom_edge("run", "--image", str(SAMPLES / question["image"]), question["question"])
        say(f"(it is: {question['chosen']})", "dim")
    phantom_edge("eval", "nano", "--data", str(SAMPLES / "triples.jsonl"))
    with whole_folder(ROOT / RUNS, force=True):
        pass
    official, back, half = (str(RUNS / name) for name in ("official", "back", "half"))
    phantom_edge("convert", "nano", half, "--to", "ours", "--dtype", "fp16")
    phantom_edge("convert", half, official)
    phantom_edge("convert", official, back)
    first, second = (ROOT / folder / "model.safetensors" for folder in (half, back))
    if first.read_bytes() != second.read_bytes():
        sys.exit("error: the weights changed on the way to the official layout and back")
    say("the weights came back bit for bit", "green")
    say(f"\npictures: {SAMPLES}; checkpoints: {RUNS}. Real shapes: phantom-edge init 0.5b OUT --random")


if __name__ == "__main__":
    main()
