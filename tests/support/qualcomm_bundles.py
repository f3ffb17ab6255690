"""A small quantized checkpoint with questions about pictures, and bundles of it for Qualcomm's processor."""

from collections.abc import Sequence
from pathlib import Path

from export_settings import settings_for
from random_checkpoints import write_checkpoint, write_questions

from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.target import Settings
from phantom_edge.models.sizes import SIZES, Size
from phantom_edge.quantize.calibration import Calibration
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe

CONTEXT, CHUNK = 96, 16


def write_desk(desk: Path, size: Size = SIZES["tiny"], recipes: Sequence[str] = ("int8", "int4")) -> Path:
    """Write a float checkpoint, questions about two pictures, and the checkpoint quantized by each recipe."""
    write_checkpoint(desk / "float", size)
    write_questions(desk)
    for recipe in recipes:
        quantize_checkpoint(desk / "float", read_recipe(recipe), desk / recipe, name=recipe)
    return desk


def settings_of(desk: Path, soc: str = "sm8650", *, shared: bool = False) -> Settings:
    """Settings of the bundles, calibrated on the questions in ``desk``."""
    return settings_for(
        "qnn",
        max_context=CONTEXT,
        prefill_chunk=CHUNK,
        soc=soc,
        calibration=Calibration(desk / "triples.jsonl", 4),
        share_weights=shared,
    )


def write_bundle(desk: Path, recipe: str, soc: str = "sm8650", *, shared: bool = False) -> Path:
    """Export an unverified bundle of the checkpoint that a recipe quantized."""
    out = desk / f"{recipe}-{soc}{'-shared' if shared else ''}"
    export_bundle(str(desk / recipe), "qnn", out, settings_of(desk, soc, shared=shared), prove=False)
    return out
