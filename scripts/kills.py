"""Kill commands that write something, at random moments, interrupt them, and run them on disks that are too small.

    python scripts/kills.py                     20 kills of each, one Ctrl-C, six disks
    python scripts/kills.py --only export --kills 50

What is left must be the old result, the new one, or nothing; the next run must end as if nothing had happened. Disks
need permission to mount a tmpfs. Exit 1 unless all hold. See tests/support/killed_commands.py.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from killed_commands import DISKS, kill  # type: ignore[import-not-found]
from write_jobs import JOBS, make_desk  # type: ignore[import-not-found]


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", choices=tuple(JOBS), action="append")
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        desk = Path(folder) / "desk"
        make_desk(desk)
        print(f"| command | kills: what is left | Ctrl-C | disks of {len(DISKS)} | wrong |")
        print("| --- | --- | --- | --- | ---: |", flush=True)
        for name in asked.only or JOBS:
            found = kill(name, asked.kills, desk)
            left = ", ".join(f"{count} {what}" for what, count in sorted(found.left.items()))
            print(f"| {name} | {left} | {found.interrupted} | {found.disks} | {len(found.wrong)} |", flush=True)
            for line in found.wrong:
                print(f"{name}: {line}", file=sys.stderr, flush=True)
            wrong += len(found.wrong)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
