"""Target web: graphs for ONNX Runtime Web, for each of its engines, from the same integers."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from phantom_edge.bundle.cache import FirstRow
from phantom_edge.bundle.embedding import Embedding
from phantom_edge.bundle.part import Part
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.parts.embedding import NUMBERS
from phantom_edge.export.parts.precision import DTYPES
from phantom_edge.export.passes.phantom_rank import Chosen
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.onnx.decoder import DecoderDrawing
from phantom_edge.export.targets.onnx.first_token import FILE, write_first_token
from phantom_edge.export.targets.onnx.graph import Drawing
from phantom_edge.export.targets.onnx.lower import embedding_of, port_of, written
from phantom_edge.export.targets.onnx.lower import settle as settle_onnx
from phantom_edge.export.targets.onnx.vision import VisionDrawing
from phantom_edge.export.targets.target import Lowered, Making, Settings
from phantom_edge.export.targets.web.drawing import (
    GpuDecoderDrawing,
    WasmDecoderDrawing,
    is_alike,
    reads_weights_of,
)
from phantom_edge.export.targets.web.facts import WASM, WEBGPU, WebFacts, WebForm
from phantom_edge.export.targets.web.options import WebOptions
from phantom_edge.export.targets.web.readme import readme
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.config import PhantomConfig

DECODERS: dict[str, type[DecoderDrawing]] = {WASM: WasmDecoderDrawing, WEBGPU: GpuDecoderDrawing}


class Form(NamedTuple):
    """Names of an engine's parts."""

    vision: str
    decoder: str


def settle(config: PhantomConfig, schemes: Mapping[str, Scheme], settings: Settings) -> Settings:
    """Refuse weights that an engine has no operators for, or none that are quick."""
    engines = settings.own(WebOptions).names
    if WASM in engines and schemes and settings.precision == "fp16":
        raise EdgeError(
            "WASM multiplies bytes beside floats of 32 bits, and --weights is fp16",
            "leave --weights out, or give --engines webgpu",
        )
    static = next((name for name, scheme in schemes.items() if scheme.static_inputs), "")
    if WEBGPU in engines and static:
        raise EdgeError(
            f"{static} is {schemes[static].name}, whose inputs are rounded by fixed scales, and WebGPU has no operator "
            "for that",
            "give --engines wasm, or quantize to another: phantom-edge quantize --recipe int8",
        )
    return settle_onnx(config, schemes, settings)


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Progress) -> Lowered:
    """Write the graphs of every engine; engines share those that are the same, and weights where these are."""
    text, dtype, engines = source.config.text, DTYPES[settings.precision], settings.own(WebOptions).names
    forms = [one.form for one in chosen]
    drawings, named = _drawn(source, chosen, settings)
    own = {name: one for name, one in drawings.items() if _lender(name, drawings) is None}
    described = written(own, settings, parts, begin)
    for name in drawings.keys() - own.keys():
        lender = _lender(name, drawings)
        assert lender is not None
        parts.part(name, partial(_save_beside, drawings[name], name, parts.folder / f"{lender}.onnx"))
        described[name] = _borrowing(drawings[name], name, described[lender])
    tables = {
        engine: embedding_of(
            source, dtype, parts, begin, opset_only=False, decoder=named[engine].decoder, whole_rows=engine == WASM
        )
        for engine in engines
    }
    last = engines[-1]  # WebGPU, if it is there: it cannot do without
    about = (tables[last], source.first_token(), source.integers is not None, begin)
    write = partial(write_first_token, parts.folder, *about, decoder=named[last].decoder, is_exact=True)
    parts.part("first_token", write)
    cache = cache_of(
        text,
        forms,
        NUMBERS[dtype],
        settings.max_context,
        "growing arrays",
        "position_ids",
        first_row=FirstRow(FILE),
    )
    facts = WebFacts({engine: _form(named[engine], described, tables[engine]) for engine in engines})
    ordered = {name: described[name] for name in drawings}
    return Lowered(ordered, tables[engines[0]], cache, ("onnx", "onnx-ir", "torch"), facts)


def _drawn(source: Source, chosen: Sequence[Chosen], settings: Settings) -> tuple[dict[str, Drawing], dict[str, Form]]:
    """Drawings by the names of their parts, and these names by engine: one name where two are the same graph."""
    text, dtype = source.config.text, DTYPES[settings.precision]
    forms, tables = [one.form for one in chosen], constant_tables(text, settings.max_context)
    drawings: dict[str, Drawing] = {}
    named: dict[str, Form] = {}
    for engine in settings.own(WebOptions).names:
        vision = VisionDrawing(source.config, source.read, dtype, source.integers, opset_only=engine == WEBGPU)
        decoder = DECODERS[engine](text, forms, tables, source.read, dtype, source.integers)
        names = []
        for part, drawing in (("vision", vision), ("decoder", decoder)):
            is_known = part in drawings and is_alike(drawing, drawings[part])
            name = part if is_known or part not in drawings else f"{part}_{engine}"
            drawings.setdefault(name, drawing)
            names.append(name)
        named[engine] = Form(*names)
    return drawings, named


def _lender(name: str, drawings: Mapping[str, Drawing]) -> str | None:
    """The part whose file has all weights of this one, if there is one."""
    plain = name.partition("_")[0]
    return plain if plain != name and reads_weights_of(drawings[name], drawings[plain]) else None


def _save_beside(drawing: Drawing, name: str, lender: Path, folder: Path) -> None:
    drawing.save_beside(folder / f"{name}.onnx", lender)


def _borrowing(drawing: Drawing, name: str, lender: Part) -> Part:
    """The part of a graph that reads the weights of another one."""
    return Part(
        file=f"{name}.onnx",
        weights=lender.weights,
        precision=lender.precision,
        operators=drawing.operators(),
        weight_bytes={},
        inputs=tuple(map(port_of, drawing.inputs)),
        outputs=tuple(map(port_of, drawing.outputs)),
    )


def _form(names: Form, parts: Mapping[str, Part], table: Embedding) -> WebForm:
    used = [file for name in names for file in (parts[name].file, *parts[name].weights)]
    return WebForm(names.vision, names.decoder, table, tuple(dict.fromkeys([*used, table.file, FILE])))


MAKING = Making(settle, lower, readme)
