"""A run's folder: settings, metrics, and checkpoints from which a killed run resumes."""

import json
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from phantom_edge.foundation.errors import EdgeError, need
from phantom_edge.foundation.files import plain_words, whole_file
from phantom_edge.foundation.json_file import parse_json, read_json, regular
from phantom_edge.foundation.staging import locked
from phantom_edge.foundation.versions import installed
from phantom_edge.models.naming import RUN, TRAINED

METRICS, CURVES = "metrics.jsonl", "curves.png"
LARGEST_STEP = 1 << 53
"""Larger numbers are no steps, and plots cannot place them."""

BEFORE = "before"
"""Stage of the measurements that precede the first step."""
PACKAGES = ("phantom-edge", "torch", "transformers", "accelerate", "peft", "bitsandbytes", "numpy", "pillow")
CURVE_NAMES = {
    "SFT loss (nats a token)": ("sft_loss", "eval_sft_loss"),
    "preference margin (nats a token)": ("margin", "eval_margin"),
    "log-probability (nats a token)": ("chosen_log_prob", "rejected_log_prob"),
    "share": ("preference_accuracy", "eval_preference_accuracy", "eval_exact"),
}
"""Axes of the plot, with the metrics drawn in each."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def model(self) -> Path:
        """The finished checkpoint."""
        return self.path / TRAINED

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder, which is made for that. Raises EdgeError where another process trains in it."""
        is_new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with locked(self.path) as is_locked:
                if not is_locked:
                    raise EdgeError(f"another run is at work in {self.path}", "wait until it ends, or choose another")
                yield
        except OSError as error:
            raise plain_words(error, self.path) from error
        except RuntimeError as error:
            if "inline_container" not in str(error):  # torch's writer of files, whose errors have no class
                raise
            raise EdgeError(
                f"a checkpoint in {self.path} cannot be written", "free some space, then go on with --resume"
            ) from error
        finally:
            if is_new:
                with suppress(OSError):
                    self.path.rmdir()  # where nothing was begun

    def begin(self, asked: dict[str, Any], resume: bool) -> None:
        """Make the folder, or resume in it. Raises EdgeError where it holds another run.

        A run that failed before its first step has nothing to lose, and starts over.
        """
        is_trained = any(line["stage"] != BEFORE for line in self.lines())
        nothing_done = (self.path / RUN).exists() and not is_trained and not self.model.exists()
        if nothing_done or not self.path.exists() or not any(self.path.iterdir()):
            self.path.mkdir(parents=True, exist_ok=True)
            with whole_file(self.path / RUN) as file:
                file.write(json.dumps({"asked": asked, **surroundings()}, indent=1) + "\n")
            return
        if not (self.path / RUN).exists():
            raise EdgeError(f"{self.path} exists already and holds no run", "choose another folder")
        if not resume:
            raise EdgeError(
                f"{self.path} holds a run already", "add --resume to go on with it, or choose another folder"
            )
        known = read_json(self.path / RUN).get("asked")
        before: dict[str, Any] = known if isinstance(known, dict) else {}
        if before != asked:
            changed = sorted(key for key in {*asked, *before} if before.get(key) != asked.get(key))
            raise EdgeError(
                f"{self.path} holds a run with other settings: {', '.join(changed)}",
                "repeat its settings to go on with it, or choose another folder",
            )

    def log(self, line: dict[str, Any]) -> None:
        """Append to the metrics."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """Returns the metrics so far, without lines torn by a kill; a repeated step counts once."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for line in map(_measured, self._metrics().splitlines()):
            if line is not None:
                found[line["stage"], line["step"], "eval_sft_loss" in line, "train_runtime" in line] = line
        return sorted(found.values(), key=lambda line: (line["stage"], line["step"]))

    def _metrics(self) -> str:
        path = self.path / METRICS
        try:
            return regular(path).read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        except OSError as error:
            raise EdgeError(f"{path} cannot be read ({error})", "move it away: the run goes on without it") from error

    def finish(self, last: Path, card: str) -> None:
        """Draw the curves, move the ``last`` step's model into place with its card, remove files for resuming."""
        draw_curves(self.lines(), self.path / CURVES)
        with whole_file(last / "README.md") as file:
            file.write(card)
        last.rename(self.model)
        for part in self.path.glob("step-*"):
            shutil.rmtree(part, ignore_errors=True)


def _measured(text: str) -> dict[str, Any] | None:
    """The metrics in a line; None where it has none."""
    try:
        line = parse_json(text, has_constants=True)
    except ValueError:
        return None
    if not isinstance(line, dict) or not all(isinstance(value, str | int | float) for value in line.values()):
        return None
    is_step = isinstance(line.get("step"), int) and 0 <= line["step"] < LARGEST_STEP
    return line if is_step and isinstance(line.get("stage"), str) else None


def last_checkpoint(folder: Path) -> Path | None:
    """Returns the newest complete checkpoint of Trainer in ``folder``; incomplete ones are removed.

    Trainer writes its state last, so a folder with it is complete.
    """
    numbered = {path: path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")}
    found = sorted(
        (path for path, number in numbered.items() if number.isdecimal()), key=lambda path: int(numbered[path])
    )
    for path in reversed(found):
        try:
            parse_json(regular(path / "trainer_state.json").read_text(encoding="utf-8"), has_constants=True)
            return path
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return None


def fingerprint(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the names and sizes of a folder's files."""
    digest = sha256()
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                digest.update(f"{file.relative_to(path)} {file.stat().st_size}\n".encode())
    else:
        with regular(path).open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def surroundings() -> dict[str, Any]:
    """Returns versions and machine, to distinguish runs."""
    versions = {package: installed(package) for package in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.platform(), "argv": sys.argv, "versions": versions}


def draw_curves(lines: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw every curve of the metrics, one plot a quantity; dashed lines mark the start of a step."""
    need("matplotlib", "train")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    starts: dict[str, int] = {}
    offset, last = 0, 0
    places = []
    for line in lines:
        if line["stage"] not in starts:
            offset += last
            starts[line["stage"]] = offset
            last = 0
        last = max(last, line["step"])
        places.append(offset + line["step"])
    shown = {title: [n for n in names if any(n in line for line in lines)] for title, names in CURVE_NAMES.items()}
    shown = {title: names for title, names in shown.items() if names}
    if not shown:
        return
    figure = Figure(figsize=(5.2 * len(shown), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, names) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        for name in names:
            points = [(place, line[name]) for place, line in zip(places, lines, strict=True) if name in line]
            axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 30 else None)
        for stage, start in starts.items():
            axes.axvline(start, color="grey", linestyle="--", linewidth=0.8)
            axes.annotate(stage, (start, 1), xycoords=("data", "axes fraction"), fontsize=8, va="bottom")
        axes.set(xlabel="optimizer step", ylabel=title)
        axes.legend(fontsize=8)
    figure.savefig(file, dpi=130)
