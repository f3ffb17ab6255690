"""The corpora of the fuzzers: every reader takes its seeds, and what once was a fault of ours."""

from pathlib import Path

import pytest
from fuzz_seeds import SEEDS
from fuzz_targets import CORPORA, LARGEST_SEED, TARGETS, refused_clearly

from phantom_edge.foundation.errors import EdgeError

NEEDS = {"mil": "coremltools", "pte": "executorch"}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS.get(name, "json"))
    seeds = sorted((CORPORA / name).iterdir())
    assert seeds and all(seed.stat().st_size <= LARGEST_SEED for seed in seeds)
    for seed in seeds:
        TARGETS[name](tmp_path, seed.read_bytes())


def test_a_fault_is_noticed(tmp_path: Path) -> None:
    for error in (EdgeError("two\nlines", "do"), EdgeError("a problem", "")):
        error.problem = error.args[0]
        with pytest.raises(AssertionError), refused_clearly():
            raise error
    with pytest.raises(UnicodeDecodeError), refused_clearly():
        b"\xff".decode()


def test_names_are_those_of_the_script() -> None:
    text = (Path(__file__).parents[1] / "scripts" / "fuzz.py").read_text("utf-8")
    assert all(f'"{name}"' in text for name in TARGETS) and SEEDS.keys() == TARGETS.keys()
