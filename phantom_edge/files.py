"""Folders that appear whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phantom_edge.errors import EdgeError


@contextmanager
def whole_folder(out: Path, *, force: bool = False, bytes_needed: int = 0) -> Iterator[Path]:
    """A folder to fill, renamed to ``out`` when the block ends well and removed when it does not.

    The work happens beside ``out``, so the rename is one step of the file system. An existing ``out`` is replaced
    only with ``force``, and only after the new one is whole.
    """
    out = out.resolve()  # through a link, the folder that it points to is the one to replace
    if out.exists() and not force:
        raise EdgeError(f"{out} exists already", "choose another folder, or add --force to replace it")
    if out.exists() and not out.is_dir():
        raise EdgeError(f"{out} is a file, not a folder", "choose another folder")
    if out.exists():
        _check_replaceable(out)
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(out)
        _check_space(out.parent, bytes_needed)
        partial.mkdir()
        yield partial
        _replace(partial, out)
    except OSError as error:
        raise _plain_words(error, out) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_replaceable(out: Path) -> None:
    """``--force`` replaces what we could have written, never a folder of other things."""
    if Path.cwd().resolve().is_relative_to(out):
        raise EdgeError(f"{out} holds the folder that you are in", "choose another folder")
    ours = ("config.json", "scenes.json", "scene.png", "report.json")
    if any(out.iterdir()) and not any((out / name).exists() for name in ours):
        raise EdgeError(
            f"{out} holds other things than a checkpoint, scenes or a report", "choose another folder, or empty it"
        )


def _remove_left_over(out: Path) -> None:
    """Remove what runs that were killed left beside ``out``; that of a run still at work stays."""
    for left in out.parent.glob(f".{out.name}.partial-*"):
        owner = left.name.rpartition("-")[2]
        if not owner.isdigit() or int(owner) == os.getpid() or not _is_running(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # there is no harmless way to ask
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def _replace(partial: Path, out: Path) -> None:
    old = out.parent / f".{out.name}.old"
    if old.exists():
        shutil.rmtree(old)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise EdgeError(
            f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed",
            "free some space or write elsewhere",
        )


def _plain_words(error: OSError, out: Path) -> EdgeError:
    if error.errno == errno.ENOSPC:
        return EdgeError(f"the disk is full while writing {out}", "free some space and run the command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EdgeError(f"no permission to write {out}", "choose a folder that you may write to")
    return EdgeError(f"cannot write {out}: {error.strerror or error}", "choose another folder")
