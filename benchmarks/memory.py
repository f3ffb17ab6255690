"""Peak memory and time of making, converting, loading and asking a checkpoint of a real shape.

    python -m benchmarks.memory 0.5b 7b --out benchmarks/results/memory.json
    python -m benchmarks.memory 7b --only init "quantize int4" --out benchmarks/results/memory.json

Each step is a process of its own. The ceiling to compare with: the bytes of the weights. Loading is not tried above
``--load-limit``, in MB. With ``--only`` the other steps' figures stay as they are in ``--out``.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import EDGE, begin, machine, python
from phantom_edge.models.sizes import SIZES

LOAD = """
import sys, torch
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
model = PhantomForConditionalGeneration.from_pretrained(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
"""
BASE = "import phantom_edge.checkpoint.pretrained"


def steps(name: str, scratch: Path, load_limit: float, only: Sequence[str]) -> list[dict[str, object]]:
    """All steps for one size, or ``only`` some."""
    random, official, back, integers = (
        str(scratch / f"{name}-{part}") for part in ("random", "official", "back", "integers")
    )
    weights = sum(SIZES[name].parameters().values()) * 2 / 1e6
    commands: dict[str, tuple[float, str, tuple[str, ...]]] = {
        "init": (weights, EDGE, ("init", name, random, "--random", "--force")),
        "quantize int4": (weights, EDGE, ("quantize", random, "--recipe", "int4", "--out", integers, "--force")),
        "convert to official": (weights, EDGE, ("convert", random, official, "--force")),
        "convert back": (weights, EDGE, ("convert", official, back, "--force")),
    }
    for dtype, factor in (("float16", 1), ("float32", 2)):
        for layout, folder in (("ours", random), ("official", official)):
            if weights * factor <= load_limit:
                commands[f"load {layout} as {dtype}"] = (weights * factor, LOAD, (folder, dtype))
    rows: list[dict[str, object]] = [
        {"size": name, "step": step, "weights_megabytes": round(megabytes), **python(code, *arguments)}
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


def main() -> None:
    """Measure and write."""
    bench = begin("memory", __doc__, {"dest": "sizes", "nargs": "+", "choices": SIZES}, load_limit=8000.0, only=[])
    asked, base = bench.asked, python(BASE)
    rows = [row for name in asked.sizes for row in steps(name, bench.scratch, asked.load_limit, asked.only)]
    if asked.only:
        rows = merged(bench.before().get("rows", []), rows)
    bench.write({"base": base, "rows": rows, "machine": machine()})


if __name__ == "__main__":
    main()
