"""Parts of an unfinished bundle: each is written whole, and an interrupted export reuses the complete ones."""

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
from phantom_edge.foundation.files import plain_words, sha256_of, to_disk
from phantom_edge.foundation.json_file import parse_json, regular
from phantom_edge.foundation.staging import locked

RECORD = "export.json"
"""File that identifies the export and lists its complete parts: bytes and SHA-256 of every file, and seconds."""

BUSY = "writing"


@dataclass(frozen=True)
class Done:
    """A complete part: bytes and SHA-256 of each file, seconds that it took, and the result of its writer."""

    files: dict[str, tuple[int, str]]
    seconds: float
    told: Any = None


class Unfinished:
    """The folder ``.NAME.unfinished`` beside a bundle NAME."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder, self.about = folder, dict(about)
        self.done: dict[str, Done] = {}

    def part(self, name: str, write: Callable[[Path], Any], *, anew: bool = False) -> Any:
        """Let ``write`` fill a folder with the files of a part, unless the part is complete and ``anew`` is false.

        Returns the result of ``write`` (JSON types), now or from the earlier run.
        """
        if name in self.done and not anew:
            return self.done[name].told
        start = time.perf_counter()
        busy = self.folder / BUSY
        shutil.rmtree(busy, ignore_errors=True)
        busy.mkdir()
        result = write(busy)
        written = [path for path in sorted(busy.rglob("*")) if path.is_file()]
        files = {str(path.relative_to(busy)): (path.stat().st_size, sha256_of(path)) for path in written}
        for path in written:
            to_disk(path)
        for file in files:
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            (busy / file).replace(self.folder / file)
        shutil.rmtree(busy)
        self.done[name] = Done(files, round(time.perf_counter() - start, 3), result)
        self._record()
        return result

    @property
    def files(self) -> list[str]:
        """File names of the complete parts."""
        return [file for done in self.done.values() for file in done.files]

    @property
    def bytes(self) -> int:
        """Size of the complete parts, bytes."""
        return sum(size for done in self.done.values() for size, _ in done.files.values())

    def link_to(self, folder: Path) -> None:
        """Link all files into ``folder``; where the file system has no links, move them."""
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
        """Reuse the complete parts of an earlier export of the same; remove those of a different one."""
        record = _read(self.folder / RECORD)
        if record.get("about") != self.about:
            for path in self.folder.iterdir():
                if path.name != RECORD:  # replaced last, because it identifies the folder
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            self._record()
            return
        for name, done in record["done"].items():
            if _is_done(done) and all(_is_whole(self.folder / file, *about) for file, about in done["files"].items()):
                self.done[name] = Done(**done)

    def _record(self) -> None:
        partial = self.folder / f"{RECORD}.partial"
        done = {name: asdict(part) for name, part in self.done.items()}
        partial.write_text(json.dumps({"about": self.about, "done": done}), encoding="utf-8")
        to_disk(partial)
        partial.replace(self.folder / RECORD)


@contextmanager
def unfinished(out: Path, about: Mapping[str, Any]) -> Iterator[Unfinished]:
    """Yields the parts of ``out``, locked. Complete ones stay if the block fails; without any, the folder is removed.

    ``about`` identifies the export. Raises EdgeError where another process is writing ``out``.
    """
    folder = Path(os.path.realpath(out))
    folder = folder.with_name(f".{folder.name}.unfinished")
    try:
        with _held(folder, out):
            if hasattr(os, "geteuid") and folder.stat().st_uid != os.geteuid():
                raise EdgeError(f"{folder} belongs to another user, who could change it", "choose another --out")
            if not _is_ours(folder):
                raise EdgeError(f"{folder} exists and was not written by phantom-edge", "move it away")
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
    """Create the folder where it is absent, and lock it. Raises EdgeError where another process holds the lock."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder) as is_locked:
            if not folder.exists():  # another export ended just now and removed it
                continue
            if not is_locked:
                raise EdgeError(f"another export is writing {out}", "wait until it ends, or choose another --out")
            yield
            return


def _is_ours(folder: Path) -> bool:
    """True where only an export can have left the contents."""
    names = {path.name for path in folder.iterdir()}
    return RECORD in names or names <= {BUSY, f"{RECORD}.partial"}


def _read(path: Path) -> dict[str, Any]:
    try:
        record = parse_json(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("done"), dict) else {}


def _is_done(done: Any) -> bool:
    """True for a part as this version records it."""
    if not isinstance(done, dict) or done.keys() != {"files", "seconds", "told"} or not isinstance(done["files"], dict):
        return False
    return all(isinstance(about, list) and len(about) == 2 for about in done["files"].values())


def _is_whole(path: Path, size: int, digest: str) -> bool:
    return path.is_file() and path.stat().st_size == size and sha256_of(path) == digest
