"""A campaign of faults: one is planted, what holds it is used, and the outcome is counted."""

import resource
import shutil
import signal
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from planted_faults import plant
from victims import ALL

from phantom_edge.foundation.errors import EdgeError

SECONDS, PATIENCE = 10, 120
"""Longest that one fault may keep us busy: seconds of computing, and of waiting on a machine that others use, too."""

REFUSED, SAME, OTHER = "refused", "same answer", "other answer"
TRACEBACK, HANG, UNCLEAR = "traceback", "hang", "unclear"
CLEAN = (REFUSED, SAME, OTHER)
"""Outcomes that are no fault of ours; of sealed files, another answer is one."""


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
    """Faults in copies, in the folder ``copies``, of things that are made once in the folder ``desk``.

    What each says undamaged is kept beside it, so that several processes can share a desk.
    """

    def __init__(self, desk: Path, names: tuple[str, ...], copies: Path | None = None) -> None:
        self.desk, self.names, self.copies = desk, names, copies or desk / "damaged"
        self.right: dict[str, str] = {}
        for name in names:
            told = desk / f"{name}.right"
            if not told.exists():
                ALL[name].make(desk / name)
                told.write_text(_said(name, desk / name), encoding="utf-8")
            self.right[name] = told.read_text("utf-8")

    def run(self, number: int) -> tuple[str, str, str]:
        """Plant fault ``number``; returns what was damaged, how, and the outcome with its words."""
        name = self.names[number % len(self.names)]
        copy = self.copies / name
        shutil.rmtree(self.copies, ignore_errors=True)
        shutil.copytree(self.desk / name, copy)
        fault = plant(copy, f"{name}/{number}")
        return name, fault, self._outcome(name, copy)

    def _outcome(self, name: str, copy: Path) -> str:
        victim = ALL[name]
        try:
            with limited(SECONDS, PATIENCE):
                said = _said(name, copy)
        except EdgeError as error:
            clear = error.problem and error.remedy and "\n" not in error.problem and len(error.problem) < 3000
            return REFUSED if clear else f"{UNCLEAR}: {error.problem[:200]!r}"
        except Hang:
            return HANG
        except Exception:
            return f"{TRACEBACK}: {traceback.format_exc()[-700:]}"
        if said == self.right[name]:
            return SAME
        return f"{TRACEBACK}: a sealed bundle gave another answer" if victim.sealed else OTHER


def _said(name: str, folder: Path) -> str:
    return ALL[name].use(folder).replace(str(folder), "")


def is_clean(outcome: str) -> bool:
    """True for an outcome that a user can live with."""
    return outcome in CLEAN


def table(found: list[tuple[str, str, str]]) -> str:
    """Outcomes by what was damaged, as Markdown."""
    counted = Counter((name, outcome.partition(":")[0]) for name, _, outcome in found)
    outcomes = sorted({outcome for _, outcome in counted})
    lines = [f"| damaged | {' | '.join(outcomes)} |", f"| --- |{' ---: |' * len(outcomes)}"]
    for name in dict.fromkeys(name for name, _, _ in found):
        lines.append(f"| {name} | {' | '.join(str(counted[name, outcome]) for outcome in outcomes)} |")
    return "\n".join(lines)


def peak_megabytes() -> int:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
