"""The steps that benchmarks share: arguments, processes of their own, turns, resuming, and results.

A result is one JSON document; beside it lies the Markdown of its table, made of the same document, which is also what a
run prints. ``--scratch`` keeps what was made and measured: killed, the same command goes on.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks.tables import tables_of
from phantom_edge.bundle.folder import read_manifest
from phantom_edge.foundation.files import whole_file

Json = dict[str, Any]
K = TypeVar("K")
EDGE = "from phantom_edge.cli.start import main; main()"


@dataclass(frozen=True)
class Bench:
    """A run of a benchmark: its name, its arguments, where it works, and where its result goes."""

    name: str
    asked: argparse.Namespace
    scratch: Path
    out: Path

    def before(self) -> Json:
        """The result that is there already, or an empty document."""
        found: Json = json.loads(self.out.read_text(encoding="utf-8")) if self.out.is_file() else {}
        return found

    def once(self, name: str, measure: Callable[[], Json], *, again: bool = False) -> Json:
        """The measurement by this name, from this run or an earlier one."""
        known = self.scratch / f"{file_name(name)}.json"
        if again or not known.is_file():
            found = measure()
            with whole_file(known) as file:
                json.dump(found, file)
        row: Json = json.loads(known.read_text(encoding="utf-8"))
        print(name, json.dumps(row), file=sys.stderr)
        return row

    def write(self, document: Mapping[str, Any], *, show: bool = True) -> None:
        """The result and its tables."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        tables = tables_of(self.name, document)
        for name, text in tables.items():
            (self.out.parent / name.replace(self.name, self.out.stem)).write_text(text, encoding="utf-8")
        if show:
            print("\n".join(tables.values()) or json.dumps(document, indent=1))


def begin(name: str, about: str | None, *positional: Mapping[str, Any], **options: Any) -> Bench:
    """Read the command line: ``positional`` as argparse takes them, and defaults of options, whose types they give."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name.replace('-', '_')}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for one in positional:
        parser.add_argument(**one)
    for option, default in options.items():
        flag = f"--{option.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(default, list):
            parser.add_argument(flag, nargs="+", type=type(default[0]) if default else str, default=default)
        else:
            parser.add_argument(flag, type=type(default), default=default, help=f"default: {default}")
    parser.add_argument("--scratch", type=Path, default=Path("runs") / name, help=f"default: runs/{name}")
    parser.add_argument("--out", type=Path, help="JSON file of the result; default: the name of --scratch, with .json")
    asked = parser.parse_args()
    asked.scratch.mkdir(parents=True, exist_ok=True)
    return Bench(name, asked, asked.scratch, asked.out or asked.scratch.with_name(f"{asked.scratch.name}.json"))


def machine(*more: str) -> str:
    """Facts of this machine, as results hold them."""
    return ", ".join((platform.machine(), *(more or (f"{os.cpu_count()} cores",))))


def file_name(name: str) -> str:
    """The file name of a row."""
    return re.sub(r"[^\w.]+", "-", name)


def listed(bundle: Path, skipped: str = "") -> float:
    """Megabytes of the files of a bundle's manifest, without those whose names begin with ``skipped``."""
    files = read_manifest(bundle).files
    return sum(file.bytes for name, file in files.items() if not (skipped and name.startswith(skipped))) / 1e6


def megabytes(path: Path, skipped: str = "") -> float:
    """Megabytes of a file, or of all files in a folder without those whose names begin with ``skipped``."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file() and not one.is_symlink()]
    return sum(one.stat().st_size for one in files if not (skipped and one.name.startswith(skipped))) / 1e6


def python(code: str, *arguments: object, **environment: str) -> Json:
    """Wall seconds of a Python process, and its peak memory as the kernel accounts it (with mapped files)."""
    start = time.perf_counter()
    words = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(words[3:]) or code}")
    scale = 1 if sys.platform == "darwin" else 1024
    return {"seconds": round(time.perf_counter() - start, 1), "peak_megabytes": round(usage.ru_maxrss * scale / 1e6)}


def edge(*arguments: object, **environment: str) -> Json:
    """``phantom-edge`` with these arguments, as ``python`` measures it."""
    return python(EDGE, *arguments, **environment)


def edge_says(*arguments: object) -> Json:
    """The document that ``phantom-edge ... --json`` prints."""
    words = [sys.executable, "-c", EDGE, *map(str, arguments), "--json"]
    found: Json = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    return found


def in_turns(things: Sequence[K], measure: Callable[[K], float], turns: int) -> dict[K, list[float]]:
    """The measurements of each thing, by turns; every other turn goes backwards, so that other load meets all alike."""
    found: dict[K, list[float]] = {thing: [] for thing in things}
    for turn in range(turns):
        for thing in things if turn % 2 == 0 else things[::-1]:
            found[thing].append(measure(thing))
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over the turns."""
    return median(own / other for own, other in zip(ours, theirs, strict=True))
