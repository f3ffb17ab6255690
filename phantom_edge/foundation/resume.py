"""Parts of a bundle that is being written: each appears whole, and an interrupted export finds those that are done."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import plain_words
from phantom_edge.foundation.staging import locked

RECORD = "export.json"
"""Of what the parts are, and of those that are done the size in bytes of every file and the seconds it took."""

BUSY = "writing"


@dataclass(frozen=True)
class Done:
    """A part that is complete: bytes of each file, seconds that writing it took, and what there is to tell of it."""

    files: dict[str, int]
    seconds: float
    told: Any = None


class Unfinished:
    """The folder ``.NAME.unfinished`` beside a bundle NAME."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder, self.about = folder, dict(about)
        self.done: dict[str, Done] = {}

    def part(self, name: str, write: Callable[[Path], Any], *, anew: bool = False) -> Any:
        """Let ``write`` fill a folder with the files of a part, unless they are there and need not be made ``anew``.

        What it returns, in JSON's types, is returned, whenever it was written.
        """
        if name in self.done and not anew:
            return self.done[name].told
        start = time.perf_counter()
        busy = self.folder / BUSY
        shutil.rmtree(busy, ignore_errors=True)
        busy.mkdir()
        told = write(busy)
        files = {str(path.relative_to(busy)): path.stat().st_size for path in sorted(busy.rglob("*")) if path.is_file()}
        for file in files:
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            (busy / file).replace(self.folder / file)
        shutil.rmtree(busy)
        self.done[name] = Done(files, round(time.perf_counter() - start, 3), told)
        self._record()
        return told

    @property
    def files(self) -> list[str]:
        """Names of all that is done."""
        return [file for done in self.done.values() for file in done.files]

    @property
    def bytes(self) -> int:
        """Size of all that is done."""
        return sum(size for done in self.done.values() for size in done.files.values())

    def link_to(self, folder: Path) -> None:
        """All files in ``folder``, too; where the file system has no links, there alone."""
        for file in self.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(self.folder / file, folder / file)
            except OSError:
                (self.folder / file).replace(folder / file)

    def discard(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def find(self) -> None:
        """Take over what an earlier export of the same left; what belongs to another one is removed."""
        record = _read(self.folder / RECORD)
        if record.get("about") != self.about:
            for path in self.folder.iterdir():
                if path.name != RECORD:  # it goes last, by being written anew: it says whose folder this is
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            self._record()
            return
        for name, done in record["done"].items():
            if all(_size(self.folder / file) == size for file, size in done["files"].items()):
                self.done[name] = Done(**done)

    def _record(self) -> None:
        partial = self.folder / f"{RECORD}.partial"
        done = {name: asdict(part) for name, part in self.done.items()}
        partial.write_text(json.dumps({"about": self.about, "done": done}), encoding="utf-8")
        partial.replace(self.folder / RECORD)


@contextmanager
def unfinished(out: Path, about: Mapping[str, Any]) -> Iterator[Unfinished]:
    """The parts of ``out``, locked; what is done stays if the block fails, and nothing stays if nothing is done.

    ``about`` tells one export from another. Raises EdgeError where another process is at work on ``out``.
    """
    folder = Path(os.path.realpath(out))
    folder = folder.with_name(f".{folder.name}.unfinished")
    try:
        with _held(folder, out):
            if not _is_ours(folder):
                raise EdgeError(f"{folder} is in the way, and not of phantom-edge's making", "move it away")
            parts = Unfinished(folder, about)
            parts.find()
            try:
                yield parts
            finally:
                if not parts.done:
                    parts.discard()
    except OSError as error:
        raise plain_words(error, out) from error


@contextmanager
def _held(folder: Path, out: Path) -> Iterator[None]:
    """The folder, made if it is not there, and locked. Raises EdgeError where another process has it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder) as is_locked:
            if not folder.exists():  # another export ended in this very moment, and took it along
                continue
            if not is_locked:
                raise EdgeError(f"another export is writing {out}", "wait until it ends, or choose another --out")
            yield
            return


def _is_ours(folder: Path) -> bool:
    """Whether nothing else than an export can have left what is there."""
    names = {path.name for path in folder.iterdir()}
    return RECORD in names or names <= {BUSY, f"{RECORD}.partial"}


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("done"), dict) else {}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
