"""Folders and files that appear whole or not at all."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.replaceable import check_replaceable, mark, mark_also
from phantom_edge.foundation.staging import left_overs, staging_file, staging_folder

BLOCK = 1 << 20
"""Read size, bytes."""

NEW, OLD = "new", "old"
"""Names inside the staging folder: the new folder, and the one that it replaces.

Where both exist, the new one is not in place yet; so the remains of a killed run determine their own recovery.
"""


@contextmanager
def whole_folder(out: Path, *, force: bool = False, bytes_needed: int = 0) -> Iterator[Path]:
    """Yields a folder to fill, which is renamed to ``out`` when the block succeeds and removed when it fails.

    The work happens beside ``out``, so the rename is one step of the file system: of two runs without ``force`` the
    second to end is refused. With ``force`` an existing ``out`` is replaced, but only by a whole new one, and only if
    it holds nothing but our files or a checkpoint's (see ``replaceable``). Wherever a run is killed, the old folder is
    in its place or goes back there when the next run for ``out`` starts.
    """
    out = Path(os.path.realpath(out))  # of a link, the target is replaced
    prefix = f".{out.name}.partial-"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in left_overs(out.parent, prefix):
            _settle(left, out)
        check_target(out, force)
        _check_space(out.parent, bytes_needed)
        with staging_folder(out.parent, prefix) as staging:
            try:
                (staging / NEW).mkdir()
                yield staging / NEW
                mark(staging / NEW)
                _replace(staging, out, force)
            finally:
                _settle(staging, out)
    except OSError as error:
        raise plain_words(error, out) from error


@contextmanager
def whole_file(out: Path) -> Iterator[TextIO]:
    """Yields a text file to write, which is renamed to ``out`` when the block succeeds and removed when it fails."""
    out, partial = _beside(out)
    try:
        with staging_file(partial, out) as file:
            yield file
    except OSError as error:
        raise plain_words(error, out, "file") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def check_writable(out: Path) -> None:
    """Raises EdgeError where ``whole_file`` could not begin: long work should not end in a refusal."""
    out, partial = _beside(out)
    try:
        partial.touch()
    except OSError as error:
        raise plain_words(error, out, "file") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _beside(out: Path) -> tuple[Path, Path]:
    """A file's own place, and that of the file which will replace it."""
    out = Path(os.path.realpath(out))
    if out.is_dir():
        raise EdgeError(f"{out} is a folder, not a file", "choose another file")
    return out, out.with_name(f".{out.name}.partial-{os.getpid()}")


@contextmanager
def whole_addition(folder: Path, name: str) -> Iterator[TextIO]:
    """Yields a text file to write as ``whole_file``, which counts among the contents of a folder of ours."""
    with whole_file(folder / name) as file:
        yield file
        mark_also(folder, name)


def check_target(out: Path, force: bool) -> None:
    """Raises EdgeError unless ``out`` is free or ``force`` may replace it. Repeated where another run replaced it."""
    out = Path(os.path.realpath(out))
    if not out.name:
        raise EdgeError(f"{out} is no place for a folder of its own", "choose another folder")
    try:
        _check_free(out, force)
    except OSError as error:
        raise plain_words(error, out) from error


def _check_free(out: Path, force: bool) -> None:
    while (seen := _identity(out)) is not None:
        try:
            _check_taken(out, force)
            return
        except (EdgeError, FileNotFoundError):
            if _identity(out) == seen:
                raise


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        about = path.lstat()
    except FileNotFoundError:
        return None
    return about.st_dev, about.st_ino


def _check_taken(out: Path, force: bool) -> None:
    if out.is_symlink():
        raise EdgeError(f"{out} is a link that leads nowhere", "remove it, or choose another folder")
    if not force:
        raise EdgeError(f"{out} exists already", "choose another folder, or add --force to replace it")
    if not out.is_dir():
        raise EdgeError(f"{out} is a file, not a folder", "choose another folder")
    check_replaceable(out)


def _replace(staging: Path, out: Path, force: bool) -> None:
    """Put the new folder in its place. A folder never takes the place of one with content: the system refuses."""
    while True:
        check_target(out, force)
        if force:
            with suppress(FileNotFoundError):
                out.rename(staging / OLD)
        try:
            (staging / NEW).rename(out)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            with suppress(FileNotFoundError):  # replaced by another run just now: out of date
                (staging / OLD).rename(staging / "superseded")
            shutil.rmtree(staging / "superseded", ignore_errors=True)


def _settle(staging: Path, out: Path) -> None:
    """Remove a staging folder. An old folder that nothing replaced goes back first, or stays where ``out`` is taken."""
    if (staging / OLD).exists() and (staging / NEW).exists():
        if os.path.lexists(out):
            return
        (staging / OLD).rename(out)
    shutil.rmtree(staging, ignore_errors=True)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise EdgeError(
            f"{folder} has {_megabytes(free)} free, {_megabytes(needed)} are needed",
            "free some space or write elsewhere",
        )


def _megabytes(size: int) -> str:
    """A size that is not rounded to nothing."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e7 else f"{size / 1e6:,.3f} MB"


def plain_words(error: OSError, out: Path, kind: str = "folder") -> EdgeError:
    """The EdgeError for a failed write to ``out``."""
    if error.errno == errno.ENOSPC:
        return EdgeError(f"the disk is full while writing {out}", "free some space and run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EdgeError(f"no permission to write {out}", f"choose a {kind} that you may write to")
    return EdgeError(f"cannot write {out}: {error.strerror or error}", f"choose another {kind}")


def to_disk(path: Path) -> None:
    """Have the system write a file's content to the disk: a rename that outlives a power cut must not lack it."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mode_of_files(folder: Path) -> int:
    """Permissions of a new file in ``folder``: those that the user's umask leaves."""
    probe = folder / f".mode-{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mode & 0o777
    finally:
        probe.unlink(missing_ok=True)


def sha256_of(path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file; ``progress`` counts the bytes read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()
