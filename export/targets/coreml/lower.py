"""Target coreml: ML programs for Apple's GPUs and Neural Engine, in packages that Xcode compiles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from phantom_edge.bundle.cache import Layout as CacheLayout
from phantom_edge.bundle.cache import Positions
from phantom_edge.bundle.part import Part
from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.parts.embedding import write_embedding
from phantom_edge.export.parts.rotary import ROTARY, write_rotary
from phantom_edge.export.passes.phantom_rank import Chosen
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.coreml.decoder import DECODE, ONLY_HEAD, PREFILL, DecoderFunctions
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.graph import MODEL, WEIGHTS, Drawing
from phantom_edge.export.targets.coreml.layouts import Channels, Layout, Rows
from phantom_edge.export.targets.coreml.options import Compute, CoreMlOptions
from phantom_edge.export.targets.coreml.readme import readme
from phantom_edge.export.targets.coreml.vision import VisionFunction
from phantom_edge.export.targets.coreml.weights import Weights
from phantom_edge.export.targets.target import Lowered, Making, Settings
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.tensor_names import EMBEDDING, HEAD, part_of

MASKED = -4e4
"""Added to masked scores: low enough, and no sum with it exceeds float16's range."""

LAYOUTS: dict[str, type[Layout]] = {"gpu": Rows, "ane": Channels}
MAIN = "main"
PLACES: dict[str, tuple[CacheLayout, Positions]] = {
    "gpu": ("graph state", "start and rotary rows"),
    "ane": ("fixed arrays", "rotary rows"),
}
"""Place of the cache, and inputs with positions, by compute unit."""

FUNCTIONS = {"decoder": DECODE, "prefill": PREFILL, "head": ONLY_HEAD}
"""Functions by part."""


def settle(config: PhantomConfig, schemes: Mapping[str, Scheme], settings: Settings) -> Settings:
    """Choose the compute unit, and refuse settings that Core ML does not support."""
    if settings.precision != "fp16":
        raise EdgeError(
            f"target coreml computes in fp16, not in {settings.precision}",
            "leave --weights out, or give a recipe: int8, int4, lut4",
        )
    if settings.prefill_chunk == 1:
        raise UsageError(
            "--prefill-chunk is 1, and target coreml has a function of its own for one token", "give 16 or more"
        )
    constant_tables(config.text, settings.max_context)  # raises EdgeError early
    _check_palettes(config, schemes)
    drawn = {name: one for name, one in schemes.items() if config.tie_word_embeddings or part_of(name) != "embedding"}
    in_blocks = next((name for name, scheme in drawn.items() if scheme.group), "")
    options = settings.own(CoreMlOptions)
    compute: Compute = options.compute
    if compute == "auto":
        compute = "gpu" if in_blocks else "ane"
    if compute == "ane" and in_blocks:
        raise EdgeError(
            f"{in_blocks} has a scale for each block of a row, which the Neural Engine does not read",
            "give --weights int8 or lut4, or --compute gpu",
        )
    if options.ios == 17:
        _check_17(drawn, compute)
    return replace(settings, options=replace(options, compute=compute))


def _check_palettes(config: PhantomConfig, schemes: Mapping[str, Scheme]) -> None:
    """Raises EdgeError for palettes in the embedding table, and for palettes that do not divide a layer's rows."""
    palettes = {name: scheme.palette_rows for name, scheme in schemes.items() if scheme.palette_rows}
    if EMBEDDING in palettes:
        raise EdgeError(
            f"{EMBEDDING} has palettes, and the table of embeddings is read row by row",
            'give the recipe embedding = "int8"',
        )
    shapes = matrices(config) if palettes else {}
    odd = next((name for name, rows in palettes.items() if name != HEAD and shapes[name][0] % rows), "")
    if odd:
        raise EdgeError(
            f"{odd} has {shapes[odd][0]} rows, which palettes of {palettes[odd]} rows do not divide",
            "give it another scheme by a rule of the recipe, such as int8",
        )


def _check_17(schemes: Mapping[str, Scheme], compute: Compute) -> None:
    remedy = "give --ios 18"
    if compute == "gpu":
        raise EdgeError("GPU functions keep the cache as state, which iOS 17 does not have", remedy)
    found = next((name for name, scheme in schemes.items() if scheme.bits != 8 or scheme.group), "")
    if found:
        raise EdgeError(f"iOS 17 does not read {schemes[found].name}, which {found} is", f"{remedy}, or --weights int8")


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Progress) -> Lowered:
    """Write the packages, and the tables of embeddings and rotations."""
    text = source.config.text
    forms, options = [one.form for one in chosen], settings.own(CoreMlOptions)
    layout = LAYOUTS[options.compute]
    weights = Weights(source.read, source.integers, options.ios)
    decoder = DecoderFunctions(text, forms, weights, settings.max_context, layout)

    vision = VisionFunction(source.config, weights, layout)
    draw = partial(draw_part, vision, decoder, settings.prefill_chunk)
    described: dict[str, Part] = {}
    for file, functions in _packages(options.ios).items():
        described |= _package(file, functions, options.ios, draw, parts, begin)
    embedding = write_embedding(source, torch.float16, parts, begin)
    parts.part("rotary", partial(write_rotary, text, settings.max_context))
    assert options.compute != "auto"
    cache = cache_of(text, forms, "float16", settings.max_context, *PLACES[options.compute])
    facts = AppleFacts(ROTARY, MASKED, text.sliding_window, options.compute, options.ios)
    return Lowered(described, embedding, cache, ("coremltools", "torch"), facts)


def draw_part(
    vision: VisionFunction, decoder: DecoderFunctions, chunk: int, package: Drawing, part: str, function: str
) -> None:
    """Draw a part of a bundle as a function; the decoder's functions take ``chunk`` tokens, or one."""
    if part == "vision":
        vision.draw(package, function)
    elif part == "head":
        decoder.draw_head(package, function)
    else:
        is_one = part == "decoder"
        decoder.draw_steps(package, function, 1 if is_one else chunk, has_head=is_one)


def _packages(ios: int) -> dict[str, dict[str, str]]:
    """Returns files, and each file's parts with their functions; iOS 17 allows one function a package."""
    found = {"vision.mlpackage": {"vision": MAIN}}
    if ios >= 18:
        return {**found, "decoder.mlpackage": FUNCTIONS}
    return {**found, **{f"{part}.mlpackage": {part: MAIN} for part in FUNCTIONS}}


def _package(
    file: str,
    functions: dict[str, str],
    ios: int,
    draw: Callable[[Drawing, str, str], None],
    parts: Unfinished,
    begin: Progress,
) -> dict[str, Part]:
    """Draw a package and write it, unless it exists; returns its parts."""
    name = file.partition(".")[0]
    step = begin(f"drawing {name}", len(functions) + 1)
    package = Drawing(ios)
    found: dict[str, Part] = {}
    counted: dict[str, int] = {}
    for part, function in functions.items():
        draw(package, part, function)
        step(1)
        drawn, sizes = package.functions[function], package.weight_bytes()
        found[part] = Part(
            file=file,
            weights=tuple(f"{file}/{inside}" for inside in ("Manifest.json", str(MODEL), str(WEIGHTS))),
            precision="fp16",
            operators=drawn.operators,
            weight_bytes={
                kind: size - counted.get(kind, 0) for kind, size in sizes.items() if size > counted.get(kind, 0)
            },
            inputs=drawn.inputs,
            outputs=drawn.outputs,
            function="" if function == MAIN else function,
            states=drawn.states,
        )
        counted = sizes
    parts.part(name, lambda folder: package.save(folder / file))
    step(1)
    return found


MAKING = Making(settle, lower, readme)
