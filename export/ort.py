"""Target onnx: vision and decoder as ONNX graphs of standard operators, for ONNX Runtime and all that reads ONNX."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir import Value

from phantom_edge.checkpoint.loading import EMBEDDING
from phantom_edge.export.bundle.manifest import Cache, Embedding, Float, Number, Part, Port
from phantom_edge.export.forms import Chosen
from phantom_edge.export.onnx_decoder import DecoderDrawing, row_widths
from phantom_edge.export.onnx_graph import Drawing
from phantom_edge.export.onnx_vision import VisionDrawing
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.settings import Begin, Lowered, Settings
from phantom_edge.export.source import Source
from phantom_edge.export.unfinished import Unfinished

NUMBERS: dict[torch.dtype, Float] = {torch.float32: "float32", torch.float16: "float16"}
TABLE = "embedding.data"
BLOCK_ROWS = 4096


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Begin) -> Lowered:
    """Write both graphs; a tied embedding is the decoder's own head, read from where that lies."""
    text, dtype = source.config.text, settings.dtype
    forms = [one.form for one in chosen]
    drawings: dict[str, Drawing] = {
        "vision": VisionDrawing(source.config, source.read, dtype),
        "decoder": DecoderDrawing(text, forms, constant_tables(text, settings.max_context), source.read, dtype),
    }
    described = {}
    for name, drawing in drawings.items():
        parts.part(name, partial(_save, drawing, name, begin))
        described[name] = Part(
            file=f"{name}.onnx",
            weights=(f"{name}.data",),
            precision=settings.precision,
            operators=drawing.operators(),
            weight_bytes=drawing.weight_bytes(),
            inputs=tuple(map(_port, drawing.inputs)),
            outputs=tuple(map(_port, drawing.outputs)),
        )
    widths = [row_widths(text, form) for form in forms]
    cache = Cache(
        layers=text.num_hidden_layers,
        kv_heads=text.num_key_value_heads,
        key_widths=tuple(key for key, _ in widths),
        value_widths=tuple(value for _, value in widths),
        dtype=NUMBERS[dtype],
        max_context=settings.max_context,
    )
    embedding = _embedding(source, dtype, parts, begin)
    return Lowered(described, embedding, cache, ("onnx", "onnx-ir", "torch"))


def _port(value: Value) -> Port:
    names: dict[ir.DataType, Number] = {
        ir.DataType.FLOAT: "float32",
        ir.DataType.FLOAT16: "float16",
        ir.DataType.INT64: "int64",
    }
    shape = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    return Port(value.name, shape, names[value.dtype])


def _save(drawing: Drawing, name: str, begin: Begin, folder: Path) -> None:
    drawing.save(folder / f"{name}.onnx", f"{name}.data", begin(name, drawing.bytes))


def _embedding(source: Source, dtype: torch.dtype, parts: Unfinished, begin: Begin) -> Embedding:
    text = source.config.text
    file, offset = TABLE, 0
    if text.tie_word_embeddings:
        graph = onnx.load(parts.folder / "decoder.onnx", load_external_data=False).graph
        held = next(tensor for tensor in graph.initializer if tensor.name == EMBEDDING)
        place = {entry.key: entry.value for entry in held.external_data}
        file, offset = place["location"], int(place.get("offset", 0))
    else:

        def write(folder: Path) -> None:
            progress = begin("embedding", text.vocab_size * text.hidden_size * dtype.itemsize)
            with (folder / TABLE).open("wb") as out:
                for rows in torch.split(source.read(EMBEDDING), BLOCK_ROWS):
                    out.write(rows.to(dtype).contiguous().numpy().tobytes())
                    progress(rows.numel() * dtype.itemsize)

        parts.part("embedding", write)
    return Embedding(file, offset, text.vocab_size, text.hidden_size, NUMBERS[dtype])
