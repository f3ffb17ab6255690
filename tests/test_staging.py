"""Locks of staging folders: one at work, one that was taken away, one whose lock a child still has."""

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from phantom_edge.foundation.staging import left_overs, staging_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="relies on flock")
PREFIX = ".out.partial-"


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/dev/fd"))


def test_a_new_folder_that_was_taken_for_a_left_over_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its locking another run may remove it."""
    mkdtemp, made = tempfile.mkdtemp, []

    def taken_once(prefix: str, dir: Path) -> str:
        made.append(mkdtemp(prefix=prefix, dir=dir))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken_once)
    with staging_folder(tmp_path, PREFIX) as staging:
        assert staging.is_dir() and str(staging) == made[1]
        assert list(left_overs(tmp_path, PREFIX)) == []


def test_a_new_folder_that_is_being_looked_at_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wait the run would go on unlocked, and the next run take its folder for a left-over."""
    mkdtemp, looking = tempfile.mkdtemp, threading.Event()
    others: list[threading.Thread] = []

    def look(folder: Path) -> None:
        for _ in left_overs(folder, PREFIX):
            looking.set()
            time.sleep(0.2)

    def seen_by_another(prefix: str, dir: Path) -> str:
        made = mkdtemp(prefix=prefix, dir=dir)
        others.append(threading.Thread(target=look, args=(dir,)))
        others[0].start()
        assert looking.wait(30)
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", seen_by_another)
    with staging_folder(tmp_path, PREFIX):
        others[0].join()
        assert list(left_overs(tmp_path, PREFIX)) == []


def test_looking_at_folders_leaves_no_file_open(tmp_path: Path) -> None:
    before = descriptors()
    with staging_folder(tmp_path, PREFIX) as staging:
        assert [list(left_overs(tmp_path, PREFIX)) for _ in range(3)] == [[], [], []]
        assert descriptors() == before + 1
    assert [list(left_overs(tmp_path, PREFIX)) for _ in range(3)] == [[staging]] * 3
    assert descriptors() == before


def test_a_forked_child_keeps_no_lock(tmp_path: Path) -> None:
    """A worker that outlives the run must not make its left-overs look like a run at work."""
    with staging_folder(tmp_path, PREFIX) as staging:
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends the child, should the test be killed
            signal.pause()
            os._exit(0)
    try:
        assert list(left_overs(tmp_path, PREFIX)) == [staging]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
