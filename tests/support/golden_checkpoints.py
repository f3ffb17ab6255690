"""The golden checkpoints: tiny official ones with what the reference implementation computed on them."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.models.config import PhantomConfig

GOLDEN = Path(__file__).parents[1] / "golden"
ARCHITECTURES = ("0_5b", "1_8b", "3_8b", "7b")


@dataclass(frozen=True)
class Golden:
    """A tiny official checkpoint and what the reference implementation computed on it."""

    folder: Path
    model: PhantomForConditionalGeneration
    io: dict[str, Tensor]
    eta: float


def official_folder(name: str, target: Path) -> Path:
    """Golden checkpoint ``name`` laid out as an official folder in ``target`` (weights may be shared or dropped)."""
    meta = json.loads((GOLDEN / name / "meta.json").read_text())
    weights = load_file(GOLDEN / name / meta["weights"])
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").write_text((GOLDEN / name / "config.json").read_text())
    kept = {key: value for key, value in weights.items() if key not in meta.get("drop_keys", [])}
    save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
    return target


@cache
def open_golden(name: str, scratch: Path) -> Golden:
    folder = official_folder(name, scratch / name)
    config = PhantomConfig.from_pretrained(folder)
    eta = float(json.loads((GOLDEN / name / "meta.json").read_text())["eta"])
    config.text.eta = eta
    model = PhantomForConditionalGeneration.from_pretrained(folder, config=config).eval()
    return Golden(folder, model, load_file(GOLDEN / name / "io.safetensors"), eta)
