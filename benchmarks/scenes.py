"""Pictures a second that ``phantom-edge data scenes`` draws and writes.

python benchmarks/scenes.py --pictures 4000 --workers 2 --scratch runs/scenes --out benchmarks/results/scenes.json
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "phantom_edge", "data", "scenes"]


def main() -> None:
    """Time the command, and the same for one picture: what starting it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    seconds = {}
    for pictures in (1, options.pictures):
        start = time.perf_counter()
        sizes = ("--pictures", str(pictures), "--workers", str(options.workers))
        subprocess.run([*COMMAND, str(options.scratch), *sizes, "--force"], check=True, capture_output=True)
        seconds[pictures] = time.perf_counter() - start
        shutil.rmtree(options.scratch)
    document = {
        "pictures": options.pictures,
        "workers": options.workers,
        "start_seconds": round(seconds[1], 2),
        "seconds": round(seconds[options.pictures], 1),
        "pictures_per_second": round((options.pictures - 1) / (seconds[options.pictures] - seconds[1])),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document))


if __name__ == "__main__":
    main()
