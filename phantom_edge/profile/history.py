"""Every profile of this user, in one SQLite file, so that new ones can be compared with old ones."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import plain_words
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.profile.home import HOME, home
from phantom_edge.profile.report.tables import decode_speed
from phantom_edge.profile.result import Run, faults

FILE = "history.sqlite"
VERSION = 1
APPLICATION = 0x70684564
"""Marks our file among other programs' SQLite files (PRAGMA application_id): "phEd"."""

PATIENCE = 10.0
"""Seconds to wait for another process's lock."""

ALIKE = 20
"""Number of earlier runs that calibrate the prediction of a new one."""

MAKE = (
    """CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    moment TEXT NOT NULL, device TEXT NOT NULL, bundle TEXT NOT NULL, seal TEXT NOT NULL, target TEXT NOT NULL,
    fingerprint TEXT NOT NULL, weights TEXT NOT NULL, first_token REAL, tokens_per_second REAL, peak_bytes INTEGER,
    partial TEXT NOT NULL, document TEXT NOT NULL)""",
    *(
        f"CREATE INDEX runs_by_{name} ON runs ({name})"
        for name in ("moment", "device", "bundle", "seal", "target", "fingerprint", "weights")
    ),
)


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
        return [Entry(*row) for row in rows]

    def run(self, number: int) -> Run:
        """Returns a run by its number. Raises EdgeError where there is none."""
        row = self.connection.execute("SELECT document FROM runs WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise _no_run(number)
        remove = f"remove it: phantom-edge history remove {number}"
        try:
            run = from_json(Run, parse_json(row[0]))
        except (TypeError, WrongJson, ValueError, RecursionError) as error:
            raise EdgeError(f"run {number} of the history is no profile: {error}", remove) from error
        for fault in faults(run):
            raise EdgeError(f"run {number} of the history is no profile: {fault}", remove)
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


def _no_run(number: int) -> EdgeError:
    return EdgeError(f"the history has no run {number}", "list its runs: phantom-edge history")


@contextmanager
def history() -> Iterator[History]:
    """Opens the user's history, and creates it where there is none.

    Raises EdgeError where the file is damaged, read-only, of a newer phantom-edge or of another program,
    or locked by another process for more than ``PATIENCE`` seconds.
    """
    path = home() / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # each statement is its own transaction; longer ones begin and commit explicitly
        with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as connection:
            _ready(connection, path)
            yield History(connection)
    except sqlite3.Error as error:
        raise _in_words(error, path) from error
    except OSError as error:
        raise EdgeError(plain_words(error, path).problem, f"set {HOME} to a folder that you may write to") from error


def _ready(connection: sqlite3.Connection, path: Path) -> None:
    """Creates the table in a new file; refuses a file that is not ours."""
    version, application, holds = _about(connection)
    if application != APPLICATION and (application or version or holds):
        raise EdgeError(f"{path} is another program's file", _elsewhere(path))
    if version > VERSION:
        raise EdgeError(
            f"{path} is of a newer phantom-edge (version {version}, this one reads {VERSION})",
            "update it: pip install --upgrade phantom-edge",
        )
    _write_ahead(connection)
    if not version:
        connection.execute("BEGIN IMMEDIATE")
        if not _number(connection, "user_version"):  # else another process was quicker
            for statement in MAKE:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")


def _about(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Version, application and number of tables and indices, read in one transaction."""
    connection.execute("BEGIN")
    holds = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    version, application = _number(connection, "user_version"), _number(connection, "application_id")
    connection.execute("COMMIT")
    return version, application, holds


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switches to write-ahead logging, so that readers do not wait for writers.

    SQLite's own timeout does not cover this switch.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _kind(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _kind(error: sqlite3.Error) -> int:
    """Primary error code: the low byte of the extended one."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _elsewhere(path: Path) -> str:
    return f"move it away: mv {quote(str(path))} {quote(str(path) + '.old')}; or set {HOME} to another folder"


def _in_words(error: sqlite3.Error, path: Path) -> EdgeError:
    kind = _kind(error)
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return EdgeError(f"another process holds {path}", "run the command again when it has ended")
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return EdgeError(f"no permission to write {path}", f"set {HOME} to a folder that you may write to")
    if kind == sqlite3.SQLITE_FULL:
        return EdgeError(f"the disk is full while writing {path}", "free some space and run the command again")
    return EdgeError(f"{path} is damaged ({error})", _elsewhere(path))
