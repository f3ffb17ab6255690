"""Does a bundle compute its model? The same inputs to both, compared stage by stage.

The bundle is run by the very engine that answers questions. The reference is the checkpoint in float32, a whole prompt
in one forward and without a cache, so that chunks, cache and positions are under test, too. The bundle answers greedily
first; the reference reads that answer. If at every position its likeliest token is the one that the bundle chose, both
would have written the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from phantom_edge.errors import EdgeError
from phantom_edge.export.bundle.folder import Bundle
from phantom_edge.export.bundle.manifest import ABSOLUTE, DIVERGENCE, OTHERS, RELATIVE, Check, Manifest, Proof
from phantom_edge.export.reference import Reference
from phantom_edge.export.source import Source
from phantom_edge.processing.tiling import to_pixel_values
from phantom_edge.runtime.engine import Floats, Ints
from phantom_edge.runtime.session import Session
from phantom_edge.runtime.text import question_of

DECODED = 32
"""Tokens of an answer."""

BLOCK = 64
"""Positions that are compared at a time: a vocabulary of logits is large."""

BOUNDS: dict[str, dict[str, float]] = {
    "fp32": {"vision": 1e-4, RELATIVE: 1e-4, DIVERGENCE: 1e-6, OTHERS: 0.0},
    "fp16": {"vision": 2e-2, RELATIVE: 3e-2, DIVERGENCE: 1e-3, OTHERS: 0.05},
}
"""What a bundle may be off, vision by its relative error. Float16 keeps 11 bits through thousands of sums, and its ties
may turn."""


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
            self.others += (ours.argmax(-1) != theirs.argmax(-1)).tolist()
            apart = (theirs.log_softmax(-1) - ours.log_softmax(-1)) * theirs.softmax(-1)
            self.divergences += apart.sum(-1).nan_to_num(nan=float("inf")).tolist()

    def measures(self) -> dict[str, float]:
        """Every measure that there is of these."""
        found = {RELATIVE: self.difference / max(self.magnitude, 1e-9), ABSOLUTE: self.difference}
        if self.others:
            found[DIVERGENCE] = max(float(np.mean(self.divergences)), 0.0)
            found[OTHERS] = float(np.mean(self.others))
        return found


@dataclass(frozen=True)
class Read:
    """A case as the bundle read and answered it: the prompt and the answer, with image tokens in their places."""

    case: Case
    embeds: Floats
    ids: Ints
    answer: Ints
    decoded: Floats
    pixels: Floats | None
    seen: Floats | None


class Runner:
    """Runs cases through a bundle."""

    def __init__(self, session: Session) -> None:
        self.session, self.engine, self.manifest = session, session.engine, session.manifest

    def read(self, case: Case) -> Read | None:
        """Prefill and greedy answer; None where the case does not fit into the cache."""
        session, prompt = self.session, self.manifest.prompt
        parts = [to_pixel_values(image, session.tiling) for image in case.images]
        tiles = [len(one) for one in parts]
        ids = session.text.ids(question_of(case.question, len(tiles)), tiles, self.manifest.pictures.tokens_per_tile)
        room = self.manifest.cache.max_context - DECODED
        if case.fills_cache and room >= 1:
            ids = self._stretched(ids, room)
        if len(ids) > room:
            return None
        embeds, pixels, seen = self.engine.embed(ids), None, None
        if parts:
            pixels, seen = np.concatenate(parts), np.concatenate([self.engine.see(one) for one in parts])
            embeds[ids == prompt.image_token] = seen
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
        return Read(case, embeds, ids, np.array(answer), np.concatenate(decoded), pixels, seen)

    def _stretched(self, ids: Ints, tokens: int) -> Ints:
        """A prompt of ``tokens``: what stands between its first and its last five is said over and over, or cut."""
        if len(ids) < 12:
            return ids
        middle = np.resize(ids[5:-5], max(tokens - 10, 0))
        return np.concatenate([ids[:5], middle, ids[-5:]])[:tokens]

    def chunks(self, case: Case, embeds: Floats) -> list[tuple[int, Floats]]:
        """A prompt in the pieces that it is fed in, each with its first position."""
        size = case.chunk or self.manifest.prefill_chunk
        return [(start, embeds[start : start + size]) for start in range(0, len(embeds), size)]


class Judge:
    """Compares what a bundle computes with its reference."""

    def __init__(self, runner: Runner, reference: Reference) -> None:
        self.runner, self.reference = runner, reference
        self.bounds = BOUNDS[runner.manifest.parts["decoder"].precision]

    def prompt(self, read: Read) -> torch.Tensor:
        """Embeddings of prompt and answer, as the reference sees them."""
        embeds = self.reference.embed(torch.from_numpy(np.concatenate([read.ids, read.answer])))
        if read.pixels is not None:
            places = torch.from_numpy(np.flatnonzero(read.ids == self.runner.manifest.prompt.image_token))
            embeds[places] = self.reference.image_tokens(torch.from_numpy(read.pixels))
        return embeds

    def compare(self, read: Read, prompt: torch.Tensor, hidden: torch.Tensor) -> list[Check]:
        """Every stage of a case; ``hidden`` is what the reference made of ``prompt``."""
        tallies = {"vision": Tally(), "prefill": Tally(), "decode": Tally()}
        if read.seen is not None:
            places = torch.from_numpy(np.flatnonzero(read.ids == self.runner.manifest.prompt.image_token))
            tallies["vision"].add(read.seen, prompt[places], is_logits=False)
        else:
            tallies.pop("vision")
        for start, part in self.runner.chunks(read.case, read.embeds):
            found = self.runner.engine.forward(part, start, np.arange(len(part)))
            self._add(tallies["prefill"], found, hidden[start : start + len(part)])
        self._add(tallies["decode"], read.decoded, hidden[len(read.ids) :])
        return [
            Check(stage, read.case.name, measure, value, self._bound(stage, measure))  # type: ignore[arg-type]
            for stage, tally in tallies.items()
            for measure, value in tally.measures().items()
        ]

    def _bound(self, stage: str, measure: str) -> float | None:
        return self.bounds["vision"] if (stage, measure) == ("vision", RELATIVE) else self.bounds.get(measure)

    def _add(self, tally: Tally, found: Floats, hidden: torch.Tensor) -> None:
        for start in range(0, len(found), BLOCK):
            wanted = self.reference.logits(hidden[start : start + BLOCK])
            tally.add(found[start : start + BLOCK], wanted, is_logits=True)


def check_source(bundle: Bundle, source: Source) -> list[str]:
    """What is to be said before ``bundle`` is compared with ``source``. Raises EdgeError where that makes no sense."""
    model, text = bundle.manifest.model, source.config.text
    pairs = {
        "family": (model.family, source.config.family),
        "hidden_size": (model.hidden_size, text.hidden_size),
        "layers": (model.layers, text.num_hidden_layers),
        "heads": (model.heads, text.num_attention_heads),
        "kv_heads": (model.kv_heads, text.num_key_value_heads),
        "vocab_size": (model.vocab_size, text.vocab_size),
        "tokens_per_tile": (bundle.manifest.pictures.tokens_per_tile, source.config.tokens_per_tile),
        "tile_size": (bundle.manifest.pictures.tile_size, source.config.vision.image_size),
    }
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise EdgeError(
                f"{bundle.path} was made from another model than {source.folder}: {name} is {ours}, there {theirs}",
                "give the right checkpoint: phantom-edge verify BUNDLE --against CHECKPOINT",
            )
    if model.fingerprint == source.fingerprint():
        return []
    return [f"{source.folder} is not the checkpoint that {bundle.path} was made from: its weights or config differ"]


def verify(
    bundle: Bundle, source: Source, begin: Callable[[int], Callable[[int], None]] = lambda _steps: lambda _step: None
) -> Proof:
    """Compare a bundle with its checkpoint. ``begin`` is told the number of steps, what it returns of each that ends.

    Raises EdgeError where nothing here runs the bundle's target.
    """
    todo = cases(bundle.manifest)
    step = begin(2 * len(todo) + source.config.text.num_hidden_layers)
    runner = Runner(Session(bundle))
    reads: list[Read] = []
    left_out: list[str] = []
    for case in todo:
        read = runner.read(case)
        if read is None:
            left_out.append(case.name)
        else:
            reads.append(read)
        step(1)
    judge = Judge(runner, Reference(source))
    prompts = [judge.prompt(read) for read in reads]
    checks: list[Check] = []
    for read, prompt, hidden in zip(reads, prompts, judge.reference.hidden(prompts, lambda: step(1)), strict=True):
        checks += judge.compare(read, prompt, hidden)
        step(1)
    return Proof(tuple(checks), tuple(left_out))
