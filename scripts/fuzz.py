"""Fuzz every reader of foreign bytes by atheris, each for some minutes; exit 1 unless all hold.

    python scripts/fuzz.py                        5 minutes each, from the corpora in tests/fuzz
    python scripts/fuzz.py --only tar --seconds 60
    python scripts/fuzz.py --seeds                make the corpora anew from real artifacts

What a reader does wrong is written, with its input, to build/fuzz. See tests/support/fuzz_targets.py.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

NAMES = (
    *("manifest", "mil", "pte", "quantization", "tokenizer", "template"),
    *("triples", "journal", "pictures", "lines", "tar"),
)
LONGEST, MEGABYTES = 30, 2000
"""Limits of one input: seconds, and memory."""


def fuzz_one(name: str, rest: list[str]) -> None:
    """Fuzz a target in this process, whose arguments are libFuzzer's; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["phantom_edge", "tarfile"]):
        from fuzz_targets import TARGETS  # type: ignore[import-not-found,unused-ignore]
    desk = Path(tempfile.mkdtemp())
    for seed in (ROOT / "tests" / "fuzz" / name).iterdir():  # what is imported and made once counts for no input
        TARGETS[name](desk, seed.read_bytes())
    atheris.Setup([sys.argv[0], *rest], lambda data: TARGETS[name](desk, data))
    atheris.Fuzz()


def fuzz(name: str, seconds: int) -> tuple[str, str]:
    """Fuzz a target in a process of its own. Returns number of inputs, and the fault or ""."""
    found = ROOT / "build" / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        words = [sys.executable, __file__, "--one", name, corpus, str(ROOT / "tests" / "fuzz" / name)]
        limits = [f"-max_total_time={seconds}", f"-timeout={LONGEST}", f"-rss_limit_mb={MEGABYTES}"]
        words += [*limits, "-max_len=65536", f"-artifact_prefix={found}/", "-print_final_stats=1"]
        ran = subprocess.run(words, capture_output=True, text=True, errors="replace")
    (found / "log.txt").write_text(ran.stdout + ran.stderr, encoding="utf-8")
    inputs = re.search(r"stat::number_of_executed_units: *(\d+)", ran.stderr)
    fault = "" if ran.returncode == 0 else _fault(ran.stdout + ran.stderr)
    return inputs[1] if inputs else "?", fault


def _fault(log: str) -> str:
    """The exception, or else what libFuzzer says."""
    found = re.search(r"Uncaught Python exception: ===\n(.*)", log) or re.search(r"==\d+== ?(ERROR.*)", log)
    return found[1].strip()[:200] if found else "it ended; see log.txt"


def make_seeds(names: Sequence[str]) -> None:
    """Write the corpora of these readers."""
    from fuzz_seeds import SEEDS  # type: ignore[import-not-found]
    from fuzz_targets import CORPORA, LARGEST_SEED  # type: ignore[import-not-found,unused-ignore]

    CORPORA.mkdir(exist_ok=True)
    for name in names:
        folder = CORPORA / name
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as desk:
            seeds = list(SEEDS[name](Path(desk)))
        for seed in seeds:
            assert len(seed) <= LARGEST_SEED, (name, len(seed))
            (folder / sha256(seed).hexdigest()[:12]).write_bytes(seed)
        print(f"{name}: {len(seeds)} seeds, {sum(map(len, seeds)):,} bytes", flush=True)


def main() -> None:
    """Run what is asked for."""
    if sys.argv[1:2] == ["--one"]:
        fuzz_one(sys.argv[2], sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--only", choices=NAMES, action="append")
    parser.add_argument("--seeds", action="store_true")
    asked = parser.parse_args()
    if asked.seeds:
        make_seeds(asked.only or NAMES)
        return
    print("| reader | inputs | fault |\n| --- | ---: | --- |", flush=True)
    faults = 0
    for name in asked.only or NAMES:
        inputs, fault = fuzz(name, asked.seconds)
        faults += bool(fault)
        print(f"| {name} | {inputs} | {fault or 'none'} |", flush=True)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
