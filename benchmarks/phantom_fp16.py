"""What is left of the phantom dimension in float16, at several strengths of eta.

    python benchmarks/phantom_fp16.py --scratch runs/fp16 --out benchmarks/results/phantom-fp16.json

phantom-nano with another eta each time, on questions about validation scenes, three ways: the model in float64; stored
as the paper writes it, values beside ``v + X(v)`` and keys beside ``eta gelu(..)`` in float16; and as our packages have
it, run by the interpreter in float16. *Effect* is what eta changes of the logits beside eta 0.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.checkpoint.source import Source
from phantom_edge.data.scenes.write import write_scenes
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.coreml.engine import CoreMlEngine
from phantom_edge.export.targets.target import Settings
from phantom_edge.generate import load
from phantom_edge.models.attention import HeadMap
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.calibration import KINDS, Sample, read_samples

ETAS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
PICTURES, QUESTIONS = 12, 24
VANISHES, NORMAL = 2.0**-25, 2.0**-14


def with_eta(eta: float, scratch: Path) -> Path:
    """phantom-nano at another eta; its weights were trained for 1."""
    folder = scratch / f"eta-{eta:g}"
    if not folder.is_dir():
        shutil.copytree(NANO, folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["text_config"]["eta"] = eta
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


class Watch:
    """What happens to the phantom halves of one forward if float16 holds them as the paper writes them."""

    def __init__(self, model: PhantomForConditionalGeneration) -> None:
        self.lost: list[float] = []
        self.small: list[float] = []
        for name, module in model.named_modules():
            if isinstance(module, HeadMap) and name.endswith("phantom_value"):
                module.register_forward_hook(self._value)
            if isinstance(module, HeadMap) and name.endswith("phantom_key"):
                module.register_forward_hook(self._key)

    def _value(self, _module: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
        plain = given[0].half()
        self.lost.append(float((plain + found.half() == plain).double().mean()))

    def _key(self, _module: nn.Module, _given: tuple[Tensor, ...], found: Tensor) -> None:
        self.small.append(float((found.abs() < NORMAL).double().mean()))


def exact(folder: Path, samples: Sequence[Sample]) -> tuple[Tensor, Watch]:
    """Logits (answer tokens, vocab) in float64, and what was seen."""
    model, _ = load(str(folder))
    model = model.double()
    watch, rows = Watch(model), []
    for sample in samples:
        pixels = None if sample.pixels is None else sample.pixels.double()
        with torch.no_grad():
            logits = model(input_ids=sample.ids[None], pixel_values=pixels).logits[0]
        rows.append(logits[places(sample)])
    return torch.cat(rows), watch


def places(sample: Sample) -> Tensor:
    """Positions that tell the answer's tokens."""
    return (sample.kinds == KINDS.index("answer")).nonzero()[:, 0] - 1


def packaged(folder: Path, samples: Sequence[Sample], scratch: Path) -> tuple[Tensor, Bundle]:
    """The same by a package in float16."""
    place = scratch / f"{folder.name}.bundle"
    settings = Settings("fp16", "full", max_context=512, compute="gpu")
    bundle = export_bundle(str(folder), "coreml", place, settings, prove=False, force=True).bundle
    engine, rows = CoreMlEngine(bundle), []
    for sample in samples:
        embeds = engine.embed(sample.ids.numpy())
        if sample.pixels is not None:
            embeds[(sample.kinds == KINDS.index("vision")).numpy()] = engine.encode_images(sample.pixels.numpy())
        rows.append(engine.forward(embeds, 0, places(sample).numpy()))
    return torch.from_numpy(np.concatenate(rows)).double(), bundle


def main() -> None:
    """Measure all, show and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    scenes = options.scratch / "scenes"
    if not scenes.is_dir():
        write_scenes(scenes, PICTURES, split="validation", size=224)
    samples = read_samples(scenes / "triples.jsonl", Source.open(NANO), QUESTIONS, with_pictures=True)
    without, _ = exact(with_eta(0.0, options.scratch), samples)
    without_half, _ = packaged(with_eta(0.0, options.scratch), samples, options.scratch)
    noise = float((without_half - without).square().mean().sqrt())
    rows: list[dict[str, Any]] = []
    for eta in ETAS:
        folder = with_eta(eta, options.scratch)
        logits, watch = exact(folder, samples)
        half, bundle = packaged(folder, samples, options.scratch)
        effect, ours = logits - without, half - without_half
        chosen = export_bundle(
            str(folder),
            "coreml",
            options.scratch / "auto.bundle",
            Settings("fp16", max_context=512, compute="gpu"),
            prove=False,
            force=True,
        ).bundle.manifest.phantom
        rows.append(
            {
                "eta": eta,
                "effect": float(effect.square().mean().sqrt()),
                "values_lost_as_written": float(np.mean(watch.lost)),
                "keys_small_as_written": float(np.mean(watch.small)),
                "survives": float((ours * effect).sum() / effect.square().sum()),
                "noise_over_effect": float((ours - effect).norm() / effect.norm()),
                "full_key_ranks": sorted({layer.key_rank for layer in bundle.manifest.phantom}),
                "auto_key_ranks": sorted({layer.key_rank for layer in chosen}),
                "auto_value_ranks": sorted({layer.value_rank for layer in chosen}),
                "auto_logit_error": max(layer.logit_error for layer in chosen),
                "auto_value_error": max(layer.value_error for layer in chosen),
            }
        )
        print(rows[-1])
    document = {"questions": len(samples), "noise": noise, "head_dim": bundle.manifest.model.head_dim, "rows": rows}
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    table = Table("eta", "effect", "values lost as written", "survives")
    for row in rows:
        table.add_row(*(f"{row[name]:.2g}" for name in ("eta", "effect", "values_lost_as_written", "survives")))
    Console().print(table)


if __name__ == "__main__":
    main()
