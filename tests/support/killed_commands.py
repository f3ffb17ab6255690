"""Commands that write something, killed, interrupted, and with too small a disk: what they leave is whole or nothing.

Each runs in a process of its own, forked from one that has imported everything: a kill is as real as any other, and
twenty of them take seconds instead of minutes.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from write_jobs import JOBS, Job

from phantom_edge.cli.start import main
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.profile.home import HOME

NONE, BROKEN = "nothing", "broken"
INTERRUPTED = 130
PAGE = 4096
DISKS = (0.03, 0.15, 0.35, 0.6, 0.8, 0.95)
"""Sizes of disks, relative to what a command writes."""


@dataclass
class Found:
    """What became of a job: kills by what they left, exit codes of Ctrl-C, full disks, and everything that is wrong."""

    left: Counter[str] = field(default_factory=Counter)
    interrupted: int = 0
    disks: int = 0
    wrong: list[str] = field(default_factory=list)


class Runs:
    """Runs of one job in the folder ``place``, with the things of ``desk``."""

    def __init__(self, job: Job, desk: Path, place: Path) -> None:
        self.job, self.desk, self.place = job, desk, place
        self.out = place / job.name
        self.found = Found()

    def begin(self) -> None:
        """Put there what must be there before."""
        if self.job.name == "recorded":
            shutil.copytree(self.desk / "b" / "bundle", self.out)

    def run(self, until: float | None = None, number: int = signal.SIGKILL) -> tuple[int, str]:
        """Run the command, and end it after ``until`` seconds. Returns its exit code and stderr."""
        words = list(map(str, self.job.words(self.desk, self.out)))
        said = self.place.with_name(f"{self.place.name}.said")
        child = os.fork()
        if child == 0:
            _command(words, said, {HOME: str(self.place / "home")})
        try:
            return _waited(child, until, number), said.read_text("utf-8", "replace") if said.exists() else ""
        finally:
            said.unlink(missing_ok=True)

    def says(self) -> str:
        """What lies there: the content of a whole result, nothing, or why it is broken."""
        if not self.out.exists():
            return NONE
        try:
            return self.job.says(self.out)
        except (EdgeError, OSError, ValueError) as error:
            return f"{BROKEN}: {error}"

    def all(self, kills: int, seed: int = 0) -> Found:
        """A whole run, kills, one Ctrl-C, a run that goes on from what they left, and full disks."""
        random_ = random.Random(f"{self.job.name}/{seed}")
        self.begin()
        before, base = self.says(), self._bytes()
        start = time.monotonic()
        code, said = self.run()
        seconds, right = time.monotonic() - start, self.says()
        if code or right in (NONE, before) or right.startswith(BROKEN):
            self.found.wrong.append(f"a whole run: exit {code}, {right}: {said[-500:]}")
            return self.found
        names = self._names()
        size = self._bytes()
        self._clear()
        self.begin()
        for number in range(kills):
            self.run(random_.uniform(0.02, 1.1) * seconds)
            left = self.says()
            known = {right: "new", before: "old" if before != NONE else NONE, "unfinished": "unfinished"}.get(left)
            self.found.left[known or BROKEN] += 1
            if known is None:
                self.found.wrong.append(f"kill {number}: {left}")
            if known == "new" and number % 2:  # every other time, the next run replaces it
                self._clear()
                self.begin()
        code, said = self.run(0.5 * seconds, signal.SIGINT)
        self.found.interrupted += code == INTERRUPTED or code == 0  # it may have been quicker
        if code not in (0, INTERRUPTED) or "Traceback" in said:
            self.found.wrong.append(f"Ctrl-C: exit {code}: {said[-500:]}")
        if self.says() == right:
            self._clear()
            self.begin()
        code, said = self.run()
        if code or self.says() != right or self._names() != names:
            self.found.wrong.append(f"afterwards: exit {code}, {self._names() ^ names}: {self.says()} {said[-500:]}")
        self._disks(base, size, right, before)
        return self.found

    def _disks(self, base: int, size: int, right: str, before: str) -> None:
        for share in DISKS:
            self._clear()
            with disk(self.place, base + max(int((size - base) * share), PAGE)) as is_there:
                if not is_there:
                    return
                self.begin()
                code, said = self.run()
                left = self.says()
                is_right = left == right if code == 0 else left in (before, NONE, "unfinished") and "error: " in said
                is_right |= self.job.goes_on_without and code == 0 and "not kept in the history" in said
                self.found.disks += is_right
                if not is_right or "Traceback" in said:
                    self.found.wrong.append(f"a disk of {share:.0%}: exit {code}, {left}: {said[-500:]}")

    def _clear(self) -> None:
        for path in self.place.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _bytes(self) -> int:
        """Bytes that a disk needs for what is there."""
        sizes = (path.stat().st_size for path in self.place.rglob("*") if path.is_file())
        return sum(-(-size // PAGE) * PAGE for size in sizes)

    def _names(self) -> set[str]:
        return {path.name for path in self.place.iterdir()}


def _command(words: list[str], said: Path, environment: Mapping[str, str]) -> None:
    """The command line in this process, which ends with it."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(environment)
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.argv = ["phantom-edge", *words]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _waited(child: int, until: float | None, number: int) -> int:
    """Exit code of a child, ended by a signal after a time; its own children end with it."""
    deadline = time.monotonic() + (until if until is not None else 600)
    is_sent = False
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            try:
                os.kill(child, number) if number == signal.SIGINT else os.killpg(child, number)
            except ProcessLookupError:  # it has not made its group yet
                os.kill(child, number)
            number, is_sent, deadline = (signal.SIGKILL if is_sent else number), True, time.monotonic() + 120
        time.sleep(0.002)


@contextmanager
def disk(place: Path, size: int) -> Iterator[bool]:
    """A small disk at ``place``; yields False where none can be mounted."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", place], check=True, capture_output=True)


def kill(name: str, kills: int, desk: Path) -> Found:
    """Run, kill, interrupt and starve a command."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "place"
        place.mkdir()
        return Runs(JOBS[name], desk, place).all(kills)
