"""Target litert: vision, embeddings and decoder as .tflite files, drawn operator by operator."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from phantom_edge.bundle.part import Part
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.passes.phantom_rank import Chosen
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.litert.chips import CHIPS, Chip
from phantom_edge.export.targets.litert.compiling import script
from phantom_edge.export.targets.litert.container import CONTAINER, metadata, template_of, write_container
from phantom_edge.export.targets.litert.decoder import Decoder
from phantom_edge.export.targets.litert.embedding import EmbeddingGraph
from phantom_edge.export.targets.litert.facts import METADATA, SCRIPT, LiteRtFacts
from phantom_edge.export.targets.litert.graph import Graph
from phantom_edge.export.targets.litert.importing import containers
from phantom_edge.export.targets.litert.model_file import ModelFile
from phantom_edge.export.targets.litert.names import (
    CHUNK,
    DECODE,
    FIRST,
    LOOK_UP,
    Compute,
    auxiliary_name,
    chunk_name,
    first_name,
    firsts_of,
)
from phantom_edge.export.targets.litert.options import LiteRtOptions
from phantom_edge.export.targets.litert.read_only import ReadOnlyGraph, draw_auxiliary
from phantom_edge.export.targets.litert.readme import readme
from phantom_edge.export.targets.litert.vision import VisionGraph
from phantom_edge.export.targets.litert.weights import BLOCK, Weights
from phantom_edge.export.targets.target import Lowered, Making, Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.config import PhantomConfig

MASKED: dict[Compute, float] = {"cpu": -1e9, "gpu": -1e4, "npu": -1e4}
"""Number added to masked scores; graphs for GPUs and NPUs may be computed in float16, which ends at 65,504."""

WHOLE_ROWS = {
    "gpu": "LiteRT's delegate for GPUs does not survive blocks of 4 bits",
    "npu": "compilers for NPUs take no blocks of 4 bits",
}
"""Reasons why only whole rows are drawn."""

TOOLS = ("ai-edge-litert", "flatbuffers", "litert-lm-builder", "torch")
TOKENIZER, TEMPLATE = "tokenizer.json", "chat_template.jinja"
"""Names of files that the description of prompts asks for; the container has neither."""

Drawn = tuple[ModelFile, dict[str, Graph]]
"""A file, and its graphs by the names of parts; the first one lists the weights."""


def settle(config: PhantomConfig, schemes: Mapping[str, Scheme], settings: Settings) -> Settings:
    """Refuse settings that these graphs do not support."""
    if settings.precision != "fp32":
        raise EdgeError(
            f"target litert takes floats in fp32, not in {settings.precision}",
            "leave --weights out, or give a recipe: int8, int4",
        )
    constant_tables(config.text, settings.max_context)  # raises EdgeError early
    for name, scheme in schemes.items():
        why, choice = _why_not(scheme), "int8 or int4, whose schemes run here"
        compute = settings.own(LiteRtOptions).compute
        if not why and scheme.group is not None and compute in WHOLE_ROWS:
            why, choice = WHOLE_ROWS[compute], "int8 or int4-row"
        if why:
            raise EdgeError(f"{name} is {scheme.name}: {why}", f"give --weights {choice}")
    return settings


def _why_not(scheme: Scheme) -> str:
    """Returns the reason why LiteRT's kernels do not take a scheme, or ""."""
    if scheme.palette_rows is not None:
        return "LiteRT has no palettes"
    if scheme.static_inputs:
        return "LiteRT rounds the inputs of layers at run time, not with a fixed scale"
    if not scheme.symmetric:
        return "LiteRT's kernels of 4 bits take no zero points"
    if scheme.bits == 8:
        return "" if scheme.group is None else "blocks of 8 bits are zeros or refused in LiteRT's kernels"
    if scheme.bits != 4:
        return "LiteRT's kernels have no integers of 3 bits"
    if not scheme.positive:
        return "its scales may be negative or rounded, and XNNPACK takes positive bfloat16 numbers alone"
    if scheme.group in (None, BLOCK):
        return ""
    return f"only whole rows and blocks of {BLOCK} were compared with what they should compute"


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Progress) -> Lowered:
    """Write the three files."""
    config, forms, own = source.config, [one.form for one in chosen], settings.own(LiteRtOptions)
    if own.container:  # raises EdgeError before anything is written
        containers()
        template_of(source.prompt(TOKENIZER, TEMPLATE), str(source.folder))
    weights = Weights(source.read, source.integers)
    decoder = Decoder(config.text, forms, weights, settings.max_context, settings.prefill_chunk, MASKED[own.compute])
    files: dict[str, Callable[[], Drawn]] = {"vision": partial(_vision, source, weights)}
    firsts = firsts_of(settings.max_context) if own.compute == "cpu" else ()
    files |= read_only(decoder) if own.compute == "npu" else in_place(decoder, firsts)
    described: dict[str, Part] = {}
    for name, draw in files.items():
        file, graphs = draw()
        parts.part(name, partial(_save, file, name, begin))
        for part, graph in graphs.items():
            described[part] = _described(file, graph, name, has_weights=graph is next(iter(graphs.values())))
    cache = cache_of(config.text, forms, "float32", settings.max_context, "arrays in place", "input_pos")
    has_container = own.container and own.compute != "npu"
    if has_container:
        parts.part("container", partial(_write_container, source, settings, parts.folder, list(files)))
    if own.chip:
        parts.part("compile", partial(_write_step, source, settings, CHIPS[own.chip], list(files)))
    facts = LiteRtFacts(
        decoder.rows, decoder.masked, own.compute, own.chip or "", firsts, CONTAINER if has_container else ""
    )
    return Lowered(described, None, cache, TOOLS, facts)


def _write_container(source: Source, settings: Settings, graphs: Path, files: Sequence[str], folder: Path) -> None:
    tokenizer = source.processor.tokenizer.backend_tokenizer.to_str().encode()
    write_container(graphs, files, tokenizer, _metadata(source, settings), folder / CONTAINER)


def _metadata(source: Source, settings: Settings) -> bytes:
    prompt = source.prompt(TOKENIZER, TEMPLATE)
    return metadata(prompt, source.pictures(settings.max_tiles), settings.max_context, str(source.folder))


def _write_step(source: Source, settings: Settings, chip: Chip, files: Sequence[str], folder: Path) -> None:
    """Writes the program for the user's machine, and what it puts into a container."""
    (folder / SCRIPT).write_text(script(chip, files), encoding="utf-8")
    (folder / METADATA).write_bytes(_metadata(source, settings))


def _vision(source: Source, weights: Weights) -> Drawn:
    file = ModelFile()
    return file, {"vision": VisionGraph(source.config, source.processor.image_processor.tiling, weights, file)}


def in_place(decoder: Decoder, firsts: Sequence[int] = ()) -> dict[str, Callable[[], Drawn]]:
    """Graphs that write the caches themselves, and those that attend to the ``firsts`` rows of these alone."""

    def embedding() -> Drawn:
        file = ModelFile()
        return file, {"embedding": EmbeddingGraph(decoder.config, decoder.weights, file, LOOK_UP)}

    def both() -> Drawn:
        file, tokens = ModelFile(), decoder.chunk
        found: dict[str, Graph] = {"decoder": decoder.draw(file, DECODE, 1, has_head=True)}
        found[CHUNK] = decoder.draw(file, chunk_name(tokens), tokens, has_head=False)
        for rows in firsts:
            for part, count in (("decoder", 1), (CHUNK, tokens)):
                name, has_head = first_name(rows, count), part == "decoder"
                found[f"{part}_{FIRST}{rows}"] = decoder.draw(file, name, count, has_head=has_head, first=rows)
        return file, found

    return {"embedding": embedding, "decoder": both}


def read_only(decoder: Decoder) -> dict[str, Callable[[], Drawn]]:
    """Graphs that read the caches alone, with the auxiliary ones."""
    sizes = {"": 1, f"{CHUNK}_": decoder.chunk}

    def embedding() -> Drawn:
        file = ModelFile()
        return file, {
            f"{start}embedding": EmbeddingGraph(
                decoder.config, decoder.weights, file, auxiliary_name("embedder", tokens), tokens
            )
            for start, tokens in sizes.items()
        }

    def both() -> Drawn:
        file, tokens = ModelFile(), decoder.chunk
        one = decoder.draw(file, DECODE, 1, has_head=True, kind=ReadOnlyGraph)
        many = decoder.draw(file, chunk_name(tokens), tokens, has_head=False, kind=ReadOnlyGraph)
        return file, {"decoder": one, CHUNK: many}

    def auxiliary() -> Drawn:
        file = ModelFile()
        return file, {
            f"{start}{name}": graph
            for start, tokens in sizes.items()
            for name, graph in draw_auxiliary(decoder, file, tokens).items()
        }

    return {"embedding": embedding, "decoder": both, "auxiliary": auxiliary}


def _save(file: ModelFile, name: str, begin: Progress, folder: Path) -> None:
    file.save(folder / f"{name}.tflite", begin(name, sum(file.weight_bytes().values())))


def _described(file: ModelFile, graph: Graph, name: str, *, has_weights: bool) -> Part:
    return Part(
        file=f"{name}.tflite",
        weights=(),
        precision="fp32",
        operators=dict(graph.kinds.most_common()),
        weight_bytes=file.weight_bytes() if has_weights else {},
        inputs=graph.ports(graph.inputs),
        outputs=graph.ports(graph.outputs),
        function=graph.name,
    )


MAKING = Making(settle, lower, readme)
