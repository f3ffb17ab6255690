"""Runs ``make demo``: the model inside the package becomes a bundle, is proved, and answers about new pictures.

Everything lands in runs/demo: the bundle, the report of its verification, and the pictures.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console

from phantom_edge.cli.console import print_table
from phantom_edge.export.sessions import open_session
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path("runs/demo")
COMMAND = [sys.executable, "-c", "from phantom_edge.cli.start import main; main()"]
SEED, PICTURES, QUESTIONS = 9100, 3, 10
SAMPLE = "apps/samples/00000/00009002.png"
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


def questions(triples: Path) -> list[dict[str, Any]]:
    """Ten of those about the pictures, drawn by the seed."""
    lines = [json.loads(line) for line in triples.read_text(encoding="utf-8").splitlines()]
    by_picture: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_picture.setdefault(line["image"], []).append(line)
    share, random = -(-QUESTIONS // len(by_picture)), Random(SEED)
    picked = [line for own in by_picture.values() for line in random.sample(own, min(share, len(own)))]
    return picked[:QUESTIONS]


def ask(bundle: Path, scenes: Path) -> None:
    """Ten questions to one session."""
    session = open_session(bundle)
    rows = []
    right = 0
    for line in questions(scenes / "triples.jsonl"):
        answer = Answer()
        for _ in session.ask(line["question"], [scenes / line["image"]], Sampling(64), answer):
            pass
        right += answer.text == line["chosen"]
        rows.append(
            (
                Path(line["image"]).name,
                line["question"],
                answer.text if answer.text == line["chosen"] else f"{answer.text} (it is: {line['chosen']})",
                f"{1000 * answer.seconds_to_first_token:.0f}",
                f"{answer.tokens_per_second:.0f}" if answer.tokens > 1 else "-",
                f"{answer.reused_tokens} of {answer.prompt_tokens}",
            )
        )
    say("")
    print_table(
        f"{right} of {len(rows)} right",
        ("picture", "question", "answer", "first token, ms", "tokens/s", "prompt tokens reused"),
        rows,
        "a second question about a picture costs its own words only",
    )


def main() -> None:
    """The walk."""
    say("[bold]phantom-edge demo[/]: phantom-nano, a small Phantom that knows drawn scenes and nothing else")
    bundle, scenes, report = (RUNS / name for name in ("bundle", "scenes", "verification.html"))
    phantom_edge("export", "nano", "--target", "onnx", "--out", str(bundle), "--force")  # stopped, it goes on
    phantom_edge("verify", str(bundle), "--html", str(report))
    phantom_edge(
        *(
            "data",
            "scenes",
            str(scenes),
            "--split",
            "test",
            "--seed",
            str(SEED),
            "--pictures",
            str(PICTURES),
            "--force",
        ),
    )
    ask(ROOT / bundle, ROOT / scenes)
    say(f"\npictures: {scenes}; report: {report}; bundle: {bundle}")
    say("in a browser: make web; then: phantom-edge demo web " + str(bundle))
    say(f'next: phantom-edge run --model {bundle} --image {SAMPLE} "What is the price?"')


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nstopped; make demo goes on where it was")
