"""Phantom-nano as bundles of every target, exported once a run and unverified; for qnn a tiny checkpoint."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from export_settings import settings_for
from once import made_once
from qualcomm_bundles import write_bundle, write_desk

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe

CONTEXT, CHUNK = 256, 64


def nano_bundle(desk: Path, target: str, recipe: str = "", **settings: Any) -> Bundle:
    """Export nano, quantized by a recipe where one is given."""
    model, asked = NANO, {"max_context": CONTEXT, "prefill_chunk": CHUNK, **settings}
    if recipe:
        model = desk / f"{recipe}-checkpoint"
        if not model.exists():
            quantize_checkpoint(NANO, read_recipe(recipe), model, name=recipe)
    name = "-".join((target, recipe, *map(str, settings.values())))
    return export_bundle(str(model), target, desk / name, settings_for(target, **asked), prove=False).bundle


def tiny_qnn_bundle(desk: Path) -> Bundle:
    """Export a tiny checkpoint for Qualcomm's processor."""
    (desk / "qnn").mkdir()
    return Bundle.open(write_bundle(write_desk(desk / "qnn", recipes=("int8",)), "int8"))


def make(target: str, recipe: str = "", **settings: Any) -> Callable[[Path], Bundle]:
    """A way to make nano's bundle in a folder."""
    return partial(nano_bundle, target=target, recipe=recipe, **settings)


BUNDLES: dict[str, Callable[[Path], Bundle]] = {
    "onnx-fp32": make("onnx"),
    "onnx-fp16": make("onnx", precision="fp16"),
    "onnx-int8": make("onnx", "int8"),
    "onnx-int4": make("onnx", "int4"),
    "onnx-int8-cache": make("onnx", cache="int8"),
    "executorch-fp32": make("executorch"),
    "executorch-int8": make("executorch", "int8"),
    "jetson-fp16": make("jetson", board="orin-nx"),
    "jetson-int8": make("jetson", "int8", board="orin-nx"),
    "coreml-ane": make("coreml", compute="ane"),
    "coreml-gpu": make("coreml", compute="gpu"),
    "coreai": make("coreai"),
    "litert-fp32": make("litert"),
    "litert-int4": make("litert", "int4"),
    "qnn": tiny_qnn_bundle,
}
"""Ways to make bundles by target and weights."""


def shared_bundle(place: Path, name: str) -> Bundle:
    """The bundle of that name, exported by whoever asks first of all processes of a run; to be read only."""
    (manifest,) = made_once(place, f"bundle-{name}", BUNDLES[name]).rglob(MANIFEST)
    return Bundle.open(manifest.parent)
