"""Benchmarks read from local folders: one file and one line each.

All paths are relative to one folder of the benchmarks' own folders, in the layout of the released Phantom code
(``DATASET_ROOT`` of its ``config.py``). Prompts are those of that code (``make_instruction``, ``create_eval_dataset``),
with one difference: the released ``make_instruction`` places a picture only in its demo; here every question has its
picture. Its evaluation searches with three beams; ours is greedy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from phantom_edge.data.examples import Example, Examples, read_examples, with_pictures
from phantom_edge.evaluate.benchmarks.ai2d import read_ai2d
from phantom_edge.evaluate.benchmarks.chartqa import read_chartqa
from phantom_edge.evaluate.benchmarks.mmbench import read_mmbench
from phantom_edge.evaluate.benchmarks.mmstar import read_mmstar
from phantom_edge.evaluate.benchmarks.pope import read_pope
from phantom_edge.evaluate.benchmarks.scienceqa import read_scienceqa
from phantom_edge.foundation.errors import EdgeError, UsageError

MAX_NEW_TOKENS = 5
"""Maximum answer length of all these benchmarks, tokens, as in the released code's ``get_max_new_tokens``."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark; ``read`` takes the folder of all benchmarks."""

    read: Callable[[Path], list[Example]]
    title: str


BENCHMARKS = {
    "pope": Benchmark(read_pope, "POPE"),
    "scienceqa": Benchmark(read_scienceqa, "ScienceQA, questions with a picture"),
    "ai2d": Benchmark(read_ai2d, "AI2D"),
    "chartqa": Benchmark(read_chartqa, "ChartQA"),
    "mmbench": Benchmark(read_mmbench, "MMBench, English, dev"),
    "mmstar": Benchmark(read_mmstar, "MMStar"),
}


def read_questions(data: Path, benchmark: str | None) -> Examples:
    """The questions of a JSONL file of triples, or of a benchmark in the folder ``data``.

    Raises EdgeError for a name that is no benchmark, and where there is nothing to ask.
    """
    if benchmark is None:
        return read_examples(data)
    if benchmark not in BENCHMARKS:
        raise UsageError(f"there is no benchmark '{benchmark}'", f"choose one of: {', '.join(BENCHMARKS)}")
    if not data.is_dir():
        raise EdgeError(f"there is no folder {data}", "give --data the folder that holds all benchmarks")
    return with_pictures(BENCHMARKS[benchmark].read(data), data)


def usual_length(benchmark: str | None) -> int:
    """Longest answer in tokens, unless another length is asked for."""
    return 64 if benchmark is None else MAX_NEW_TOKENS
