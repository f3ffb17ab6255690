"""Peak memory and time of making, converting, loading and asking a checkpoint of a real shape.

    python benchmarks/memory.py 0.5b 7b --scratch runs/memory --out benchmarks/results/memory.json
    python benchmarks/memory.py 7b --only init "quantize int4" --out benchmarks/results/memory.json

Each step is a process of its own; its peak is what the kernel accounts to it (pages of mapped files included). The
first line is the ceiling to compare with: the bytes of the weights. Loading is not tried above --load-limit. With
``--only`` the other steps' figures stay as they are in ``--out``.
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


def steps(name: str, scratch: Path, load_limit: float, only: Sequence[str]) -> list[dict[str, object]]:
    """All steps for one size, or ``only`` some."""
    random, official, back, integers = (
        str(scratch / f"{name}-{part}") for part in ("random", "official", "back", "integers")
    )
    weights = sum(SIZES[name].parameters().values()) * 2 / 1e6
    commands: dict[str, tuple[float, str, tuple[str, ...]]] = {
        "init": (weights, CLI, ("init", name, random, "--random", "--force")),
        "quantize int4": (weights, CLI, ("quantize", random, "--recipe", "int4", "--out", integers, "--force")),
        "convert to official": (weights, CLI, ("convert", random, official, "--force")),
        "convert back": (weights, CLI, ("convert", official, back, "--force")),
    }
    for dtype, factor in (("float16", 1), ("float32", 2)):
        for layout, folder in (("ours", random), ("official", official)):
            if weights * factor <= load_limit:
                commands[f"load {layout} as {dtype}"] = (weights * factor, LOAD, (folder, dtype))
    rows: list[dict[str, object]] = [
        {"size": name, "step": step, "weights_megabytes": round(megabytes), **measure(code, *arguments)}
        for step, (megabytes, code, arguments) in commands.items()
        if not only or step in only
    ]
    for folder in (random, official, back, integers):
        shutil.rmtree(folder, ignore_errors=True)
    return rows


def merged(old: list[dict[str, object]], new: list[dict[str, object]]) -> list[dict[str, object]]:
    """The old rows, those that were measured again replaced, and new steps behind those of their size."""
    rows = {(row["size"], row["step"]): row for row in old} | {(row["size"], row["step"]): row for row in new}
    sizes = list(dict.fromkeys(size for size, _ in rows))
    return sorted(rows.values(), key=lambda row: sizes.index(row["size"]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", choices=list(SIZES))
    parser.add_argument("--scratch", type=Path, default=Path("runs/memory"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--load-limit", type=float, default=8000, help="largest model to load, MB")
    parser.add_argument("--only", nargs="+", default=[], help="steps")
    options = parser.parse_args(arguments)
    options.scratch.mkdir(parents=True, exist_ok=True)
    base = measure(BASE)
    console = Console()
    console.print(f"importing the model: {base['peak_megabytes']} MB, {base['seconds']} s; subtract it for the rest")
    rows = [row for name in options.sizes for row in steps(name, options.scratch, options.load_limit, options.only)]
    table = Table("size", "step", "weights, MB", "peak RSS, MB", "seconds")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("size", "step", "weights_megabytes", "peak_megabytes", "seconds")))
    console.print(table)
    if options.only and options.out and options.out.is_file():
        rows = merged(json.loads(options.out.read_text(encoding="utf-8"))["rows"], rows)
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
