"""Staging folders, whose lock distinguishes a running process from the remains of a killed one."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

if sys.platform != "win32":
    import fcntl


@contextmanager
def staging_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder ``<prefix>`` + 8 letters in ``parent``, locked while the block runs. The block removes it.

    The lock is the operating system's: it is released however the process ends, and no process id can be mistaken for
    another's.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock(folder, wait=True)  # another run may just be treating it as a left-over
        if folder.exists():
            break
        _unlock(lock)
    try:
        yield folder
    finally:
        _unlock(lock)


def left_overs(parent: Path, prefix: str) -> Iterator[Path]:
    """Yields the staging folders in ``parent`` whose runs were killed, each locked while it is used.

    Yields none where the file system has no locks: running processes could not be distinguished.
    """
    pattern = re.compile(re.escape(prefix) + "[a-z0-9_]{8}")  # what tempfile appends
    for folder in sorted(path for path in parent.iterdir() if pattern.fullmatch(path.name)):
        lock = _lock(folder)
        if lock is not None:
            try:
                yield folder
            finally:
                _unlock(lock)


@contextmanager
def staging_file(path: Path, out: Path) -> Iterator[TextIO]:
    """A text file to write at ``path``, which takes the place of ``out`` when the block succeeds.

    It is locked as a staging folder is; those that killed runs left beside it, with other numbers, are removed.
    """
    prefix = re.escape(path.name.rstrip("0123456789"))
    for left in _beside(path.parent, re.compile(prefix + r"\d+")):
        lock = _lock(left, kind=0)
        if lock is not None:
            with suppress(OSError):
                left.unlink()
            _unlock(lock)
    while True:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            lock = _lock(path, wait=True, kind=0)
            try:
                if lock is None or _is_open_at(file, path):  # else another run has just taken it for a left-over
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                    file.close()
                    path.replace(out)
                    return
            finally:
                _unlock(lock)


def _beside(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Files of such names; none where the folder takes files, but may not be listed."""
    try:
        return [path for path in folder.iterdir() if pattern.fullmatch(path.name) and path.is_file()]
    except PermissionError:
        return []


def _is_open_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Lock a folder. Yields False where another process holds the lock; True otherwise, also without lock support."""
    lock = _lock(folder)
    try:
        yield lock is not None or not _can_lock(folder)
    finally:
        _unlock(lock)


def _can_lock(folder: Path) -> bool:
    """True where ``folder`` supports locks, also while another process holds one."""
    if sys.platform == "win32":
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


DIRECTORY = getattr(os, "O_DIRECTORY", 0)


def _lock(folder: Path, *, wait: bool = False, kind: int = DIRECTORY) -> int | None:
    """Lock the folder itself, or, with ``kind`` 0, a file: no file of ours ends up in it.

    Returns None without lock support, where the folder is gone, and, without ``wait``, where another process has it.
    """
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | kind)
    except OSError:  # gone, a link, or not ours to open
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None and sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # for a forked child too, which shares the descriptor
        os.close(descriptor)
