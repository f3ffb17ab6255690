"""The phantom dimension in float16, at several strengths of eta.

    python -m benchmarks.phantom_fp16 --out benchmarks/results/phantom-fp16.json

phantom-nano with another eta each time, on questions about validation scenes, three ways: the model in float64; stored
as the paper writes it, values beside ``v + X(v)`` and keys beside ``eta gelu(..)`` in float16; and as our packages have
it, run by the interpreter in float16. *Effect* is what eta changes of the logits beside eta 0.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import begin
from benchmarks.materials import scenes
from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.coreml.engine import CoreMlEngine
from phantom_edge.export.targets.coreml.options import CoreMlOptions
from phantom_edge.export.targets.target import Settings
from phantom_edge.generate import load
from phantom_edge.models.attention import HeadMap
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.calibration import KINDS, Sample, read_samples

ETAS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
PICTURES, QUESTIONS = 12, 24
NORMAL = 2.0**-14


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
    """Hooks that measure the loss of phantom halves in float16 as the paper writes them, during one forward."""

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
    """Positions whose logits predict the answer's tokens."""
    return (sample.kinds == KINDS.index("answer")).nonzero()[:, 0] - 1


def export(folder: Path, phantom: str, out: Path) -> Bundle:
    """A package for the GPU."""
    settings = Settings("fp16", phantom, max_context=512, options=CoreMlOptions("gpu"))
    return export_bundle(str(folder), "coreml", out, settings, prove=False, force=True).bundle


def packaged(folder: Path, samples: Sequence[Sample], scratch: Path) -> tuple[Tensor, Bundle]:
    """The same by a package in float16."""
    bundle = export(folder, "full", scratch / f"{folder.name}.bundle")
    engine, rows = CoreMlEngine(bundle), []
    for sample in samples:
        embeds = engine.embed(sample.ids.numpy())
        if sample.pixels is not None:
            embeds[(sample.kinds == KINDS.index("vision")).numpy()] = engine.encode_images(sample.pixels.numpy())
        rows.append(engine.forward(embeds, 0, places(sample).numpy()))
    return torch.from_numpy(np.concatenate(rows)).double(), bundle


def main() -> None:
    """Measure and write."""
    bench = begin("phantom-fp16", __doc__)
    scratch = bench.scratch
    drawn = scenes(scratch / "scenes", PICTURES, "validation")
    samples = read_samples(drawn, Source.open(NANO), QUESTIONS, with_pictures=True)
    without, _ = exact(with_eta(0.0, scratch), samples)
    without_half, _ = packaged(with_eta(0.0, scratch), samples, scratch)
    rows: list[dict[str, Any]] = []
    for eta in ETAS:
        folder = with_eta(eta, scratch)
        logits, watch = exact(folder, samples)
        half, bundle = packaged(folder, samples, scratch)
        effect, ours = logits - without, half - without_half
        chosen = export(folder, "rank=auto", scratch / "auto.bundle").manifest.phantom
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
        print(rows[-1], file=sys.stderr)
    noise = float((without_half - without).square().mean().sqrt())
    dim = bundle.manifest.model.head_dim
    bench.write({"questions": len(samples), "noise": noise, "head_dim": dim, "rows": rows})


if __name__ == "__main__":
    main()
