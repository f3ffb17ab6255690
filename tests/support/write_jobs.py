"""Commands that write something, what they need, and what a whole result of each says."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from bundles import tiny_bundle
from file_victims import TRIPLES
from golden_checkpoints import official_folder
from noise import noise

from phantom_edge.bundle.folder import Bundle
from phantom_edge.convert.random import write_random
from phantom_edge.data.sources import rows_of
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import to_json
from phantom_edge.models.sizes import SIZES
from phantom_edge.profile.history import history
from phantom_edge.profile.home import HOME
from phantom_edge.profile.result import read_run


@dataclass(frozen=True)
class Job:
    """``words`` of a command that writes ``out``, by desk and place; ``says`` returns the content of a whole result."""

    words: Callable[[Path, Path], Sequence[object]]
    says: Callable[[Path], str]
    name: str = "out"
    """Name of the result, in a folder of its own."""
    goes_on_without: bool = False
    """True where the command succeeds although the disk is full."""


def make_desk(desk: Path) -> None:
    """Make what the commands read: checkpoints in both layouts, a bundle, triples with pictures."""
    (desk / "b").mkdir(parents=True)
    tiny_bundle(desk / "b", 96)
    write_random(SIZES["tiny"], desk / "model", seed=5, dtype=torch.float32, eta=1.0)
    official_folder("0_5b-1e-4", desk / "official")
    noise((40, 30), 70).save(desk / "a.png")
    noise((30, 40), 60).save(desk / "b.jpg")
    lines = [TRIPLES[0].to_json()] * 8
    (desk / "t.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def weights(folder: Path) -> str:
    """Digest of a checkpoint's weights."""
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise EdgeError(f"{folder} has no weights", "")
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def bundle(folder: Path) -> str:
    """Files of a bundle by their digests; opening it compares each."""
    return str(sorted(Bundle.open(folder).manifest.files.items()))


def proof(folder: Path) -> str:
    """The proof beside a bundle's manifest, or that there is none."""
    found = Bundle.open(folder).proof
    return "no proof" if found is None else str(found.passed)


def trained(folder: Path) -> str:
    """A run's model where it has one; a run that is not finished goes on."""
    return weights(folder / "model") if (folder / "model").exists() else "unfinished"


def drawn(folder: Path) -> str:
    """Rows with their pictures' bytes."""
    rows = [row for row in rows_of(folder / "triples.jsonl") if row.sample is not None]
    content = b"".join(path.read_bytes() for row in rows for path in row.sample.pictures)  # type: ignore[union-attr,misc]
    return f"{len(rows)} {hashlib.sha256(content).hexdigest()}"


def measured(path: Path) -> str:
    """A profile's names: its times are never the same."""
    run = read_run(path)
    return f"{run.subject.bundle} {[stage.name for stage in run.stages]}"


def kept(folder: Path) -> str:
    """The history's runs, each readable."""
    before = os.environ.get(HOME)
    os.environ[HOME] = str(folder)
    notes: list[str] = []
    try:
        with history(notes.append) as runs:
            found = {str(to_json(runs.run(entry.id).subject)) for entry in runs.entries()}
    finally:
        os.environ.pop(HOME) if before is None else os.environ.update({HOME: before})
    if notes or len(found) > 1:
        raise EdgeError(f"the history was damaged: {notes}", "")
    return "runs"


QUICK = ("--repeats", 1, "--tokens", 2, "--threads", 1, "--no-operators")


def _training(desk: Path, out: Path) -> Sequence[object]:
    quick = ("--batch", 2, "--micro-batch", 1, "--max-steps", 2, "--checkpoint-every", 1, "--no-bf16", "--held-out", 0)
    more = ("--resume",) if out.exists() else ()
    return ("train", "po", desk / "model", "--data", desk / "t.jsonl", "--out", out, *quick, *more)


JOBS: dict[str, Job] = {
    "export": Job(
        lambda desk, out: (
            *(
                "export",
                desk / "model",
                "--target",
                "onnx",
                "--no-verify",
                "--max-context",
                96,
                "--out",
                out,
                "--force",
            ),
        ),
        bundle,
    ),
    "quantize": Job(
        lambda desk, out: ("quantize", desk / "model", "--recipe", "int8", "--out", out, "--force"), weights
    ),
    "convert": Job(lambda desk, out: ("convert", desk / "official", out, "--force"), weights),
    "train": Job(_training, trained),
    "scenes": Job(lambda _desk, out: ("data", "scenes", out, "-n", 12, "--workers", 1, "--force"), drawn),
    "profile": Job(
        lambda desk, out: ("profile", desk / "b" / "bundle", *QUICK, "--no-history", "--force", "--out", out),
        measured,
        "run.json",
    ),
    "history": Job(lambda desk, _out: ("profile", desk / "b" / "bundle", *QUICK), kept, "home", goes_on_without=True),
    "verify --record": Job(
        lambda _desk, out: ("verify", out, "--against", _desk / "b" / "model", "--record"), proof, "recorded"
    ),
}
