"""Target jetson: graphs for TensorRT on boards, with the runner that builds, checks and runs its engines there.

No TensorRT runs here. What is proved here is that ONNX Runtime computes the model from these very graphs; that
TensorRT takes them is what its documents say (``targets.jetson.lint``); and that its engine computes the same, the
runner checks on the board, before it is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from phantom_edge.bundle.manifest import Board
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.parts.embedding import NUMBERS
from phantom_edge.export.passes.phantom_rank import LEAST, STEP, Chosen
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.jetson import runner as trt
from phantom_edge.export.targets.jetson.boards import LEAST as LEAST_VERSIONS
from phantom_edge.export.targets.jetson.boards import MODULES, jetpack_for
from phantom_edge.export.targets.jetson.golden import GOLDEN, write_golden
from phantom_edge.export.targets.jetson.graph import TrtDecoderDrawing, TrtVisionDrawing, opset_for
from phantom_edge.export.targets.onnx.lower import embedding_of, written
from phantom_edge.export.targets.target import SYSTEMS, Begin, Lowered, Settings, Target
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.config import PhantomConfig
from phantom_edge.quantize.recipe import matrices

SCHEMES = ("int8", "int4-g64-pos", "int4-g128-pos")
"""What TensorRT documents: zero points of zero, positive scales, and of 4 bits blocks of 64 or 128. See the sources of
``targets.jetson.lint``."""

RUNNER, README = "runner.py", "README.md"

TEXT = """\
# A Phantom model for NVIDIA Jetson

Made by `phantom-edge export --target jetson --board {board}`. It needs TensorRT {tensorrt} or later: JetPack {jetpack}.
`phantom.json` holds all of this for programs.

Copy this folder to the board, and there:

```sh
sudo apt install python3-libnvinfer      # TensorRT's Python package, of JetPack
pip install numpy cuda-python
python3 runner.py                        # builds the engines, which takes minutes, and checks them
```

Engines are kept in `engines/`, one for each board, TensorRT and graph. A new one is held against `{golden}`: inputs,
and what the checkpoint makes of them in float32. One that is off by more than {vision:.0%} (pictures) or {logits:.0%}
(logits) of the largest number is refused. Nothing of this bundle was run by TensorRT before; this check is the proof.

Where Python is 3.11 or later, `pip install phantom-edge` brings the rest, and the same engines answer questions:
`phantom-edge run --model FOLDER --image PICTURE "What is this?"`. With `onnxruntime-gpu` instead of TensorRT's own
package, ONNX Runtime's TensorRT provider is used, which copies the cache at every step.

The builder may use {workspace:,} MB beside the weights. Weights of 8 bits are a smaller file: that TensorRT keeps them
in 8 bits, where activations are float16, it documents of 4 bits alone.
"""


def settle(config: PhantomConfig, schemes: Mapping[str, Scheme], settings: Settings) -> Settings:
    """Refuse what TensorRT's documents do."""
    if settings.precision != "fp16":
        raise EdgeError(
            f"target jetson computes in fp16, not in {settings.precision}",
            "leave --weights out, or give a recipe: int8, int4-g64",
        )
    if settings.cache != "float":
        raise EdgeError("target jetson keeps its cache in float16", "leave --cache out")
    if settings.compute != "auto" or settings.ios != SYSTEMS[-1]:
        raise EdgeError("--compute and --ios are for target coreml", "leave them out, or give --target coreml")
    if settings.prefill_chunk == 1:
        raise EdgeError(
            "--prefill-chunk is 1, and target jetson has a profile of its own for one token", "give 16 or more"
        )
    constant_tables(config.text, settings.max_context)  # or EdgeError, now and not later
    wrong = next((name for name, scheme in schemes.items() if scheme.name not in SCHEMES), "")
    if wrong:
        raise EdgeError(
            f"{wrong} is {schemes[wrong].name}, and of integers TensorRT documents {', '.join(SCHEMES)}",
            f"give {_remedy(config, [name for name, scheme in schemes.items() if scheme.bits != 8])}",
        )
    return replace(settings, opset_only=True)


def _remedy(config: PhantomConfig, names: Sequence[str]) -> str:
    """Recipes that fit the widths of these weights."""
    shapes = matrices(config)
    widths = {shapes[name][1] for name in names}
    fitting = [f"--weights int4-g{size}" for size in (64, 128) if not any(width % size for width in widths)]
    return " or ".join([*fitting, "--weights int8"])


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Begin) -> Lowered:
    """Write both graphs, the golden vectors and the runner."""
    text, dtype = source.config.text, settings.dtype
    forms = [one.form for one in chosen]
    tables = constant_tables(text, settings.max_context)
    drawings: dict[str, TrtVisionDrawing | TrtDecoderDrawing] = {
        "vision": TrtVisionDrawing(source.config, source.read, dtype, source.integers, opset_only=True),
        "decoder": TrtDecoderDrawing(text, forms, tables, source.read, dtype, source.integers, opset_only=True),
    }
    for drawing in drawings.values():
        drawing.limit()
    described = written(drawings, settings, parts, begin)
    cache = cache_of(text, forms, NUMBERS[dtype], settings.max_context, together=True)
    embedding = embedding_of(source, settings, parts, begin)
    step = begin("golden vectors", text.num_hidden_layers)
    parts.part("golden", partial(write_golden, source, settings, lambda: step(1)))
    board = board_of({} if source.integers is None else source.integers.schemes, settings)
    parts.part("runner", partial(_write_runner, board), anew=True)
    return Lowered(described, embedding, cache, ("onnx", "onnx-ir", "torch"), board=board)


def board_of(schemes: Mapping[str, Scheme], settings: Settings) -> Board:
    """As the manifest describes it."""
    least = LEAST_VERSIONS[opset_for(schemes)]
    workspace = MODULES[settings.board].workspace_megabytes
    return Board(settings.board, least, jetpack_for(least), workspace, RUNNER, GOLDEN)


def _write_runner(board: Board, folder: Path) -> None:
    (folder / RUNNER).write_bytes(Path(trt.__file__).read_bytes())
    text = TEXT.format(
        board=board.name,
        tensorrt=board.tensorrt,
        jetpack=board.jetpack,
        golden=board.golden,
        vision=trt.VISION_BOUND,
        logits=trt.LOGITS_BOUND,
        workspace=board.workspace_megabytes,
    )
    (folder / README).write_text(text, encoding="utf-8")


TARGET = Target(lower, settle, multiple=STEP, least=LEAST[torch.float16])
