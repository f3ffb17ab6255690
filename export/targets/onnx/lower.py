"""Target onnx: vision and decoder as ONNX graphs, for ONNX Runtime and other readers of ONNX."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir import Value

from phantom_edge.bundle.cache import FirstRow
from phantom_edge.bundle.embedding import Embedding, Rounded
from phantom_edge.bundle.manifest import DRAFT
from phantom_edge.bundle.numbers import Number
from phantom_edge.bundle.part import Part, Port
from phantom_edge.checkpoint.quantized.files import INTEGERS, SCALES, ZEROS
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.parts.embedding import NUMBERS, write_embedding
from phantom_edge.export.parts.packing import carried, is_plain
from phantom_edge.export.parts.precision import DTYPES
from phantom_edge.export.passes.phantom_rank import Chosen
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.onnx.decoder import DecoderDrawing
from phantom_edge.export.targets.onnx.draft import DraftDrawing
from phantom_edge.export.targets.onnx.first_token import FILE, write_first_token
from phantom_edge.export.targets.onnx.graph import Drawing
from phantom_edge.export.targets.onnx.options import OnnxOptions
from phantom_edge.export.targets.onnx.readme import readme
from phantom_edge.export.targets.onnx.vision import VisionDrawing
from phantom_edge.export.targets.target import Lowered, Making, Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.tensor_names import EMBEDDING


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Progress) -> Lowered:
    """Write the graphs; a tied embedding is read from the decoder's own head."""
    text, dtype, options = source.config.text, DTYPES[settings.precision], settings.own(OnnxOptions)
    forms = [one.form for one in chosen]
    drawings: dict[str, Drawing] = {
        "vision": VisionDrawing(source.config, source.read, dtype, source.integers, opset_only=options.opset_only),
        "decoder": DecoderDrawing(
            text,
            forms,
            constant_tables(text, settings.max_context),
            source.read,
            dtype,
            source.integers,
            rounds_cache=options.cache == "int8",
            opset_only=options.opset_only,
            gives_hidden=source.draft is not None,
            has_bytes=not options.opset_only and any(scheme.exact8 for scheme in _schemes(source)),
        ),
    }
    if source.draft is not None:
        is_rounded = source.integers is not None and not options.opset_only
        drawings[DRAFT] = DraftDrawing(text, source.draft, source.read, dtype, is_rounded=is_rounded)
    described = written(drawings, settings, parts, begin)
    rounded = options.cache == "int8"
    embedding = embedding_of(source, dtype, parts, begin, opset_only=options.opset_only)
    token, has_integers = source.first_token(), source.integers is not None
    parts.part("first_token", partial(write_first_token, parts.folder, embedding, token, has_integers, begin))
    cache = cache_of(
        text,
        forms,
        NUMBERS[dtype],
        settings.max_context,
        "growing arrays",
        "position_ids",
        rounded=rounded,
        first_row=FirstRow(FILE),
    )
    return Lowered(described, embedding, cache, ("onnx", "onnx-ir", "torch"))


def _schemes(source: Source) -> Iterable[Scheme]:
    return () if source.integers is None else source.integers.schemes.values()


def settle(_config: PhantomConfig, schemes: Mapping[str, Scheme], settings: Settings) -> Settings:
    """Returns the settings. Raises EdgeError for weights with palettes, which no operator of ONNX reads."""
    for scheme in schemes.values():
        if scheme.palette_rows is not None:
            problem = f"weights of scheme {scheme.name} are for Core ML, and no operator of ONNX reads them"
            raise EdgeError(problem, "quantize to another: phantom-edge quantize --recipe int4")
    return settings


def written(drawings: Mapping[str, Drawing], settings: Settings, parts: Unfinished, begin: Progress) -> dict[str, Part]:
    """Write graphs and weights, a part each, unless they exist; returns the parts."""
    described: dict[str, Part] = {}
    for name, drawing in drawings.items():
        parts.part(name, partial(_save, drawing, name, begin))
        described[name] = Part(
            file=f"{name}.onnx",
            weights=(f"{name}.data",),
            precision=settings.precision,
            operators=drawing.operators(),
            weight_bytes=drawing.weight_bytes(),
            inputs=tuple(map(port_of, drawing.inputs)),
            outputs=tuple(map(port_of, drawing.outputs)),
        )
    return described


def port_of(value: Value) -> Port:
    """Returns the manifest's description of a value."""
    names: dict[ir.DataType, Number] = {
        ir.DataType.FLOAT: "float32",
        ir.DataType.FLOAT16: "float16",
        ir.DataType.INT64: "int64",
        ir.DataType.INT8: "int8",
        ir.DataType.INT16: "int16",
    }
    shape = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    return Port(value.name, shape, names[value.dtype])


def _save(drawing: Drawing, name: str, begin: Progress, folder: Path) -> None:
    drawing.save(folder / f"{name}.onnx", f"{name}.data", begin(name, drawing.bytes))


def embedding_of(
    source: Source,
    dtype: torch.dtype,
    parts: Unfinished,
    begin: Progress,
    *,
    opset_only: bool,
    decoder: str = "decoder",
    whole_rows: bool = False,
) -> Embedding:
    """Locates the embedding: in the file of the part ``decoder`` where the head is the same, else in one of its own.

    Standard operators keep the head's integers by columns, from which rows cannot be read. With ``whole_rows`` the head
    keeps one scale for a row that has no groups, else one for each block.
    """
    text, integers = source.config.text, source.integers
    scheme = None if integers is None else integers.schemes.get(EMBEDDING)
    if not text.tie_word_embeddings or (opset_only and scheme is not None):
        return write_embedding(source, dtype, parts, begin)
    graph = onnx.load(parts.folder / f"{decoder}.onnx", load_external_data=False).graph
    place = _Places({tensor.name: tensor for tensor in graph.initializer if tensor.name.startswith(EMBEDDING)})
    file, shape = place.file, (text.vocab_size, text.hidden_size, NUMBERS[dtype])
    if scheme is None:
        return Embedding(file, place.offset(EMBEDDING), *shape)
    bits, block = carried(scheme)
    block = text.hidden_size if whole_rows and scheme.group is None else block
    offset, scales, zero_points = (place.offset(f"{EMBEDDING}.{part}") for part in (INTEGERS, SCALES, ZEROS))
    packing = (bits, block, scales, None if is_plain(scheme) else zero_points, NUMBERS[dtype], 2 ** (bits - 1))
    return Embedding(file, offset, *shape, Rounded(*packing))


@dataclass(frozen=True)
class _Places:
    """Places of initializers in a graph's file of weights."""

    tensors: dict[str, onnx.TensorProto]

    @property
    def file(self) -> str:
        return next(self._place(tensor)["location"] for tensor in self.tensors.values())

    def offset(self, name: str) -> int:
        """Returns an initializer's offset; 0 where it does not exist."""
        return int(self._place(self.tensors[name]).get("offset", 0)) if name in self.tensors else 0

    def _place(self, tensor: onnx.TensorProto) -> dict[str, str]:
        return {entry.key: entry.value for entry in tensor.external_data}


MAKING = Making(settle, lower, readme)
