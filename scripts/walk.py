"""Walk through the README as a stranger does, in a new clone and a new environment, and time each step.

    python scripts/walk.py FOLDER [--out benchmarks/results/walk.json]

The commands are the README's own, read from its sections *Install* and *Sixty seconds*; only the page is asked by a
program (scripts/walk.mjs drives Chromium). Then come mistakes: a wrong path, a wrong flag, Ctrl-C in the middle of an
export, and the same export again. FOLDER must not exist. Wall time depends on what else the machine does, CPU time
less.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENTER = "set -e; test ! -d env || . env/bin/activate; "
"""Every line runs in a shell of its own, so each enters the environment that the first one made."""

PICTURE, QUESTION = "apps/samples/00000/00009002.png", "What colour is the diamond?"
PAGE = "make web PYTHON=python BUNDLE=nano-onnx"
EXPORT = "phantom-edge export nano --target onnx --weights int4 --out stopped"
MISTAKES = (
    ("a wrong path", "phantom-edge run --model nano-onxn 'What is it?'"),
    ("a wrong picture", "phantom-edge run --image scene.pgn 'What is it?'"),
    ("a wrong flag", "phantom-edge export nano --targt onnx"),
    ("a wrong target", "phantom-edge export nano --target onxn"),
)


@dataclass(frozen=True)
class Step:
    """A command, what it took, and how it ended: its exit code, and the last lines of its stderr."""

    command: str
    seconds: float
    cpu_seconds: float
    code: int
    said: str


def lines(section: str, language: str) -> list[str]:
    """The commands of a section of the README, comments off."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    part = re.split(rf"^## {section}\n", text, flags=re.MULTILINE)[1].split("\n## ")[0]
    (block,) = re.findall(rf"```{language}\n(.*?)```", part, re.DOTALL)
    return [line.split("  #")[0].strip() for line in block.splitlines()]


def interruptible() -> None:
    """Let Ctrl-C end a new process; where the walk runs in the background, shells let it be ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(command: str, folder: Path, stop_after: float | None = None) -> Step:
    """Run a line in a shell, with Ctrl-C after some seconds where they are given."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    begun = time.perf_counter()
    process = subprocess.Popen(
        ["bash", "-c", ENTER + command],
        cwd=folder,
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=interruptible,
    )
    timer = threading.Timer(stop_after or 0, lambda: os.killpg(process.pid, signal.SIGINT))
    if stop_after is not None:
        timer.start()
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    step = Step(
        command,
        round(time.perf_counter() - begun, 1),
        round(usage.ru_utime + usage.ru_stime, 1),
        130 if process.returncode == -signal.SIGINT else process.returncode,
        "\n".join(said.strip().splitlines()[-2:]),
    )
    print(f"{step.seconds:7.1f} s {step.cpu_seconds:7.1f} s CPU  exit {step.code}  {command}", file=sys.stderr)
    return step


def well(step: Step) -> Step:
    """The step, where it ended well; else the walk ends."""
    if step.code:
        sys.exit(f"{step.said}\nerror: exit code {step.code}\n  the README does not lead on from: {step.command}")
    return step


@contextmanager
def served(command: str, folder: Path) -> Iterator[str]:
    """The address that ``phantom-edge demo web`` prints."""
    words = ["bash", "-c", f"{ENTER}exec {command} --port 0"]
    server = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True, preexec_fn=interruptible)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def answer_of_page(clone: Path) -> Step:
    """Serve the int4 bundle, open the page in Chromium, ask, and wait for the answer."""
    command = "phantom-edge demo web nano-onnx"
    begun = time.perf_counter()
    with served(command, clone) as address:
        asked = well(run(f'node scripts/walk.mjs {address} {PICTURE} "{QUESTION}"', clone))
    return Step(command, round(time.perf_counter() - begun, 1), asked.cpu_seconds, 0, asked.said)


def mistakes(clone: Path, usual: float) -> list[dict[str, Any]]:
    """What a wrong line costs, and how an export goes on that was stopped in its middle."""
    found = [{"mistake": name, **asdict(run(command, clone))} for name, command in MISTAKES]
    stopped = run(EXPORT, clone, stop_after=0.6 * usual)
    is_clean = not (clone / "stopped").exists()
    found.append({"mistake": "Ctrl-C in an export", **asdict(stopped), "nothing_half_written": is_clean})
    return [*found, {"mistake": "the same export again", **asdict(well(run(EXPORT, clone)))}]


def mark(steps: list[Step]) -> dict[str, int]:
    """Seconds of steps together."""
    return {
        "seconds": round(sum(step.seconds for step in steps)),
        "cpu_seconds": round(sum(step.cpu_seconds for step in steps)),
    }


def walk(folder: Path) -> dict[str, Any]:
    """The walk, and the seconds until its three marks."""
    folder.mkdir(parents=True)
    clone = folder / "phantom-edge"
    load = os.getloadavg()[0]
    cloned = well(run(f"git clone -q '{ROOT}' phantom-edge", folder))
    steps = [replace(cloned, command="git clone ... phantom-edge")]  # from where is nobody's concern
    steps += [well(run(line, clone)) for line in lines("Install", "text")]
    sixty = lines("Sixty seconds", "sh")
    steps += [well(run(line, clone)) for line in sixty]
    ends = {"the first answer": len(steps) - len(sixty) + 1, "a verified bundle in int4": len(steps)}
    steps += [well(run(PAGE, clone)), answer_of_page(clone)]
    ends["its answer in the browser"] = len(steps)
    usual = next(step.seconds for step in steps if step.command.startswith("phantom-edge export"))
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(load, 1),
        "steps": [asdict(step) for step in steps],
        "marks": {name: mark(steps[:end]) for name, end in ends.items()},
        "mistakes": mistakes(clone, usual),
    }


def main() -> None:
    """Walk, and print or write what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder of the clone and its environment")
    parser.add_argument("--out", type=Path, help="JSON file of the result; its table: python -m benchmarks.tables")
    asked = parser.parse_args()
    if asked.folder.exists():
        sys.exit(f"error: {asked.folder} exists\n  give a new folder, or remove it")
    text = json.dumps(walk(asked.folder.absolute()), indent=1) + "\n"
    if asked.out is None:
        print(text, end="")
    else:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
