"""A journal of outcomes beside the output: every paid answer is appended at once.

After a crash, a kill or a power cut the next run reads it and asks only the missing questions. A last line that was cut
off is dropped. Memory is 8 bytes a row: the offset of its line.
"""

import json
import os
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json, regular

KEPT, REFUSED, EQUAL, FAILED = "kept", "refused", "equal", "failed"
STATES = (KEPT, REFUSED, EQUAL, FAILED)
NOWHERE = -1


@dataclass(frozen=True)
class Outcome:
    """Outcome of a row.

    ``kept`` with a wrong answer that was validated; ``refused`` by the validation; ``equal``: the answer was empty or
    the right one, so it was not validated; ``failed`` for ``reason``, to be retried by the next run.
    """

    state: str
    rejected: str = ""
    reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Journal:
    """The outcomes of ``rows`` rows in the file ``path``; ``about`` identifies the run and must stay the same."""

    def __init__(self, path: Path, rows: int, about: Mapping[str, str]) -> None:
        self.path = path
        self.begins = array("q", [NOWHERE]) * rows
        try:
            if path.exists():
                regular(path)
            # a line is one write: whole, or the last one; and the owner's alone, as the questions may be private
            self.file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+b", buffering=0)
        except OSError as error:
            raise EdgeError(f"cannot write {path}: {error.strerror or error}", "choose another --out") from error
        try:
            self._lock()
            self._read(about)
        except EdgeError:
            self.file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, row: int, outcome: Outcome) -> None:
        """Append an outcome."""
        at = self.file.seek(0, os.SEEK_END)
        line = json.dumps({"row": row, **{name: value for name, value in asdict(outcome).items() if value}})
        self._write(line)
        self.begins[row] = at

    def __getitem__(self, row: int) -> Outcome | None:
        """Returns the last outcome of a row; None where there is none."""
        if self.begins[row] == NOWHERE:
            return None
        self.file.seek(self.begins[row])
        entry = parse_json(self._line())
        del entry["row"]
        return Outcome(**entry)

    def is_done(self, row: int) -> bool:
        """True where the row needs no further question."""
        outcome = self[row]
        return outcome is not None and outcome.state != FAILED

    def _write(self, line: str) -> None:
        whole = line.encode() + b"\n"
        try:
            written = self.file.write(whole)
        except OSError as error:
            raise self._full(error.strerror) from error
        if written != len(whole):
            raise self._full("the disk is full")

    def _full(self, reason: str | None) -> EdgeError:
        return EdgeError(f"cannot write {self.path}: {reason}", "free some space, then run the same command again")

    def _line(self) -> bytes:
        pieces = []
        while piece := self.file.read(4096):
            pieces.append(piece.partition(b"\n")[0])
            if b"\n" in piece:
                break
        return b"".join(pieces)

    def _lock(self) -> None:
        """Lock the journal, as two runs would pay twice. The lock ends with the process."""
        if os.name != "posix":
            return
        import fcntl

        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EdgeError(f"another run is at work on {self.path}", "wait for it, or choose another --out") from None
        except OSError:
            return  # a file system without locks

    def _read(self, about: Mapping[str, str]) -> None:
        at = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines):
                if not line.endswith(b"\n"):
                    break
                if number == 0:
                    self._check_about(line, about)
                else:
                    self.begins[self._row(line, number + 1)] = at
                at += len(line)
        self.file.truncate(at)
        if not at:
            self._write(json.dumps(dict(about)))

    def _check_about(self, line: bytes, about: Mapping[str, str]) -> None:
        try:
            before = parse_json(line)
        except ValueError:
            before = None
        if not isinstance(before, dict) or before.keys() != about.keys():
            raise EdgeError(f"{self.path} is no journal of a curation", "choose another --out")
        if changed := [name for name, value in about.items() if before[name] != value]:
            raise EdgeError(
                f"{self.path} was begun with another {' and '.join(changed)}",
                "choose another --out, or add --force to start over and lose the paid answers",
            )

    def _row(self, line: bytes, number: int) -> int:
        try:
            entry = parse_json(line)
            row = entry.pop("row")
            if Outcome(**entry).state in STATES and 0 <= row < len(self.begins):
                return int(row)
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        raise EdgeError(f"{self.path} is damaged at line {number}", "remove that line")
