"""Checkpoints, quantized checkpoints and scenes that benchmarks measure with, made unless they are there."""

import json
import sys
from pathlib import Path

import torch

from phantom_edge.convert.random import write_random
from phantom_edge.data.scenes.write import write_scenes
from phantom_edge.models.shipped import NAME, NANO
from phantom_edge.models.sizes import SIZES, Size
from phantom_edge.quantize.calibration import Calibration
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe, read_recipe

ETA = 1e-4
"""As in the released checkpoints."""


def checkpoint(size: str | Size, folder: Path, dtype: torch.dtype = torch.float16, eta: float = ETA) -> Path:
    """Random weights of a shape; of ``nano`` the model inside."""
    if size == NAME:
        return NANO
    if not folder.is_dir():
        write_random(size if isinstance(size, Size) else SIZES[size], folder, seed=0, dtype=dtype, eta=eta)
    return folder


def quantized(model: Path, recipe: str | Recipe, folder: Path, calibration: Calibration | None = None) -> Path:
    """A checkpoint by a recipe, or by the name of one that is shipped."""
    if not folder.is_dir():
        read, name = (read_recipe(recipe), recipe) if isinstance(recipe, str) else (recipe, folder.stem)
        quantize_checkpoint(model, read, folder, name=name, calibration=calibration)
    return folder


def scenes(folder: Path, pictures: int, split: str, first_seed: int = 0, size: int = 224) -> Path:
    """Pictures of drawn scenes; returns the file of their triples."""
    if not folder.is_dir():
        write_scenes(folder, pictures, split=split, first_seed=first_seed, size=size)
    drawn = json.loads((folder / "scenes.json").read_text(encoding="utf-8"))["pictures"]
    if drawn != pictures:
        sys.exit(f"error: {folder} holds {drawn} pictures, not {pictures}\n  give another --scratch")
    return folder / "triples.jsonl"
