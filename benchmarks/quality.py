"""The cost of quantizing: the same questions to bundles of phantom-nano, each run by ONNX Runtime itself.

    python -m benchmarks.quality --out benchmarks/results/quality.json

Test scenes, ten questions of each picture. Every row is a bundle that was quantized, exported, verified and asked:
once to answer, for its accuracy, and once to read the right answers, for what it thinks of each of their tokens beside
what the float32 bundle thinks (Kullback-Leibler divergence, and how often the likeliest token is the same). Calibrated
on train scenes. With ``--only`` rows, the others stay as they are in ``--out``.

Rows of phantom-nano have 192 numbers, which groups of 128 do not divide; its larger groups are of 64.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from benchmarks.harness import begin, file_name, listed, machine
from benchmarks.materials import quantized, scenes
from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.quantized.algorithm_names import ALGORITHM_NAMES, AlgorithmName
from phantom_edge.checkpoint.source import Source
from phantom_edge.data.examples import Example, read_examples
from phantom_edge.evaluate.bundle_answerer import BundleAnswerer
from phantom_edge.evaluate.intervals import bootstrap
from phantom_edge.evaluate.scores import judge, score
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import session_of
from phantom_edge.export.targets.onnx.options import OnnxOptions, Rows
from phantom_edge.export.targets.target import Precision, Settings
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.calibration import KINDS, Calibration, sample_of, tiles_of
from phantom_edge.quantize.recipe import Recipe, read_recipe
from phantom_edge.runtime.session import Session

PICTURES, QUESTIONS, CALIBRATED = 800, 10, 128
BASE = "fp32"
GROUPS = (32, 64)
SHIPPED = "int4-g32-pos"
EVERYWHERE: tuple[AlgorithmName, ...] = ("rtn", "gptq", "awq", "mbq")
"""Algorithms that are tried with the scales of the shipped recipe, too, which every target takes."""
OWN_FORMS = ("int4-row", "int4-exact8", "mixed")
"""Shipped recipes whose parts have schemes of their own."""
ROUNDED = ", int8 cache"


@dataclass(frozen=True)
class Variant:
    """A bundle to be: how it is called, its recipe or its number format, and how its cache is kept."""

    name: str
    recipe: Recipe | None = None
    precision: Precision = "fp32"
    cache: Rows = "float"

    @property
    def weights(self) -> str:
        """The name of its checkpoint."""
        return self.name.removesuffix(ROUNDED)


def variants() -> list[Variant]:
    """All rows, the base first."""
    found = [Variant(BASE), Variant("fp16", precision="fp16"), Variant("int8", read_recipe("int8"))]
    for group in GROUPS:
        for algorithm in ALGORITHM_NAMES:
            if algorithm == "dkm":  # for palettes
                continue
            found.append(Variant(f"int4-g{group} {algorithm}", int4(group, algorithm)))
    found += [Variant(f"int4-g32-pos {algorithm}", int4(32, algorithm, "-pos")) for algorithm in EVERYWHERE]
    found += [Variant(name, read_recipe(name)) for name in OWN_FORMS]
    found += [static(one) for one in found if one.name in ("int8", "int4-g32 mbq")]
    again = (BASE, "int8", "mixed", *(f"int4-g{group} {algorithm}" for group in GROUPS for algorithm in ("rtn", "mbq")))
    return found + [replace(one, name=f"{one.name}{ROUNDED}", cache="int8") for one in found if one.name in again]


def static(variant: Variant) -> Variant:
    """The same with vision and projector in W8A8."""
    assert variant.recipe is not None
    parts = {**variant.recipe.parts, "vision": "w8a8", "projector": "w8a8"}
    return replace(variant, name=f"{variant.name}, w8a8 vision", recipe=replace(variant.recipe, parts=parts))


def int4(group: int, algorithm: AlgorithmName, kind: str = "") -> Recipe:
    """The shipped recipe with other groups, scales and another algorithm; HQQ is for schemes with zero points."""
    scheme = f"int4-g{group}" + ("-asym" if algorithm == "hqq" else kind)
    shipped = read_recipe("int4")
    parts = {part: scheme if old == SHIPPED else old for part, old in shipped.parts.items()}
    return replace(shipped, parts=parts, algorithm=algorithm)


def bundle_of(variant: Variant, scratch: Path, calibration: Calibration) -> Path:
    """The variant's bundle, made unless it is there."""
    bundle, model = scratch / file_name(variant.name), NANO
    if bundle.is_dir():
        return bundle
    if variant.recipe is not None:
        model = quantized(NANO, variant.recipe, scratch / f"{file_name(variant.weights)}.quantized", calibration)
    export_bundle(str(model), "onnx", bundle, Settings(variant.precision, options=OnnxOptions(variant.cache)))
    return bundle


def thoughts(session: Session, asked: Sequence[Example], source: Source) -> Iterator[NDArray[np.float32]]:
    """Logits (tokens, vocab) at every token of every question's right answer."""
    seen: dict[object, tuple[list[NDArray[np.float32]], NDArray[np.float32]]] = {}
    for example in asked:
        if example.images not in seen:
            tiles = tiles_of(example, source)
            seen = {example.images: (tiles, session.engine.encode_images(np.concatenate(tiles)))}
        tiles, tokens = seen[example.images]
        sample = sample_of(example, source, tiles)
        embeds, kinds = session.engine.embed(sample.ids.numpy()), sample.kinds.numpy()
        embeds[kinds == KINDS.index("vision")] = tokens
        answer = np.flatnonzero(kinds == KINDS.index("answer")) - 1
        chunk, rows = session.manifest.prefill_chunk, []
        for start in range(0, len(embeds), chunk):
            keep = answer[(answer >= start) & (answer < start + chunk)] - start
            rows.append(session.engine.forward(embeds[start : start + chunk], start, keep))
        yield np.concatenate(rows)


def apart(ours: NDArray[np.float32], base: NDArray[np.float32]) -> tuple[float, float]:
    """Sums over tokens: of the divergence from ``base``, and of tokens whose likeliest is another."""
    mine, theirs = (torch.from_numpy(logits).double().log_softmax(-1) for logits in (ours, base))
    divergence = (theirs.exp() * (theirs - mine)).sum()
    return float(divergence), float((mine.argmax(-1) != theirs.argmax(-1)).sum())


def points_lost(asked: Sequence[Example], right: NDArray[np.float64], base: NDArray[np.float64]) -> dict[str, Any]:
    """Beside the base, of the same questions; the interval is a bootstrap over pictures."""
    numbers = {images: number for number, images in enumerate(dict.fromkeys(example.images for example in asked))}
    pictures = np.array([numbers[example.images] for example in asked])
    lost = np.stack([np.bincount(pictures, 100 * (base - right)), np.bincount(pictures).astype(np.float64)], axis=1)
    return {
        "points_lost": float(lost[:, 0].sum() / lost[:, 1].sum()),
        "points_lost_interval": list(asdict(bootstrap(lost, lambda t: t[:, 0] / t[:, 1])).values()),
    }


def measure(
    bundle: Path, asked: list[Example], source: Source, base: dict[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of a bundle, and what later rows are compared with; ``base`` is that of the first."""
    opened = Bundle.open(bundle)
    session = session_of(opened, threads=1)
    with Progress(console=Console(stderr=True)) as bars:
        task = bars.add_task(bundle.name, total=len(asked))
        answers = BundleAnswerer(session).answer([example.query for example in asked], lambda n: bars.advance(task, n))
    right = np.array(judge(asked, answers), np.float64)
    logits = list(thoughts(session, asked, source))
    base = base or {"right": right, "logits": logits}
    sums = np.array([apart(mine, theirs) for mine, theirs in zip(logits, base["logits"], strict=True)])
    tokens = np.array([len(one) for one in logits], np.float64)
    overall = score(asked, answers).overall.accuracy
    return {
        "answer_tokens": int(tokens.sum()),
        "megabytes": round(listed(bundle), 2),
        "right": 100 * overall.value,
        "right_interval": [100 * overall.interval.low, 100 * overall.interval.high],
        **points_lost(asked, right, base["right"]),
        "divergence_nats": float(sums[:, 0].sum() / tokens.sum()),
        "same_token": float(1 - sums[:, 1].sum() / tokens.sum()),
        "cache_bytes_per_token": opened.manifest.cache.bytes_per_token,
    }, base


def chosen(examples: list[Example]) -> list[Example]:
    """``QUESTIONS`` of each picture, drawn, or all where there are fewer."""
    random, groups = Random(0), dict[tuple[Path | bytes, ...], list[Example]]()
    for example in examples:
        groups.setdefault(example.images, []).append(example)
    return [example for group in groups.values() for example in random.sample(group, min(QUESTIONS, len(group)))]


def main() -> None:
    """Measure what is missing, and write all."""
    bench = begin("quality", __doc__, pictures=PICTURES, only=[])
    torch.set_num_threads(1)
    drawn, only = scenes(bench.scratch / "scenes", bench.asked.pictures, "test"), bench.asked.only
    pictures = json.loads(drawn.with_name("scenes.json").read_text(encoding="utf-8"))["pictures"]
    calib = scenes(bench.scratch / "calib", CALIBRATED // 4, "train", 10_000_000)
    asked, source = chosen(read_examples(drawn).found), Source.open(NANO)
    rows = bench.before().get("rows", {}) if only else {}
    first: dict[str, Any] | None = None

    def row(variant: Variant) -> dict[str, Any]:
        nonlocal first
        bundle = bundle_of(variant, bench.scratch, Calibration(calib, CALIBRATED))
        found, first = measure(bundle, asked, source, first)
        return found

    for variant in variants():
        if not only or variant.name in (BASE, *only):
            rows[variant.name] = bench.once(variant.name, lambda one=variant: row(one), again=variant.name == BASE)  # type: ignore[misc]
    about = {"model": "phantom-nano", "pictures": pictures, "questions": len(asked)}
    about |= {"calibration_questions": CALIBRATED, "machine": machine("ONNX Runtime on one thread")}
    bench.write({**about, "rows": rows})


if __name__ == "__main__":
    main()
