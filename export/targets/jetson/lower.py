"""Target jetson: graphs for TensorRT on boards, with the runner that builds, checks and runs its engines there.

No TensorRT runs here. The proof shows that ONNX Runtime computes the model from these graphs; lint checks them against
TensorRT's documents (``targets.jetson.lint``); and the runner checks each new engine on the board before use.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.parts.embedding import NUMBERS
from phantom_edge.export.parts.precision import DTYPES
from phantom_edge.export.passes.phantom_rank import Chosen
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.jetson import runner
from phantom_edge.export.targets.jetson.boards import LEAST as LEAST_VERSIONS
from phantom_edge.export.targets.jetson.boards import MODULES, jetpack_for
from phantom_edge.export.targets.jetson.facts import BoardFacts
from phantom_edge.export.targets.jetson.golden import GOLDEN, write_golden
from phantom_edge.export.targets.jetson.graph import TrtDecoderDrawing, TrtVisionDrawing, opset_for
from phantom_edge.export.targets.jetson.options import JetsonOptions
from phantom_edge.export.targets.jetson.readme import readme
from phantom_edge.export.targets.onnx.lower import embedding_of, written
from phantom_edge.export.targets.target import Lowered, Making, Settings
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.config import PhantomConfig

SCHEMES = ("int8", "int4-g64-pos", "int4-g128-pos")
"""Schemes that TensorRT documents: zero points of zero, positive scales, and for 4 bits blocks of 64 or 128. See the
sources of ``targets.jetson.lint``."""

RUNNER = "runner.py"


def settle(config: PhantomConfig, schemes: Mapping[str, Scheme], settings: Settings) -> Settings:
    """Refuse settings that TensorRT's documents exclude."""
    if settings.precision != "fp16":
        raise EdgeError(
            f"target jetson computes in fp16, not in {settings.precision}",
            "leave --weights out, or give a recipe: int8, int4-g64",
        )
    if settings.prefill_chunk == 1:
        raise UsageError(
            "--prefill-chunk is 1, and target jetson has a profile of its own for one token", "give 16 or more"
        )
    constant_tables(config.text, settings.max_context)  # raises EdgeError early
    wrong = next((name for name, scheme in schemes.items() if scheme.name not in SCHEMES), "")
    if wrong:
        raise EdgeError(
            f"{wrong} is {schemes[wrong].name}, and of integers TensorRT documents {', '.join(SCHEMES)}",
            f"give {_remedy(config, [name for name, scheme in schemes.items() if scheme.bits != 8])}",
        )
    return settings


def _remedy(config: PhantomConfig, names: Sequence[str]) -> str:
    """Names the recipes that fit the widths of these weights."""
    shapes = matrices(config)
    widths = {shapes[name][1] for name in names}
    fitting = [f"--weights int4-g{size}" for size in (64, 128) if not any(width % size for width in widths)]
    return " or ".join([*fitting, "--weights int8"])


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Progress) -> Lowered:
    """Write both graphs, the golden vectors and the runner."""
    text, dtype = source.config.text, DTYPES[settings.precision]
    forms = [one.form for one in chosen]
    tables = constant_tables(text, settings.max_context)
    drawings: dict[str, TrtVisionDrawing | TrtDecoderDrawing] = {
        "vision": TrtVisionDrawing(source.config, source.read, dtype, source.integers, opset_only=True),
        "decoder": TrtDecoderDrawing(text, forms, tables, source.read, dtype, source.integers, opset_only=True),
    }
    for drawing in drawings.values():
        drawing.limit()
    described = written(drawings, settings, parts, begin)
    cache = cache_of(text, forms, NUMBERS[dtype], settings.max_context, "one growing array", "position_ids")
    embedding = embedding_of(source, dtype, parts, begin, opset_only=True)
    step = begin("golden vectors", text.num_hidden_layers)
    parts.part("golden", partial(write_golden, source, settings, lambda: step(1)))
    board = board_of({} if source.integers is None else source.integers.schemes, settings)
    parts.part("runner", _write_runner, anew=True)
    return Lowered(described, embedding, cache, ("onnx", "onnx-ir", "torch"), board)


def board_of(schemes: Mapping[str, Scheme], settings: Settings) -> BoardFacts:
    """Returns the board's facts for the manifest."""
    least, board = LEAST_VERSIONS[opset_for(schemes)], settings.own(JetsonOptions).board
    return BoardFacts(board, least, jetpack_for(least), MODULES[board].workspace_megabytes, RUNNER, GOLDEN)


def _write_runner(folder: Path) -> None:
    (folder / RUNNER).write_bytes(Path(runner.__file__).read_bytes())


MAKING = Making(settle, lower, readme)
