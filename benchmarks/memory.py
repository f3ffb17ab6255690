"""Peak memory and time of making, converting, loading and asking a checkpoint of a real shape.

    python benchmarks/memory.py 0.5b 7b --scratch runs/memory --out benchmarks/results/memory.json

Each step is a process of its own; its peak is what the kernel accounts to it (pages of mapped files included). The
first line is the ceiling to compare with: the bytes of the weights. Loading is not tried above --load-limit.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from phantom_edge.models.sizes import SIZES

LOAD = """
import sys, torch
from phantom_edge.models.modeling import PhantomForConditionalGeneration
model = PhantomForConditionalGeneration.from_pretrained(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
"""
BASE = "import phantom_edge.models.modeling"
CLI = "from phantom_edge.cli.main import main; main()"


def measure(code: str, *arguments: str) -> dict[str, float]:
    """Wall seconds and peak RSS in MB of one Python process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {arguments}\n{complaint}")
    scale = 1 if sys.platform == "darwin" else 1024
    return {"seconds": round(time.perf_counter() - start, 1), "peak_megabytes": round(usage.ru_maxrss * scale / 1e6)}


def steps(name: str, scratch: Path, load_limit: float) -> list[dict[str, object]]:
    """All steps for one size."""
    random, official, back = (str(scratch / f"{name}-{part}") for part in ("random", "official", "back"))
    weights = sum(SIZES[name].parameters().values()) * 2 / 1e6
    rows: list[dict[str, object]] = [
        {
            "size": name,
            "step": "init",
            "weights_megabytes": round(weights),
            **measure(CLI, "init", name, random, "--random", "--force"),
        },
        {
            "size": name,
            "step": "convert to official",
            "weights_megabytes": round(weights),
            **measure(CLI, "convert", random, official, "--force"),
        },
        {
            "size": name,
            "step": "convert back",
            "weights_megabytes": round(weights),
            **measure(CLI, "convert", official, back, "--force"),
        },
    ]
    for dtype, factor in (("float16", 1), ("float32", 2)):
        for layout, folder in (("ours", random), ("official", official)):
            if weights * factor <= load_limit:
                rows.append(
                    {
                        "size": name,
                        "step": f"load {layout} as {dtype}",
                        "weights_megabytes": round(weights * factor),
                        **measure(LOAD, folder, dtype),
                    }
                )
    for folder in (random, official, back):
        shutil.rmtree(folder)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", choices=list(SIZES))
    parser.add_argument("--scratch", type=Path, default=Path("runs/memory"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--load-limit", type=float, default=8000, help="largest model to load, MB")
    options = parser.parse_args(arguments)
    options.scratch.mkdir(parents=True, exist_ok=True)
    base = measure(BASE)
    console = Console()
    console.print(f"importing the model: {base['peak_megabytes']} MB, {base['seconds']} s; subtract it for the rest")
    rows = [row for name in options.sizes for row in steps(name, options.scratch, options.load_limit)]
    table = Table("size", "step", "weights, MB", "peak RSS, MB", "seconds")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("size", "step", "weights_megabytes", "peak_megabytes", "seconds")))
    console.print(table)
    document = {
        "base": base,
        "rows": rows,
        "machine": {"processor": platform.machine(), "python": platform.python_version()},
    }
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document))


if __name__ == "__main__":
    main()
