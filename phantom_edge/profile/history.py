"""Every profile of this user, in one SQLite file, so that new ones can be compared with old ones."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import plain_words
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.foundation.typed import from_json, to_json
from phantom_edge.profile.database import in_words, opened
from phantom_edge.profile.home import HOME, home
from phantom_edge.profile.report.tables import decode_speed
from phantom_edge.profile.result import Run, faults

FILE = "history.sqlite"

ALIKE = 20
"""Number of earlier runs that calibrate the prediction of a new one."""


@dataclass(frozen=True)
class Entry:
    """A run in the history, without its document. ``first_token`` is in seconds."""

    id: int
    moment: str
    device: str
    bundle: str
    seal: str
    target: str
    fingerprint: str
    weights: str
    first_token: float | None
    tokens_per_second: float | None
    peak_bytes: int | None
    partial: str


COLUMNS = tuple(Entry.__dataclass_fields__)


class History:
    """The runs in an open file. Every method is one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def record(self, run: Run) -> int:
        """Stores a run and returns its number. Raises EdgeError for a run that ``run`` could not read back."""
        for fault in faults(run):
            raise EdgeError(f"the run cannot be kept: {fault}", "profile again")
        values = {
            "moment": run.when,
            "device": run.device.name,
            "bundle": run.subject.bundle,
            "seal": run.subject.seal,
            "target": run.subject.target,
            "fingerprint": run.subject.fingerprint,
            "weights": run.subject.weights,
            "first_token": run.seconds_to_first_token,
            "tokens_per_second": decode_speed(run),
            "peak_bytes": run.peak_bytes,
            "partial": run.partial,
            "document": json.dumps(to_json(run), ensure_ascii=False, allow_nan=False),
        }
        marks = ", ".join(f":{name}" for name in values)
        inserted = self.connection.execute(f"INSERT INTO runs ({', '.join(values)}) VALUES ({marks})", values)
        assert inserted.lastrowid is not None
        return inserted.lastrowid

    def entries(self, bundle: str | None = None, device: str | None = None, last: int | None = None) -> list[Entry]:
        """Entries, newest first; only those of this bundle or device name, and at most ``last`` of them."""
        rows = self.connection.execute(
            f"SELECT {', '.join(COLUMNS)} FROM runs WHERE (:bundle IS NULL OR bundle = :bundle) "
            "AND (:device IS NULL OR device = :device) ORDER BY id DESC LIMIT :last",
            {"bundle": bundle, "device": device, "last": -1 if last is None else last},
        )
        return [_entry(row) for row in rows]

    def run(self, number: int) -> Run:
        """Returns a run by its number. Raises EdgeError where there is none."""
        row = self.connection.execute("SELECT document FROM runs WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise _no_run(number)
        try:
            run = from_json(Run, parse_json(str(row[0])))
        except ValueError as error:
            raise _no_profile(number, str(error)) from error
        for fault in faults(run):
            raise _no_profile(number, fault)
        return run

    def alike(self, run: Run) -> list[Run]:
        """The last ``ALIKE`` complete runs of the same device and target; skips unreadable ones."""
        found: list[Run] = []
        for entry in self.entries(device=run.device.name):
            if entry.target == run.subject.target and not entry.partial and len(found) < ALIKE:
                with suppress(EdgeError):
                    found.append(self.run(entry.id))
        return found

    def remove(self, number: int) -> None:
        """Deletes a run. Raises EdgeError where there is none."""
        if not self.connection.execute("DELETE FROM runs WHERE id = ?", (number,)).rowcount:
            raise _no_run(number)


def _entry(row: tuple[object, ...]) -> Entry:
    """A row, whose types SQLite does not warrant."""
    try:
        return from_json(Entry, dict(zip(COLUMNS, row, strict=True)))
    except ValueError as error:
        raise _no_profile(row[0], str(error)) from error


def _no_profile(number: object, fault: str) -> EdgeError:
    return EdgeError(
        f"run {number} of the history is no profile: {fault}", f"remove it: phantom-edge history remove {number}"
    )


def _no_run(number: int) -> EdgeError:
    return EdgeError(f"the history has no run {number}", "list its runs: phantom-edge history")


@contextmanager
def history(note: Callable[[str], None] = lambda _line: None) -> Iterator[History]:
    """Opens the user's history, and creates it where there is none.

    A damaged file is set aside, with a line to ``note``, and a new one begins. Raises EdgeError where the file is
    read-only, of a newer phantom-edge or of another program, or locked by another process for more than ``PATIENCE``
    seconds.
    """
    path = home() / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(opened(path, note)) as connection:
            yield History(connection)
    except sqlite3.Error as error:
        raise in_words(error, path) from error
    except OSError as error:
        raise EdgeError(plain_words(error, path).problem, f"set {HOME} to a folder that you may write to") from error
