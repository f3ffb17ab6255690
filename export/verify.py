"""Does a bundle compute its model? The same inputs to both, compared stage by stage.

The bundle is run by the very session that answers questions. The reference is the checkpoint in float32, everything in
one forward and without a cache, so that chunks, cache and positions are under test, too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from phantom_edge.export.bundle.folder import Bundle
from phantom_edge.export.bundle.manifest import Check
from phantom_edge.models.modeling import PhantomForConditionalGeneration
from phantom_edge.processing.tiling import to_pixel_values
from phantom_edge.runtime.engine import Floats, Ints
from phantom_edge.runtime.session import Session
from phantom_edge.runtime.text import question_of

DECODED = 32
"""Tokens of an answer that are compared one by one."""

BOUNDS = {
    "fp32": {"vision": 1e-4, "prefill": 1e-4, "decode": 1e-4, "divergence": 1e-6, "other tokens": 0.0},
    "fp16": {"vision": 2e-2, "prefill": 3e-2, "decode": 3e-2, "divergence": 1e-3, "other tokens": 0.05},
}
"""What each stage may be off: largest difference over the largest magnitude (vision tokens, logits), mean divergence
(KL, nats) of the next-token distributions, share of positions whose likeliest token is another. Float16 keeps 11 bits
through thousands of sums, and its ties may turn."""


@dataclass(frozen=True)
class Case:
    """A prompt, and how many tokens of it are fed at a time (None: as the bundle says)."""

    name: str
    question: str
    images: tuple[Image.Image, ...] = ()
    chunk: int | None = None


def cases(bundle: Bundle) -> list[Case]:
    """The fixed set, without what does not fit into the cache: a prompt that ends at its last slot is always there."""
    side, chunk = bundle.manifest.pictures.tile_size, bundle.manifest.prefill_chunk
    small, wide = picture(side, side, 1), picture(3 * side, 2 * side, 2)
    return [
        Case("text alone", "Who are you?"),
        Case("token by token", "Is it red?", chunk=1),
        Case("a picture", "What is in the picture?", (small,)),
        Case("odd chunks", "Is it red, or is it blue?", (small,), chunk=max(chunk // 3, 2)),
        Case("several tiles", "What is in the picture?", (wide,)),
        Case("two pictures", "What differs between <image> and <image>?", (small, wide)),
    ]


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Blurred noise with fine noise over it, the same on every machine."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (7, 9, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((smooth + random.integers(-20, 21, (height, width, 3))).clip(0, 255).astype(np.uint8))


class Comparison:
    """Runs cases through a session and through its model."""

    def __init__(self, session: Session, model: PhantomForConditionalGeneration) -> None:
        self.session, self.model = session, model
        self.manifest = session.manifest
        self.bounds = BOUNDS[self.manifest.parts["decoder"].precision]

    @torch.no_grad()
    def compare(self, case: Case) -> list[Check] | None:
        """Every stage of a case; None where it does not fit into the cache."""
        pixels = [to_pixel_values(image, self.session.tiling) for image in case.images]
        tiles = [len(one) for one in pixels]
        per_tile = self.manifest.pictures.tokens_per_tile
        ids = self.session.text.ids(question_of(case.question, len(tiles)), tiles, per_tile)
        if len(ids) + DECODED > self.manifest.cache.max_context:
            return None
        joined = np.concatenate(pixels) if pixels else None
        answer = self._answer(ids, joined)
        whole = np.concatenate([ids, answer])
        want = self._reference(whole, joined)
        checks, embeds = [], self.session.engine.embed(whole)
        if joined is not None:
            seen = np.concatenate([self.session.engine.see(one) for one in pixels])
            features = self.model.get_image_features(torch.from_numpy(joined)).pooler_output.flatten(0, 1)
            checks.append(self._check("vision", case, relative(seen, features.numpy())))
            embeds[whole == self.manifest.prompt.image_token] = seen
        prefill = self._fed(embeds[: len(ids)], 0, case.chunk or self.manifest.prefill_chunk)
        decode = self._fed(embeds[len(ids) :], len(ids), 1)
        found = np.concatenate([prefill, decode])
        checks.append(self._check("prefill", case, relative(prefill, want[: len(ids)])))
        checks.append(self._check("decode", case, relative(decode, want[len(ids) :])))
        checks.append(self._check("divergence", case, divergence(found, want)))
        other = float((found.argmax(-1) != want.argmax(-1)).mean())
        checks.append(self._check("other tokens", case, other))
        return checks

    def _check(self, stage: str, case: Case, value: float) -> Check:
        return Check(stage, case.name, value, self.bounds[stage])

    def _answer(self, ids: Ints, pixels: Floats | None) -> Ints:
        """What the model answers, without stopping at a stop token."""
        inputs = self._inputs(ids, pixels)
        out = self.model.generate(**inputs, max_new_tokens=DECODED, min_new_tokens=DECODED, do_sample=False)
        found: Ints = out[0, len(ids) :].numpy()
        image = self.manifest.prompt.image_token
        return np.where(found == image, self.manifest.prompt.stop_tokens[0], found)  # a picture's place needs a picture

    def _reference(self, ids: Ints, pixels: Floats | None) -> Floats:
        logits: Floats = self.model(**self._inputs(ids, pixels), use_cache=False).logits[0].float().numpy()
        return logits

    def _inputs(self, ids: Ints, pixels: Floats | None) -> dict[str, torch.Tensor]:
        inputs = {"input_ids": torch.from_numpy(ids)[None]}
        return inputs if pixels is None else inputs | {"pixel_values": torch.from_numpy(pixels)}

    def _fed(self, embeds: Floats, start: int, chunk: int) -> Floats:
        """Logits of every position, ``chunk`` tokens at a time."""
        parts = [embeds[at : at + chunk] for at in range(0, len(embeds), chunk)]
        found = []
        for part in parts:
            found.append(self.session.engine.forward(part, start, np.arange(len(part))))
            start += len(part)
        return np.concatenate(found)


def relative(found: Floats, wanted: Floats) -> float:
    """Largest difference over the largest magnitude; infinite where anything is not finite."""
    off = float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-9))
    return off if np.isfinite(off) else float("inf")


def divergence(found: Floats, wanted: Floats) -> float:
    """Mean KL divergence, nats, of the distributions that logits (N, vocab) stand for."""
    ours, theirs = (torch.from_numpy(np.asarray(one, np.float64)).log_softmax(-1) for one in (found, wanted))
    mean = float((theirs.exp() * (theirs - ours)).sum(-1).mean())
    return max(mean, 0.0) if np.isfinite(mean) else float("inf")


def verify(
    bundle: Bundle, model: PhantomForConditionalGeneration, done: Callable[[str], None] = lambda _: None
) -> tuple[Check, ...]:
    """Compare a bundle with its checkpoint, in float32; ``done`` is told of each case."""
    comparison = Comparison(Session(bundle), model)
    checks: list[Check] = []
    for case in cases(bundle):
        checks += comparison.compare(case) or []
        done(case.name)
    return tuple(checks)
