"""A campaign of faults: one is planted, what holds it is used, and the outcome is counted."""

import os
import resource
import shutil
import signal
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy2
from types import FrameType

from bundles import seal_again
from planted_faults import planned
from victims import ALL

from phantom_edge.foundation.errors import EdgeError

SECONDS, PATIENCE = 10, 120
"""Longest that one fault may keep us busy: seconds of computing, and of waiting on a machine that others use, too."""

REFUSED, SAME, OTHER = "refused", "same answer", "other answer"
WRONG, TRACEBACK, HANG, UNCLEAR, CRASH = "wrong answer", "traceback", "hang", "unclear", "crash"
CLEAN = (REFUSED, SAME, OTHER)
"""Outcomes that are no fault of ours; of sealed files, another answer is one."""
OUTCOMES = (*CLEAN, WRONG, TRACEBACK, HANG, UNCLEAR, CRASH)

FORGED, AGAIN = 1 / 3, ", sealed again"


class Hang(BaseException):
    """The time is over; no ``except Exception`` may stop it."""


@contextmanager
def limited(computing: float, waiting: float) -> Iterator[None]:
    """Raises Hang after so many seconds of processor time, or of wall time."""

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    clocks = ((signal.ITIMER_PROF, signal.SIGPROF, computing), (signal.ITIMER_REAL, signal.SIGALRM, waiting))
    before = [signal.signal(number, over) for _, number, _ in clocks]
    try:
        for clock, _, seconds in clocks:
            signal.setitimer(clock, seconds)
        yield
    finally:
        for (clock, number, _), handler in zip(clocks, before, strict=True):
            signal.setitimer(clock, 0)
            signal.signal(number, handler)


class Campaign:
    """Faults in copies, in the folder ``copies``, of one thing that is made once in the folder ``desk``.

    What it says undamaged is kept beside it, so that several processes can share a desk.
    """

    def __init__(self, desk: Path, name: str, copies: Path | None = None) -> None:
        self.name, self.whole, self.copy = name, desk / name, (copies or desk / "damaged") / name
        self.victim = ALL[name]
        right = desk / f"{name}.right"
        if not right.exists():
            self.victim.make(self.whole)
            right.write_text(self._said(self.whole), encoding="utf-8")
        self.right = right.read_text("utf-8")

    def run(self, number: int) -> tuple[str, str]:
        """Plant fault ``number``; returns what was done, and the outcome with its words.

        One in three damaged bundles is sealed again, as by a forger: another answer is then no fault of ours.
        """
        fault = planned(self.whole, f"{self.name}/{number}")
        is_forged = self.victim.sealed and fault.random.random() < FORGED
        shutil.rmtree(self.copy, ignore_errors=True)
        if self.victim.sealed:  # nothing writes into it: its files are the same on disk, but for the damaged one
            damaged = self.whole / fault.path
            copied = lambda source, to: (copy2 if Path(source) == damaged else os.link)(source, to)  # noqa: E731
            shutil.copytree(self.whole, self.copy, copy_function=copied)
        else:
            shutil.copytree(self.whole, self.copy)
        fault.plant(self.copy)
        if is_forged:
            seal_again(self.copy)
        return f"{fault}{AGAIN if is_forged else ''}", self._outcome(may_differ=is_forged or not self.victim.sealed)

    def _outcome(self, may_differ: bool) -> str:
        try:
            with limited(SECONDS, PATIENCE):
                said = self._said(self.copy)
        except EdgeError as error:
            clear = error.problem and error.remedy and "\n" not in error.problem and len(error.problem) < 3000
            return REFUSED if clear else f"{UNCLEAR}: {error.problem[:200]!r}"
        except Hang:
            return HANG
        except Exception:
            return f"{TRACEBACK}: {traceback.format_exc()[-700:]}"
        if said == self.right:
            return SAME
        return OTHER if may_differ else WRONG

    def _said(self, folder: Path) -> str:
        return self.victim.use(folder).replace(str(folder), "")

    def check_whole(self) -> None:
        """Assert that the undamaged thing is still what it was."""
        assert self._said(self.whole) == self.right, self.name


def is_clean(outcome: str) -> bool:
    """True for an outcome that a user can live with."""
    return outcome in CLEAN


def table(found: list[tuple[str, str, str]]) -> str:
    """Outcomes by what was damaged, as Markdown, from its name, the fault and the outcome."""
    rows = [(name + AGAIN * fault.endswith(AGAIN), outcome.partition(":")[0]) for name, fault, outcome in found]
    counted = Counter([*rows, *(("all", outcome) for _, outcome in rows)])
    outcomes = [one for one in OUTCOMES if counted["all", one] or one in CLEAN]
    lines = [f"| damaged | {' | '.join(outcomes)} |", f"| --- |{' ---: |' * len(outcomes)}"]
    for name in [*(one + more for one in ALL for more in ("", AGAIN)), "all"]:
        counts = [counted[name, outcome] for outcome in outcomes]
        if any(counts):
            lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def peak_megabytes() -> int:
    """Peak memory of this process so far, or of one that it started."""
    return max(resource.getrusage(of).ru_maxrss for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1000
