"""Target qnn: graphs in fixed point, compiled for the tensor processor of a Qualcomm chip."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import onnx
import torch

from phantom_edge.bundle.part import Delegation, Part
from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.parts.embedding import write_embedding
from phantom_edge.export.parts.rotary import ROTARY, write_rotary
from phantom_edge.export.passes.phantom_rank import Chosen
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.onnx.lower import port_of
from phantom_edge.export.targets.qnn.calibration import Calibrated, calibrate, steps
from phantom_edge.export.targets.qnn.chips import soc_named
from phantom_edge.export.targets.qnn.compiling import compile_graphs
from phantom_edge.export.targets.qnn.decoder import DecoderDrawing, HeadDrawing
from phantom_edge.export.targets.qnn.engine import PLUGIN
from phantom_edge.export.targets.qnn.facts import HexagonFacts
from phantom_edge.export.targets.qnn.fixed_point import FixedDrawing
from phantom_edge.export.targets.qnn.options import QnnOptions
from phantom_edge.export.targets.qnn.readme import readme
from phantom_edge.export.targets.qnn.vision import VisionDrawing
from phantom_edge.export.targets.target import Lowered, Making, Settings
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.tensor_names import EMBEDDING, part_of
from phantom_edge.quantize.calibration import MAKE, read_samples

SCHEMES = ("int8", "int4-g32-pos", "int4-g64-pos", "int4-g128-pos")
"""Schemes that were compiled, simulated and compared: without zero points, by rows, or by blocks in 4 bits."""

SOURCE = "source"
"""Folder of source graphs, which runtimes do not need."""

RANGES = f"{SOURCE}/ranges.json"
DECODER = ("decoder", "prefill", "head")
PROCESSOR = "Hexagon"


def settle(config: PhantomConfig, schemes: Mapping[str, Scheme], settings: Settings) -> Settings:
    """Refuse settings that the processor does not support, or that were not tested."""
    remedy = "give --weights int8 or int4"
    if settings.precision != "fp16":
        raise EdgeError(f"target qnn computes in integers, not in {settings.precision}", remedy)
    if settings.prefill_chunk == 1:
        raise UsageError("--prefill-chunk is 1, and target qnn has a graph of its own for one token", "give 16 or more")
    if settings.calibration is None:
        raise EdgeError("target qnn has scales that never change, and no --calib to choose them by", MAKE)
    constant_tables(config.text, settings.max_context)  # raises EdgeError early
    looked_up = set() if config.tie_word_embeddings else {EMBEDDING}  # by the host, in any format
    left = [name for name in matrices(config) if part_of(name) and name not in schemes and name not in looked_up]
    if left:
        raise EdgeError(f"target qnn computes in integers, and {left[0]} is float", remedy)
    wrong = next((name for name, scheme in schemes.items() if scheme.name not in SCHEMES), "")
    if wrong:
        raise EdgeError(f"{wrong} is {schemes[wrong].name}, and target qnn takes {', '.join(SCHEMES)}", remedy)
    return settings


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Progress) -> Lowered:
    """Choose scales, write the graphs, and compile them."""
    text, forms, options = source.config.text, [one.form for one in chosen], settings.own(QnnOptions)
    assert settings.calibration is not None
    samples = read_samples(settings.calibration.triples, source, settings.calibration.samples, with_pictures=True)

    def measured(folder: Path) -> object:
        step = begin("calibrating", steps(source, samples))
        document = calibrate(source, forms, settings.max_context, samples, folder, step).document()
        (folder / SOURCE).mkdir()
        (folder / RANGES).write_text(json.dumps(document, indent=1), encoding="utf-8")
        return document

    about = Calibrated.of(parts.part("scales", measured))
    drawings = _drawings(source, chosen, about, settings)
    parts.part("graphs", partial(_write, drawings, begin))
    soc = soc_named(options.soc)
    groups = [("vision",), DECODER] if options.share_weights else [(name,) for name in drawings]
    versions = set()
    for names in groups:
        step = begin(f"compiling {names[0]} for {options.soc}", 1)
        versions.add(parts.part(names[0], partial(_compile, parts.folder, names, options)))
        step(1)
    described = {
        name: _part(name, drawing, parts.folder, has_weights=not options.share_weights or name in ("vision", "decoder"))
        for name, drawing in drawings.items()
    }
    embedding = write_embedding(source, torch.float16, parts, begin)
    parts.part("rotary", partial(write_rotary, text, settings.max_context))
    cache = cache_of(text, forms, "int16", settings.max_context, "fixed arrays", "rotary rows")
    (version,) = versions
    facts = HexagonFacts(
        ROTARY,
        about.masked,
        text.sliding_window,
        options.soc,
        soc.number,
        soc.arch,
        version,
        options.share_weights,
        RANGES,
    )
    return Lowered(described, embedding, cache, (PLUGIN, "onnxruntime", "onnx", "onnx-ir", "torch"), facts)


def _drawings(
    source: Source, chosen: Sequence[Chosen], about: Calibrated, settings: Settings
) -> dict[str, FixedDrawing]:
    text, forms, ranges = source.config.text, [one.form for one in chosen], about.ranges
    assert source.integers is not None
    draw = partial(
        DecoderDrawing,
        text,
        forms,
        source.read,
        source.integers,
        ranges,
        about.balances,
        context=settings.max_context,
    )
    return {
        "vision": VisionDrawing(source.config, source.read, source.integers, ranges),
        "decoder": draw(tokens=1, has_head=True),
        "prefill": draw(tokens=settings.prefill_chunk, has_head=False),
        "head": HeadDrawing(text, source.read, source.integers, ranges),
    }


def _write(drawings: Mapping[str, FixedDrawing], begin: Progress, folder: Path) -> None:
    """Writes the graphs; those of the decoder read their weights from one file."""
    (folder / SOURCE).mkdir()
    for name, drawing in drawings.items():
        path = folder / SOURCE / f"{name}.onnx"
        if name in ("vision", "decoder"):
            drawing.save(path, f"{name}.data", begin(f"writing {name}", drawing.bytes))
        else:
            drawing.save_beside(path, folder / SOURCE / "decoder.onnx")


def _compile(folder: Path, names: Sequence[str], options: QnnOptions, out: Path) -> str:
    soc = soc_named(options.soc)
    graphs = [(folder / SOURCE / f"{name}.onnx", out / f"{name}.onnx") for name in names]
    return compile_graphs(graphs, soc.number, soc.arch, shared=options.share_weights and len(names) > 1)


def _part(name: str, drawing: FixedDrawing, folder: Path, *, has_weights: bool) -> Part:
    graph = f"{SOURCE}/{name}.onnx"
    operators = drawing.operators()
    computing = sum(count for kind, count in operators.items() if kind not in ("QuantizeLinear", "DequantizeLinear"))
    return Part(
        file=f"{name}.onnx",
        weights=(context_of(folder / f"{name}.onnx"), f"{SOURCE}/{'vision' if name == 'vision' else 'decoder'}.data"),
        precision="int16",
        operators=operators,
        weight_bytes=drawing.weight_bytes() if has_weights else {},
        inputs=tuple(map(port_of, drawing.inputs)),
        outputs=tuple(map(port_of, drawing.outputs)),
        delegation=Delegation(PROCESSOR, 1, computing, {}, multiply_adds(folder / graph), {}),
        source=graph,
    )


def context_of(path: Path) -> str:
    """Returns the name of the file that a compiled graph reads."""
    node = onnx.load(path, load_external_data=False).graph.node[0]
    return str(next(one.s.decode() for one in node.attribute if one.name == "ep_cache_context"))


def multiply_adds(path: Path) -> int:
    """Counts those of all products of a graph of fixed shapes."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False)).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    return sum(
        int(torch.Size(shapes[node.output[0]]).numel()) * shapes[node.input[0]][-1]
        for node in graph.node
        if node.op_type == "MatMul"
    )


MAKING = Making(settle, lower, readme)
