"""Target coreai, an experiment: assets for Core AI, which follows Core ML in iOS 27 and macOS 27.

Their graphs are those of packages for the Neural Engine: features as channels, the cache an input, float16 numbers. No
device has run them; they are proved in the interpreter of Apple's own package for Linux.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from phantom_edge.bundle.part import Part
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.parts.embedding import write_embedding
from phantom_edge.export.parts.rotary import ROTARY, write_rotary
from phantom_edge.export.passes.phantom_rank import Chosen
from phantom_edge.export.targets.coreai.drawing import FILES, AssetDrawing
from phantom_edge.export.targets.coreai.readme import readme
from phantom_edge.export.targets.coreai.scales import scaled
from phantom_edge.export.targets.coreml.decoder import DecoderFunctions
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.layouts import Channels
from phantom_edge.export.targets.coreml.lower import FUNCTIONS, MAIN, MASKED, draw_part
from phantom_edge.export.targets.coreml.vision import VisionFunction
from phantom_edge.export.targets.coreml.weights import Weights
from phantom_edge.export.targets.target import Lowered, Making, Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.config import PhantomConfig

IOS = 27
TOOLS = ("coreai-core", "coreai-torch", "torch")
ASSETS = {"vision": {"vision": MAIN}, "decoder": FUNCTIONS}
"""Parts of each asset, and their functions."""


def settle(_config: PhantomConfig, schemes: Mapping[str, Scheme], settings: Settings) -> Settings:
    """Refuse settings outside the experiment."""
    if schemes:
        raise EdgeError(
            "target coreai is an experiment with float16 weights, and this checkpoint is quantized",
            "give the checkpoint that it was made from, or --target coreml",
        )
    if settings.precision != "fp16":
        raise EdgeError(f"target coreai computes in fp16, not in {settings.precision}", "leave --weights out")
    return settings


def lower(source: Source, chosen: Sequence[Chosen], settings: Settings, parts: Unfinished, begin: Progress) -> Lowered:
    """Write the assets, and the tables of embeddings and rotations."""
    text = source.config.text
    forms = [one.form for one in chosen]
    weights = Weights(source.read, None, IOS)
    decoder = DecoderFunctions(text, forms, weights, settings.max_context, Channels)

    vision = VisionFunction(source.config, Weights(scaled(source.read), None, IOS), Channels)
    described: dict[str, Part] = {}
    for name, functions in ASSETS.items():
        step = begin(f"drawing {name}", len(functions) + 1)
        asset, sizes = AssetDrawing(), {}
        for part, function in functions.items():
            draw_part(vision, decoder, settings.prefill_chunk, asset, part, function)
            sizes[part] = sum(asset.weight_bytes().values())
            step(1)
        asset.convert()
        described |= _described(asset, name, functions, sizes)
        parts.part(name, partial(_save, asset, f"{name}.aimodel"))
        step(1)
    embedding = write_embedding(source, torch.float16, parts, begin)
    parts.part("rotary", partial(write_rotary, text, settings.max_context))
    cache = cache_of(text, forms, "float16", settings.max_context, "fixed arrays", "rotary rows")
    return Lowered(described, embedding, cache, TOOLS, AppleFacts(ROTARY, MASKED, text.sliding_window, "ane", IOS))


def _described(asset: AssetDrawing, name: str, functions: dict[str, str], sizes: dict[str, int]) -> dict[str, Part]:
    """Describes the parts of an asset; ``sizes`` of weights add up from part to part."""
    found: dict[str, Part] = {}
    counted = 0
    for part, function in functions.items():
        drawn, own = asset.functions[function], sizes[part] - counted
        counted = sizes[part]
        found[part] = Part(
            file=f"{name}.aimodel",
            weights=tuple(f"{name}.aimodel/{file}" for file in FILES),
            precision="fp16",
            operators=drawn.operators,
            weight_bytes={"float16": own} if own else {},
            inputs=drawn.inputs,
            outputs=drawn.outputs,
            function="" if function == MAIN else function,
        )
    return found


def _save(asset: AssetDrawing, name: str, folder: Path) -> None:
    asset.save(folder / name)


MAKING = Making(settle, lower, readme)
