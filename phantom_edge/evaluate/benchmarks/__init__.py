"""Benchmarks read from local folders: one file and one line each.

All paths are relative to one folder of the benchmarks' own folders, in the layout of the released Phantom code
(``DATASET_ROOT`` of its ``config.py``). Prompts are those of that code (``make_instruction``, ``create_eval_dataset``),
with one difference: the released ``make_instruction`` places a picture only in its demo; here every question has its
picture. Its evaluation searches with three beams; ours is greedy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from phantom_edge.data.examples import Example
from phantom_edge.evaluate.benchmarks.ai2d import read_ai2d
from phantom_edge.evaluate.benchmarks.chartqa import read_chartqa
from phantom_edge.evaluate.benchmarks.mmbench import read_mmbench
from phantom_edge.evaluate.benchmarks.mmstar import read_mmstar
from phantom_edge.evaluate.benchmarks.pope import read_pope
from phantom_edge.evaluate.benchmarks.scienceqa import read_scienceqa

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
