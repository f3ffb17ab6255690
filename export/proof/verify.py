"""Does a bundle compute its model? The same inputs to both, compared stage by stage.

The bundle is run by the very engine that answers questions. The reference is the checkpoint in float32, a whole prompt
in one forward and without a cache, so that chunks, cache and positions are under test, too. The bundle answers greedily
first; the reference reads that answer. If at every position its likeliest token is the one that the bundle chose, both
would have written the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from PIL import Image

from phantom_edge.bundle.folder import Begin, Bundle, nobody
from phantom_edge.bundle.manifest import (
    ABSOLUTE,
    DIVERGENCE,
    OTHERS,
    RELATIVE,
    Check,
    Hazard,
    Layer,
    Manifest,
    Proof,
    Stage,
)
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.tensor_names import PROJECTOR, TOWER
from phantom_edge.processing.tiling import to_pixel_values
from phantom_edge.reference import Reference
from phantom_edge.runtime.engine import Engine, Floats, Ints
from phantom_edge.runtime.session import MakeEngine, Session
from phantom_edge.runtime.text import question_of

DECODED = 32
"""Tokens of an answer."""

LEAST = 12
"""Tokens of the shortest prompt that is stretched to fill a cache."""

BLOCK = 64
"""Positions that are compared at a time: a vocabulary of logits is large."""

BOUNDS: dict[str, dict[str, float]] = {
    "float32": {"vision": 1e-4, RELATIVE: 1e-4, DIVERGENCE: 1e-6, OTHERS: 0.0},
    "float16": {"vision": 2e-2, RELATIVE: 3e-2, DIVERGENCE: 1e-3, OTHERS: 0.05},
}
"""What a bundle may be off, by the number format that its graphs compute in; vision by its relative error. Float16
keeps 11 bits through thousands of sums, and its ties may turn."""

ROUNDED = {RELATIVE: 1e-1, DIVERGENCE: 1e-2}
"""The same where activations are rounded to 8 bits on the way into quantized layers or the cache: it turns ties, so
other tokens are told and not bound. That nothing else is off, the exact stages show."""

FIXED_POINT = {"vision": 5e-2, RELATIVE: 5e-2, DIVERGENCE: 1e-2, OTHERS: 0.1}
"""The same where every tensor is rounded to 16 bits, by scales that were chosen before."""

CONSTANTS = {"vision": 1e-3, RELATIVE: 1e-3, DIVERGENCE: 1e-6, OTHERS: 5e-3}
"""The same where only what is constant and small is: it turns ties, too."""

STRICT = {"vision": 5e-2, RELATIVE: 1e-1, DIVERGENCE: 1e-2}
"""The same where float16 is meant inside operators, too, in sums that no device need take so badly."""

TIE = 4e-6
"""Tokens whose logits are so near, as a share of the largest, are equally likely: which one comes first, the order of
float32 sums decides, in the reference, too."""

EXACT: dict[Stage, Stage] = {"vision": "exact vision", "prefill": "exact prefill", "decode": "exact decode"}
STRICTLY: dict[Stage, Stage] = {"vision": "strict vision", "prefill": "strict prefill", "decode": "strict decode"}

LAYERED = 2
"""Parts that are compared layer by layer, where that can be seen."""

WORST = 12
"""Hazards that are kept."""


@dataclass(frozen=True)
class Case:
    """A prompt, and how many tokens of it are fed at a time (None: as the bundle says)."""

    name: str
    question: str
    images: tuple[Image.Image, ...] = ()
    chunk: int | None = None
    fills_cache: bool = False


def cases(manifest: Manifest) -> list[Case]:
    """The fixed set."""
    side, chunk = manifest.pictures.tile_size, manifest.prefill_chunk
    small, wide = picture(side, side, 1), picture(3 * side, 2 * side, 2)
    return [
        Case("text alone", "Who are you?"),
        Case("token by token", "Is it red?", chunk=1),
        Case("a picture", "What is in the picture?", (small,)),
        Case("odd chunks", "Is it red, or is it blue?", (small,), chunk=max(chunk // 3, 2)),
        Case("several tiles", "What is in the picture?", (wide,)),
        Case("two pictures", "What differs between <image> and <image>?", (small, wide)),
        Case("to the cache's last slot", "Say again: red, blue, green, near, far, 1, 2, 3.", fills_cache=True),
    ]


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Blurred noise with fine noise over it, the same on every machine."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (7, 9, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((smooth + random.integers(-20, 21, (height, width, 3))).clip(0, 255).astype(np.uint8))


@dataclass
class Tally:
    """Differences, summed up block by block."""

    difference: float = 0.0
    magnitude: float = 0.0
    divergences: list[float] = field(default_factory=list)
    others: list[bool] = field(default_factory=list)

    def add(self, found: Floats, wanted: torch.Tensor, *, is_logits: bool) -> None:
        """Rows of both; what is not finite makes every measure infinite."""
        ours = torch.from_numpy(np.asarray(found, np.float64))
        theirs = wanted.double()
        off = float((ours - theirs).abs().max())
        self.difference = max(self.difference, off) if np.isfinite(off) else float("inf")
        self.magnitude = max(self.magnitude, float(theirs.abs().max()))
        if is_logits:
            chosen = theirs.gather(-1, ours.nan_to_num().argmax(-1, keepdim=True))[..., 0]
            behind = theirs.amax(-1) - chosen
            self.others += (behind > TIE * theirs.abs().amax(-1)).tolist()
            apart = (theirs.log_softmax(-1) - ours.log_softmax(-1)) * theirs.softmax(-1)
            self.divergences += apart.sum(-1).nan_to_num(nan=float("inf")).tolist()

    def measures(self) -> dict[str, float | None]:
        """Every measure that there is of these, None where it is not finite."""
        found: dict[str, float] = {RELATIVE: self.difference / max(self.magnitude, 1e-9), ABSOLUTE: self.difference}
        if self.others:
            found[DIVERGENCE] = max(float(np.mean(self.divergences)), 0.0)
            found[OTHERS] = float(np.mean(self.others))
        return {name: value if np.isfinite(value) else None for name, value in found.items()}


@dataclass(frozen=True)
class Seen:
    """A picture's image tokens (tiles * tokens_per_tile, hidden): the bundle's and those of the reference."""

    tiles: int
    found: Floats
    wanted: torch.Tensor


@dataclass(frozen=True)
class Read:
    """A case as the bundle read and answered it: the prompt and the answer, with image tokens in their places."""

    case: Case
    embeds: Floats
    ids: Ints
    answer: Ints
    decoded: Floats


class Runner:
    """Runs cases through a bundle."""

    def __init__(self, session: Session) -> None:
        self.session, self.engine, self.manifest = session, session.engine, session.manifest

    def read(self, case: Case, seen: Sequence[Seen], ids: Ints) -> Read | None:
        """Prefill and greedy answer; None where the case does not fit into the cache."""
        prompt, room = self.manifest.prompt, self.manifest.cache.max_context - DECODED
        if case.fills_cache and room >= LEAST:
            ids = stretched(ids, room)
        if len(ids) > room:
            return None
        embeds = self.engine.embed(ids)
        if seen:
            embeds[ids == prompt.image_token] = np.concatenate([one.found for one in seen])
        logits = np.zeros(0, np.float32)
        for start, part in self.chunks(case, embeds):
            logits = self.engine.forward(part, start, np.array([len(part) - 1]))
        answer, decoded = [], []
        for step in range(DECODED):
            token = int(logits[0].argmax())
            if token == prompt.image_token:  # its place would need a picture
                token = prompt.stop_tokens[0]
            answer.append(token)
            logits = self.engine.forward(self.engine.embed(np.array([token])), len(ids) + step, np.array([0]))
            decoded.append(logits)
        return Read(case, embeds, ids, np.array(answer), np.concatenate(decoded))

    def chunks(self, case: Case, embeds: Floats) -> list[tuple[int, Floats]]:
        """A prompt in the pieces that it is fed in, each with its first position."""
        size = case.chunk or self.manifest.prefill_chunk
        return [(start, embeds[start : start + size]) for start in range(0, len(embeds), size)]


def stretched(ids: Ints, tokens: int) -> Ints:
    """A prompt of ``tokens``: what stands between its first and its last five is said over and over, or cut."""
    middle = np.resize(ids[5:-5], tokens - 10)
    return np.concatenate([ids[:5], middle, ids[-5:]])


class Judge:
    """Compares what a bundle computes with its reference; ``is_exact``: without what rounding activations adds.

    Of a quantized bundle beside a float checkpoint no bound is asked: how far it is off is the price of quantizing.
    """

    def __init__(
        self, runner: Runner, reference: Reference, *, is_exact: bool = False, is_strict: bool = False
    ) -> None:
        self.runner, self.reference, self.is_exact, self.is_strict = runner, reference, is_exact, is_strict
        manifest = runner.manifest
        is_stored = is_exact and manifest.fixed is not None  # constants are the reference's own
        if _is_of_another_precision(manifest, reference.source):
            self.bounds: dict[str, float] = {}
        elif manifest.chip is not None:
            self.bounds = CONSTANTS if is_exact else FIXED_POINT
        elif is_strict:
            self.bounds = STRICT
        else:
            self.bounds = BOUNDS["float32" if is_stored else manifest.cache.dtype]
            if _rounds(manifest) and not is_exact:
                vision = ROUNDED[RELATIVE] if _sees_in_integers(reference.source) else self.bounds["vision"]
                self.bounds = {"vision": vision, **ROUNDED}

    def look(self, image: Image.Image, wanted: torch.Tensor | None = None) -> tuple[Seen, list[Check]]:
        """A picture as both see it, compared; ``wanted`` if the reference looked at it before."""
        pixels, tally = to_pixel_values(image, self.runner.session.tiling), Tally()
        if wanted is None:
            wanted = self.reference.image_tokens(torch.from_numpy(pixels))
        seen = Seen(len(pixels), self.runner.engine.see(pixels), wanted)
        tally.add(seen.found, wanted, is_logits=False)
        return seen, self._checks("vision", f"{seen.tiles} tile{'s' * (seen.tiles > 1)}", tally)

    def prompt(self, read: Read, seen: Sequence[Seen]) -> torch.Tensor:
        """Embeddings of prompt and answer, as the reference sees them."""
        embeds = self.reference.embed(torch.from_numpy(np.concatenate([read.ids, read.answer])))
        if seen:
            places = np.flatnonzero(read.ids == self.runner.manifest.prompt.image_token)
            embeds[torch.from_numpy(places)] = torch.cat([one.wanted for one in seen])
        return embeds

    def compare(self, read: Read, hidden: torch.Tensor) -> list[Check]:
        """Prompt and answer of a case; ``hidden`` is what the reference made of them."""
        prefill, decode = Tally(), Tally()
        for start, part in self.runner.chunks(read.case, read.embeds):
            found = self.runner.engine.forward(part, start, np.arange(len(part)))
            self._add(prefill, found, hidden[start : start + len(part)])
        self._add(decode, read.decoded, hidden[len(read.ids) :])
        return [*self._checks("prefill", read.case.name, prefill), *self._checks("decode", read.case.name, decode)]

    def _checks(self, stage: Stage, case: str, tally: Tally) -> list[Check]:
        shown = EXACT[stage] if self.is_exact else STRICTLY[stage] if self.is_strict else stage
        return [
            Check(shown, case, measure, value, self._bound(stage, measure))  # type: ignore[arg-type]
            for measure, value in tally.measures().items()
        ]

    def _bound(self, stage: str, measure: str) -> float | None:
        return self.bounds.get("vision") if (stage, measure) == ("vision", RELATIVE) else self.bounds.get(measure)

    def _add(self, tally: Tally, found: Floats, hidden: torch.Tensor) -> None:
        for start in range(0, len(found), BLOCK):
            wanted = self.reference.logits(hidden[start : start + BLOCK])
            tally.add(found[start : start + BLOCK], wanted, is_logits=True)


def check_source(bundle: Bundle, source: Source, begin: Begin = nobody) -> list[str]:
    """What is to be said before ``bundle`` is compared with ``source``. Raises EdgeError where that makes no sense."""
    manifest, text = bundle.manifest, source.config.text
    model = manifest.model
    pairs: dict[str, tuple[object, object]] = {
        "family": (model.family, source.config.family),
        "hidden_size": (model.hidden_size, text.hidden_size),
        "layers": (model.layers, text.num_hidden_layers),
        "heads": (model.heads, text.num_attention_heads),
        "kv_heads": (model.kv_heads, text.num_key_value_heads),
        "head_dim": (model.head_dim, text.head_dim),
        "vocab_size": (model.vocab_size, text.vocab_size),
        "pictures": (manifest.pictures, source.pictures(manifest.pictures.max_tiles)),
        "prompt": (manifest.prompt, source.prompt(manifest.prompt.tokenizer, manifest.prompt.chat_template)),
    }
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise EdgeError(
                f"{bundle.path} was made from another model than {source.folder}: {name} is {ours}, there {theirs}",
                "give the right checkpoint: phantom-edge verify BUNDLE --against CHECKPOINT",
            )
    if manifest.integers is not None and source.integers is None:
        told = "what quantizing changed is told, and no bound asked"
        return [f"{bundle.path} is quantized and {source.folder} is not: {told}"]
    if model.fingerprint == source.fingerprint(begin):
        return []
    return [f"{source.folder} is not the checkpoint that {bundle.path} was made from: its weights or config differ"]


def verify(bundle: Bundle, source: Source, begin: Begin = nobody, *, strict: bool = False) -> Proof:
    """Compare a bundle with its checkpoint; ``begin`` is told of cases and layers.

    ``strict``: also with float16 inside operators, for a bundle that the interpreter runs.

    Raises EdgeError where nothing here runs the bundle's target, where it turns words into other tokens than the
    checkpoint, and where not even the shortest prompt fits into its cache.
    """
    todo = cases(bundle.manifest)
    images = {id(image): image for case in todo for image in case.images}
    judges = _judges(bundle, source, strict=strict)
    references = list({id(judge.reference): judge.reference for judge in judges}.values())
    layers = source.config.text.num_hidden_layers * len(references)
    step = begin((len(images) + 2 * len(todo)) * len(judges) + layers + (LAYERED if bundle.manifest.chip else 0))
    looked, checks = _looked(judges, images, step)
    left_out: dict[str, None] = {}
    reads: list[tuple[Judge, Read, torch.Tensor]] = []
    for number, judge in enumerate(judges):
        for case in todo:
            seen = [looked[number, id(image)] for image in case.images]
            read = judge.runner.read(case, seen, _words(case, [one.tiles for one in seen], judge.runner, source))
            if read is None:
                left_out[case.name] = None
            else:
                reads.append((judge, read, judge.prompt(read, seen)))
            step(1)
    if not reads:
        raise EdgeError(
            f"not even a short prompt and its answer fit into a cache of {bundle.manifest.cache.max_context} tokens",
            "export with a larger --max-context, such as 256",
        )
    for reference in references:  # each reads its layers once, for all who compare with it
        own = [one for one in reads if one[0].reference is reference]
        wanted = reference.hidden([prompt for _, _, prompt in own], lambda: step(1))
        for (judge, read, _), hidden in zip(own, wanted, strict=True):
            checks += judge.compare(read, hidden)
            step(1)
    by_layer = _by_layer(bundle, [one for one in reads if one[0] is judges[0]], lambda: step(1))
    return Proof(tuple(checks), tuple(left_out), _hazards(judges[0].runner.engine), by_layer)


def _by_layer(
    bundle: Bundle, reads: Sequence[tuple[Judge, Read, torch.Tensor]], done: Callable[[], None]
) -> tuple[Layer, ...]:
    """How near each layer of a bundle in fixed point is, over a prompt with a picture if there is one."""
    if bundle.manifest.chip is None:
        return ()
    from phantom_edge.export.targets.qnn.layers import measure_layers

    judge, read, prompt = max(reads, key=lambda one: bool(one[1].case.images))
    side = bundle.manifest.pictures.tile_size
    pixels = to_pixel_values((*read.case.images, picture(side, side, 1))[0], judge.runner.session.tiling)[:1]
    return measure_layers(bundle, judge.reference, pixels, prompt.numpy(), done)


def _judges(bundle: Bundle, source: Source, *, strict: bool) -> list[Judge]:
    """One for the bundle as it runs, and where that rounds, one for what it would compute if it did not."""
    manifest, reference = bundle.manifest, Reference(source)
    if manifest.fixed is not None and manifest.chip is None:
        return _judges_of_packages(bundle, reference, strict=strict)
    if strict:
        raise EdgeError(
            f"{bundle.path} is for target {manifest.target}, which has no strict mode", "leave --strict out"
        )
    found = [Judge(Runner(Session(bundle)), reference)]
    exact = EXACTLY.get(manifest.target)
    if exact is not None and _rounds(manifest) and not _is_of_another_precision(manifest, source):
        found.append(Judge(Runner(Session(bundle, engine=exact())), reference, is_exact=True))
    return found


def _judges_of_packages(bundle: Bundle, reference: Reference, *, strict: bool) -> list[Judge]:
    """As the device computes, in float32 beside constants as they are stored, and in float16 inside operators."""
    manifest, source = bundle.manifest, reference.source
    assert manifest.fixed is not None
    engine, stored_reference = INTERPRETERS[manifest.target]()
    found = [Judge(Runner(Session(bundle, engine=partial(engine, watch=True))), reference)]
    if not _is_of_another_precision(manifest, source):
        smooth = Session(bundle, engine=partial(engine, mode="smooth", apple=False))
        stored = stored_reference(source, manifest.fixed, manifest.phantom)
        found.append(Judge(Runner(smooth), stored, is_exact=True))
    if strict:
        rounded = Session(bundle, engine=partial(engine, mode="strict", apple=False))
        found.append(Judge(Runner(rounded), reference, is_strict=True))
    return found


def _onnx() -> MakeEngine:
    from phantom_edge.export.targets.onnx.exact import ExactEngine

    return ExactEngine


def _executorch() -> MakeEngine:
    from phantom_edge.export.targets.executorch.engine import ExactPteEngine

    return ExactPteEngine


def _qnn() -> MakeEngine:
    from phantom_edge.export.targets.qnn.exact import ExactQnnEngine

    return ExactQnnEngine


EXACTLY: dict[str, Callable[[], MakeEngine]] = {"onnx": _onnx, "executorch": _executorch, "qnn": _qnn}
"""What runs a target's bundle without rounding activations, its own packages imported only then."""


def _coreml() -> "Interpreted":
    from phantom_edge.export.targets.coreml.engine import CoreMlEngine
    from phantom_edge.export.targets.coreml.float16_reference import StoredReference

    return CoreMlEngine, StoredReference


def _coreai() -> "Interpreted":
    from phantom_edge.export.targets.coreai.engine import CoreAiEngine
    from phantom_edge.export.targets.coreai.scales import AssetReference

    return CoreAiEngine, AssetReference


Interpreted = tuple[Callable[..., Engine], Callable[..., Reference]]
"""What runs a target's packages in every mode, and their checkpoint as they hold it."""

INTERPRETERS = {"coreml": _coreml, "coreai": _coreai}
"""Of each target that makes packages, its own packages imported only then."""


def _hazards(engine: Engine) -> tuple[Hazard, ...]:
    """What the interpreter saw, if that is what runs the bundle."""
    found = []
    for part, hazards in getattr(engine, "hazards", {}).items():
        for one in hazards.table():
            shares = (one.flushed_share, one.subnormal_share)
            hazard = Hazard(part, one.name, one.type, one.nans, one.overflows, one.masked_rows, *shares)
            found.append((one.severity, hazard))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return tuple(hazard for _, hazard in found[:WORST])


def _looked(
    judges: Sequence[Judge], images: Mapping[int, Image.Image], step: Callable[[int], None]
) -> tuple[dict[tuple[int, int], Seen], list[Check]]:
    """Every picture as each judge sees it, by the judge's number, and how that compares."""
    looked: dict[tuple[int, int], Seen] = {}
    checks: list[Check] = []
    for number, judge in enumerate(judges):
        is_first = judge.reference is judges[0].reference
        for key, image in images.items():
            before = looked[0, key] if number and is_first else None
            if before is not None and judge.is_exact and not _sees_in_integers(judge.reference.source):
                looked[number, key] = before  # nothing could be more exact
            else:
                looked[number, key], found = judge.look(image, None if before is None else before.wanted)
                checks += found
            step(1)
    for judge in judges:
        judge.reference.close_eyes()
    return looked, checks


def _is_of_another_precision(manifest: Manifest, source: Source) -> bool:
    """Whether the bundle is quantized and the checkpoint is not."""
    return manifest.integers is not None and source.integers is None


def _rounds(manifest: Manifest) -> bool:
    """Whether the bundle rounds activations as it runs: all that are quantized do, but those for boards."""
    return (manifest.integers is not None and manifest.board is None) or manifest.cache.rounded


def _sees_in_integers(source: Source) -> bool:
    """Whether any weight between pixels and image tokens is quantized."""
    names = source.integers.schemes if source.integers is not None else ()
    return any(name.startswith((TOWER, PROJECTOR)) for name in names)


def _words(case: Case, tiles: Sequence[int], runner: Runner, source: Source) -> Ints:
    """The case's prompt as token ids, the same from the bundle's words and from the checkpoint's."""
    messages = question_of(case.question, len(tiles))
    ids = runner.session.text.ids(messages, tiles, runner.manifest.pictures.tokens_per_tile)
    if ids.tolist() != source.words(messages, tiles):
        raise EdgeError(
            f"the bundle's tokenizer or chat template turns '{case.name}' into other tokens than {source.folder} does",
            "export it again: phantom-edge export",
        )
    return ids
