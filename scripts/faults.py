"""Plant many faults in everything that is read from disk, and count what comes of them; exit 1 unless all is clean.

    python scripts/faults.py                    3,000 faults, in turns over all things, two processes
    python scripts/faults.py --only data --faults 500

See tests/support/campaign.py for what a fault is, and what is clean.
"""

import argparse
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from campaign import Campaign, is_clean, peak_megabytes, table  # type: ignore[import-not-found]
from victims import VICTIMS  # type: ignore[import-not-found]

MOST_MEGABYTES = 2000


def part(names: tuple[str, ...], numbers: list[int]) -> tuple[list[tuple[str, str, str]], int]:
    """Plant these faults; returns what was found, and the peak memory, MB."""
    with tempfile.TemporaryDirectory() as desk:
        campaign = Campaign(Path(desk), names)
        return [campaign.run(number) for number in numbers], peak_megabytes()


def main() -> None:
    """Run all, in processes that are begun anew every few hundred faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=3000)
    parser.add_argument("--only", choices=tuple(VICTIMS))
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    names = (asked.only,) if asked.only else tuple(VICTIMS)
    numbers = list(range(asked.faults))
    parts = [(names, numbers[start : start + 250]) for start in range(0, len(numbers), 250)]
    found: list[tuple[str, str, str]] = []
    peak = 0
    with get_context("spawn").Pool(asked.jobs, maxtasksperchild=1) as pool:
        for rows, megabytes in pool.starmap(part, parts, chunksize=1):
            found += rows
            peak = max(peak, megabytes)
    unclean = [row for row in found if not is_clean(row[2])]
    for row in unclean:
        print(*row, sep="\n  ", file=sys.stderr)
    print(table(found))
    print(f"\n{len(found):,} faults, {len(unclean)} unclean; peak memory {peak:,} MB")
    sys.exit(1 if unclean or peak > MOST_MEGABYTES else 0)


if __name__ == "__main__":
    main()
