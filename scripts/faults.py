"""Plant many faults in everything that is read from disk, and count what comes of them; exit 1 unless all is clean.

    python scripts/faults.py                    3,000 faults, in turns over all things, two processes
    python scripts/faults.py --only data --faults 500
    python scripts/faults.py --quick            without bundles of every target, which take minutes to make

See tests/support/campaign.py for what a fault is, and what is clean.
"""

import argparse
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from campaign import Campaign, is_clean, peak_megabytes, table  # type: ignore[import-not-found]
from victims import ALL, VICTIMS  # type: ignore[import-not-found]

MOST_MEGABYTES = 2000

EACH = 250
"""Faults of one process."""


def made(desk: Path, name: str) -> None:
    """Make a thing in a process of its own."""
    Campaign(desk, (name,))


def part(asked: tuple[Path, tuple[str, ...], list[int]]) -> tuple[list[tuple[str, str, str]], int]:
    """Plant these faults; returns what was found, and the peak memory, MB."""
    desk, names, numbers = asked
    with tempfile.TemporaryDirectory() as copies:
        campaign = Campaign(desk, names, Path(copies) / "copy")
        return [campaign.run(number) for number in numbers], peak_megabytes()


def main() -> None:
    """Run all, in processes that are begun anew every few hundred faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=3000)
    parser.add_argument("--only", choices=tuple(ALL), action="append")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    names = tuple(asked.only or (VICTIMS if asked.quick else ALL))
    numbers = list(range(asked.faults))
    found: list[tuple[str, str, str]] = []
    peak = 0
    with tempfile.TemporaryDirectory() as folder, get_context("spawn").Pool(asked.jobs, maxtasksperchild=1) as pool:
        desk = Path(folder)
        pool.starmap(made, [(desk, name) for name in names], chunksize=1)
        parts = [(desk, names, numbers[start : start + EACH]) for start in range(0, len(numbers), EACH)]
        for rows, megabytes in pool.imap_unordered(part, parts):
            found += rows
            peak = max(peak, megabytes)
            for row in rows:
                if not is_clean(row[2]):
                    print(*row, sep="\n  ", file=sys.stderr)
            print(f"{len(found):,} of {asked.faults:,}", file=sys.stderr, flush=True)
    unclean = [row for row in found if not is_clean(row[2])]
    print(table(found))
    print(f"\n{len(found):,} faults, {len(unclean)} unclean; peak memory {peak:,} MB")
    sys.exit(1 if unclean or peak > MOST_MEGABYTES else 0)


if __name__ == "__main__":
    main()
