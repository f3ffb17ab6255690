"""Plant many faults in everything that is read from disk, and count what comes of them; exit 1 unless all is clean.

    python scripts/faults.py                    3,000 faults, in turns over all things, two processes
    python scripts/faults.py --only data --faults 500
    python scripts/faults.py --quick            without bundles of every target, which take minutes to make
    python scripts/faults.py --keep             after a correction: what was unclean again, the rest as it was found

What was found is kept in build/faults: the same command goes on where an earlier one was stopped, unless a file of the
package or of its tests has changed since. See tests/support/campaign.py for what a fault is, and what is clean.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from campaign import CRASH, HANG, PATIENCE, Campaign, is_clean, peak_megabytes, table  # type: ignore[import-not-found]
from victims import ALL, VICTIMS  # type: ignore[import-not-found]

ROOT = Path(__file__).resolve().parents[1]
MOST_MEGABYTES = 2000
ROOM = 6 << 30
"""Bytes of data that a process may ask for, most of which its libraries do: a fault is no danger to the machine."""


PREPARATION = 3600
"""Longest that a thing may take to be made, seconds: an export, on a machine that others use, too."""


def state_of_sources() -> str:
    """A digest of all that an outcome depends on."""
    digest = hashlib.sha256()
    for folder in ("phantom_edge", "export", "quantize", "tests/support"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def prepared(desk: Path, keep: bool) -> Path:
    """The folder of what was found: of these sources, or with ``keep`` what was clean with others, too."""
    state = desk / "sources"
    if keep:
        for name in (one for one in ALL if findings(desk, one).exists()):
            clean = [json.dumps([number, *row]) for number, row in found_in(desk, name).items() if is_fine(*row)]
            findings(desk, name).write_text("\n".join(["[]", *clean, ""]), "utf-8")
    elif not state.exists() or state.read_text("utf-8") != state_of_sources():
        shutil.rmtree(desk, ignore_errors=True)
    desk.mkdir(parents=True, exist_ok=True)
    state.write_text(state_of_sources(), "utf-8")
    return desk


def plant_all(desk: Path, name: str, numbers: list[int]) -> None:
    """Plant faults in one thing, in this process; a line of JSON for each to the file of the thing's findings."""
    log = os.open(desk / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)  # what libraries print, also from C
    resource.setrlimit(resource.RLIMIT_DATA, (ROOM, ROOM))
    with findings(desk, name).open("a", encoding="utf-8") as file:

        def add(line: list[object]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        campaign = Campaign(desk, name)
        add([])
        for number in numbers:
            add([number, *campaign.run(number), peak_megabytes()])
            if peak_megabytes() > MOST_MEGABYTES:
                return  # the next fault has a peak of its own, in another process
        campaign.check_whole()


def is_fine(_fault: str, outcome: str, megabytes: int) -> bool:
    """True for a clean outcome within the bound of memory."""
    return is_clean(outcome) and megabytes <= MOST_MEGABYTES


def findings(desk: Path, name: str) -> Path:
    """File of what was found so far."""
    return desk / f"{name}.jsonl"


def found_in(desk: Path, name: str) -> dict[int, tuple[str, str, int]]:
    """What was done, its outcome and the peak memory, MB, by the number of the fault; a torn last line is left out."""
    path = findings(desk, name)
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n") and line.strip()]
    return {row[0]: (row[1], row[2], row[3]) for row in rows if row}


@dataclass
class Running:
    """A process that plants faults in one thing, and the moment when it last wrote a line."""

    name: str
    process: BaseProcess
    size: int
    since: float
    limit: float = PREPARATION

    def has_stopped(self, path: Path) -> str:
        """Empty while it goes on; otherwise ``done``, or the outcome of the fault that ended it."""
        size = path.stat().st_size if path.exists() else 0
        if size != self.size:
            self.size, self.since, self.limit = size, time.monotonic(), 2 * PATIENCE
        code = self.process.exitcode
        if code is not None:
            return "done" if code == 0 else f"{CRASH}: exit code {code}"
        if time.monotonic() - self.since < self.limit:
            return ""
        self.process.kill()
        self.process.join()
        return f"{HANG}"


def start(desk: Path, name: str, numbers: list[int]) -> Running:
    """Begin the process of one thing: a copy of this one, since loading torch takes longer than 100 faults."""
    process = get_context("fork").Process(target=plant_all, args=(desk, name, numbers))
    process.start()
    path = findings(desk, name)
    return Running(name, process, path.stat().st_size if path.exists() else 0, time.monotonic())


def record_end(desk: Path, name: str, missing: list[int], outcome: str) -> None:
    """Record how a process ended. Its next fault is the cause, where it had begun at all."""
    path = findings(desk, name)
    text = path.read_text("utf-8") if path.exists() else ""
    if not text.rstrip("\n"):
        raise SystemExit(f"error: {name} could not be made ({outcome}); see {desk / name}.log")
    whole = text[: text.rfind("\n") + 1]
    number = missing[0] if missing else -1  # none: the undamaged thing was changed
    path.write_text(whole + json.dumps([number, f"fault {number}", outcome, 0]) + "\n", "utf-8")


def run_all(desk: Path, wanted: dict[str, list[int]], jobs: int) -> None:
    """Plant what is missing, a process for each thing, and show how far it is."""
    running: list[Running] = []
    begun, shown = time.monotonic(), 0.0
    before = count(desk, wanted)
    waiting = list(wanted)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                if missing := missing_of(desk, name, wanted[name]):
                    running.append(start(desk, name, missing))
            time.sleep(0.2)
            for one in list(running):
                if ended := one.has_stopped(findings(desk, one.name)):
                    running.remove(one)
                    missing = missing_of(desk, one.name, wanted[one.name])
                    if ended != "done":
                        record_end(desk, one.name, missing, ended)
                    if missing:
                        waiting.insert(0, one.name)
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                show(desk, wanted, before, shown - begun, running)
    finally:
        for one in running:
            one.process.kill()
    show(desk, wanted, before, time.monotonic() - begun, running)


def show(desk: Path, wanted: dict[str, list[int]], before: int, seconds: float, running: list[Running]) -> None:
    """Show how far it is, on stderr."""
    done, every = count(desk, wanted), sum(map(len, wanted.values()))
    names = ", ".join(one.name for one in running)
    print(f"{done:,} of {every:,} faults, {(done - before) / seconds:.1f}/s  {names}", file=sys.stderr, flush=True)


def missing_of(desk: Path, name: str, numbers: list[int]) -> list[int]:
    """Those faults that were not planted yet."""
    found = found_in(desk, name)
    return [number for number in numbers if number not in found]


def count(desk: Path, wanted: dict[str, list[int]]) -> int:
    """Number of faults that were planted."""
    return sum(len(found_in(desk, name).keys() & set(numbers)) for name, numbers in wanted.items())


def main() -> None:
    """Run all, a process for each thing, and show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=3000)
    parser.add_argument("--only", choices=tuple(ALL), action="append")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="plant only unclean faults again after a change")
    asked = parser.parse_args()
    names = tuple(dict.fromkeys(asked.only or (VICTIMS if asked.quick else ALL)))
    wanted = {name: list(range(asked.faults))[place :: len(names)] for place, name in enumerate(names)}
    desk = prepared(ROOT / "build" / "faults", asked.keep)
    run_all(desk, wanted, asked.jobs)
    rows = [
        (name, *row) for name in names for number, row in found_in(desk, name).items() if number in {*wanted[name], -1}
    ]
    unclean = [row for row in rows if not is_fine(*row[1:])]
    peak = max(row[3] for row in rows)
    for row in unclean:
        print(*row[:3], f"{row[3]:,} MB", sep="\n  ", file=sys.stderr)
    print(table([row[:3] for row in rows]))
    print(f"\n{len(rows):,} faults, {len(unclean)} unclean; peak memory {peak:,} MB")
    sys.exit(1 if unclean else 0)


if __name__ == "__main__":
    main()
