"""The SQLite file of the history: made, checked, and set aside where it is damaged."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shlex import quote

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.versions import UPDATE
from phantom_edge.profile.home import HOME

VERSION = 1
APPLICATION = 0x70684564
"""Marks our file among other programs' SQLite files (PRAGMA application_id): "phEd"."""

PATIENCE = 10.0
"""Seconds to wait for another process's lock."""

NO_DAMAGE = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM),
)
"""Errors of SQLite at opening for which the file is not to blame."""

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


class Damage(Exception):
    """A file of ours that does not hold what it must."""


def opened(path: Path, note: Callable[[str], None]) -> sqlite3.Connection:
    """A connection to a file with the table in it; a damaged file is set aside, with a line to ``note``.

    Raises EdgeError for another program's file and that of a newer phantom-edge, sqlite3.Error for one that is locked
    or may not be written.
    """
    if path.exists() and not path.is_file():
        raise EdgeError(f"{path} is no file", _elsewhere(path))
    before = _inode(path)
    try:
        _check_header(path)
        return _connected(path)
    except Damage as damage:
        if before == _inode(path):  # else another process has set it aside already
            note(f"the history {path} is damaged ({damage}): it is now {_set_aside(path).name}, and a new one begins")
    try:
        return _connected(path)
    except Damage as damage:
        raise EdgeError(f"{path} is damaged ({damage})", _elsewhere(path)) from damage


def _check_header(path: Path) -> None:
    """Raises Damage for versions of the format that make SQLite open a file for reading only."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        if set(file.read(20)[18:]) - {1, 2}:
            raise Damage("its first page is not as it was written")


def _inode(path: Path) -> int | None:
    with suppress(FileNotFoundError):
        return path.stat().st_ino
    return None


def _set_aside(path: Path) -> Path:
    """Rename a database, with the files beside it that belong to it."""
    tries = (path.with_name(f"{path.name}.damaged{number or ''}") for number in range(10**6))
    aside = next(one for one in tries if not one.exists())
    for ending in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{ending}", f"{aside}{ending}")
    return aside


def _connected(path: Path) -> sqlite3.Connection:
    # each statement is its own transaction; longer ones begin and commit explicitly
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # a damaged text is no error of SQLite's
    try:
        _ready(connection, path)
    except UnicodeDecodeError as error:  # SQLite's own message holds a damaged name
        connection.close()
        raise Damage("names that are not UTF-8") from error
    except sqlite3.Error as error:
        connection.close()
        if _kind(error) in NO_DAMAGE:
            raise
        raise Damage(" ".join(str(error).split())) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _ready(connection: sqlite3.Connection, path: Path) -> None:
    """Creates the table in a new file. Raises EdgeError for a file that is not ours, and Damage for a damaged one."""
    version, application, holds = _about(connection)
    is_ours = holds == set(MAKE)
    if application != APPLICATION and not is_ours and (application or version or holds):
        raise EdgeError(f"{path} is another program's file", _elsewhere(path))
    if version > VERSION and not is_ours:
        raise EdgeError(
            f"{path} is of a newer phantom-edge (version {version}, this one reads {VERSION})",
            UPDATE,
        )
    if holds and (version, application, is_ours) != (VERSION, APPLICATION, True):
        raise Damage("its first page is not as it was written")
    for (fault,) in connection.execute("PRAGMA quick_check(1)"):
        if fault != "ok":
            raise Damage(" ".join(str(fault).split()))
    _write_ahead(connection)
    if not version:
        connection.execute("BEGIN IMMEDIATE")
        if not _number(connection, "user_version"):  # else another process was quicker
            for statement in MAKE:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")


def _about(connection: sqlite3.Connection) -> tuple[int, int, set[str]]:
    """Version, application, and the statements that made the tables and indices, read in one transaction."""
    connection.execute("BEGIN")
    made = {str(sql) for (sql,) in connection.execute("SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")}
    version, application = _number(connection, "user_version"), _number(connection, "application_id")
    connection.execute("COMMIT")
    return version, application, made


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


def in_words(error: sqlite3.Error, path: Path) -> EdgeError:
    kind = _kind(error)
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return EdgeError(f"another process holds {path}", "run the command again when it has ended")
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return EdgeError(f"no permission to write {path}", f"set {HOME} to a folder that you may write to")
    if kind == sqlite3.SQLITE_FULL:
        return EdgeError(f"the disk is full while writing {path}", "free some space and run the command again")
    return EdgeError(f"{path} is damaged ({error})", _elsewhere(path))
