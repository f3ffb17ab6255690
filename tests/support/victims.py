"""Things that are read from disk, each made once and used as its user would, whatever was done to its files."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bundles import tiny_bundle
from export_settings import settings_for
from file_victims import (
    data_files,
    data_read,
    pictures,
    profile,
    profile_read,
    run,
    run_continued,
    seen,
    settings,
    settings_read,
    work,
    work_continued,
)
from golden_checkpoints import official_folder
from noise import noise
from qualcomm_bundles import write_bundle, write_desk

from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.source import Source
from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import write_random
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.foundation.typed import to_json
from phantom_edge.generate import Sampling, load, stream
from phantom_edge.models.sizes import SIZES
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.runtime.sampling import Sampling as OfBundles

TWO = {"max_new_tokens": 2}


@dataclass(frozen=True)
class Victim:
    """``make`` writes the files into a folder; ``use`` returns what they say, as text, or raises EdgeError.

    ``sealed``: files whose damage must be noticed, wherever it is.
    """

    make: Callable[[Path], object]
    use: Callable[[Path], str]
    sealed: bool = False


def random_checkpoint(folder: Path) -> None:
    """Make a checkpoint of the tiny size, in our layout."""
    write_random(SIZES["tiny"], folder, seed=5, dtype=torch.float32, eta=1.0)


def asked(folder: Path) -> str:
    """Answer of a checkpoint."""
    model, processor = load(str(folder), torch.float32)
    return "".join(stream(model, processor, "hi", [noise((40, 30), 70)], Sampling(**TWO)))


def quantized(folder: Path) -> None:
    """Make a quantized checkpoint."""
    random_checkpoint(folder.with_name(f"{folder.name} floats"))
    quantize_checkpoint(folder.with_name(f"{folder.name} floats"), read_recipe("int8"), folder, name="int8")


def opened(folder: Path) -> str:
    """What an export reads of a checkpoint first."""
    source = Source.open(folder)
    source.check_ids()
    return json.dumps(sorted(source.words([{"role": "user", "content": "hi"}], [])))


def converted(folder: Path) -> str:
    """An official checkpoint in our layout."""
    out = folder.with_name(f"{folder.name} converted")
    convert(folder, out, force=True)
    return digest(out)


def digest(folder: Path) -> str:
    """SHA-256 of all files."""
    files = sorted(path for path in folder.rglob("*.safetensors"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def onnx_bundle(folder: Path) -> None:
    """Make a bundle."""
    desk = folder.with_name(f"{folder.name} desk")
    desk.mkdir()
    tiny_bundle(desk, context=256).rename(folder)


def asked_in_words(folder: Path) -> str:
    """Answer of a bundle whose cache is too short for a picture."""
    return "".join(open_session(folder).ask("hi", [], OfBundles(**TWO)))


def asked_of_bundle(folder: Path) -> str:
    """Answer of a bundle."""
    return "".join(open_session(folder).ask("hi", [noise((40, 30), 70)], OfBundles(**TWO)))


def small_bundle(folder: Path, target: str, recipe: str = "", **settings: Any) -> None:
    """Make a bundle of the tiny size for any target, unverified."""
    desk = folder.with_name(f"{folder.name} desk")
    model = desk / "float"
    random_checkpoint(model)
    if recipe:
        model = desk / recipe
        quantize_checkpoint(desk / "float", read_recipe(recipe), model, name=recipe)
    asked = {"max_context": 256, "prefill_chunk": 64, **settings}
    export_bundle(str(model), target, folder, settings_for(target, **asked), prove=False)


def qualcomm_bundle(folder: Path) -> None:
    """Make a bundle for Qualcomm's processor, calibrated on two pictures."""
    desk = folder.with_name(f"{folder.name} desk")
    write_bundle(write_desk(desk, recipes=("int8",)), "int8").rename(folder)


def opened_bundle(folder: Path) -> str:
    """What a bundle says of itself, where asking it takes long."""
    return json.dumps(to_json(Bundle.open(folder).manifest))


VICTIMS: dict[str, Victim] = {
    "checkpoint": Victim(random_checkpoint, asked),
    "official": Victim(lambda folder: official_folder("0_5b-1e-4", folder), converted),
    "quantized": Victim(quantized, opened),
    "bundle": Victim(onnx_bundle, asked_of_bundle, sealed=True),
    "data": Victim(data_files, data_read),
    "pictures": Victim(pictures, seen),
    "profile": Victim(profile, profile_read),
    "settings": Victim(settings, settings_read),
    "work": Victim(work, work_continued),
    "run": Victim(run, run_continued),
}

OTHER_BUNDLES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "onnx-int8": ("onnx", "int8", {}),
    "onnx-int4-cache": ("onnx", "int4", {"cache": "int8"}),
    "executorch": ("executorch", "", {}),
    "executorch-int8": ("executorch", "int8", {}),
    "jetson-fp16": ("jetson", "", {"board": "orin-nx"}),
    "jetson-int8": ("jetson", "int8", {"board": "orin-nx"}),
    "coreml-ane": ("coreml", "", {"compute": "ane"}),
    "coreml-gpu": ("coreml", "int4", {"compute": "gpu"}),
    "coreai": ("coreai", "", {}),
    "litert": ("litert", "", {}),
    "litert-int4": ("litert", "int4", {}),
    "web-int8": ("web", "int8", {}),
}
ALL = {
    **VICTIMS,
    **{
        name: Victim(partial(small_bundle, target=target, recipe=recipe, **settings), asked_in_words, sealed=True)
        for name, (target, recipe, settings) in OTHER_BUNDLES.items()
    },
    "qnn": Victim(qualcomm_bundle, opened_bundle, sealed=True),
}
"""With bundles of every target, which take minutes to make."""
