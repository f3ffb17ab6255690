"""Runs cases through a bundle, and compares its outputs with its reference's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from phantom_edge.bundle.proof import RELATIVE, Check, Stage
from phantom_edge.export.proof.cases import Case
from phantom_edge.export.proof.measures import Tally
from phantom_edge.export.targets.trials import VISION, Kind, Trial
from phantom_edge.processing.tiling import to_pixel_values
from phantom_edge.runtime.engine import Floats, Ints
from phantom_edge.runtime.session import Session

DECODED = 32
"""Number of tokens of an answer."""

LEAST = 12
"""Minimum length of a prompt stretched to fill a cache, in tokens."""

BLOCK = 64
"""Number of positions to compare at a time: logits over a vocabulary are large."""

STAGES: dict[Kind, dict[Stage, Stage]] = {
    "plain": {},
    "exact": {"vision": "exact vision", "prefill": "exact prefill", "decode": "exact decode"},
    "strict": {"vision": "strict vision", "prefill": "strict prefill", "decode": "strict decode"},
}
"""Stage names of each kind of trial, where they differ from the plain ones."""


@dataclass(frozen=True)
class Seen:
    """A picture's image tokens (tiles * tokens_per_tile, hidden): the bundle's and the reference's."""

    tiles: int
    found: Floats
    wanted: torch.Tensor


@dataclass(frozen=True)
class Read:
    """A case after the bundle's run: the prompt, with image tokens in their places, and the answer."""

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
        """Runs prefill and greedy decoding; None where the case does not fit into the cache."""
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
        """The chunks of a prompt, each with its first position."""
        size = case.chunk or self.manifest.prefill_chunk
        return [(start, embeds[start : start + size]) for start in range(0, len(embeds), size)]


def stretched(ids: Ints, tokens: int) -> Ints:
    """A prompt of ``tokens``: repeats or cuts the ids between its first and its last five."""
    middle = np.resize(ids[5:-5], tokens - 10)
    return np.concatenate([ids[:5], middle, ids[-5:]])


class Judge:
    """Compares a bundle's outputs in a trial with the trial's reference."""

    def __init__(self, trial: Trial, session: Session) -> None:
        self.trial, self.reference, self.runner = trial, trial.reference, Runner(session)

    def compare_image(self, image: Image.Image, wanted: torch.Tensor | None = None) -> tuple[Seen, list[Check]]:
        """Encodes a picture with both, and compares; ``wanted`` are the reference's image tokens, if known."""
        pixels, tally = to_pixel_values(image, self.runner.session.tiling), Tally()
        if wanted is None:
            wanted = self.reference.image_tokens(torch.from_numpy(pixels))
        seen = Seen(len(pixels), self.runner.engine.encode_images(pixels), wanted)
        tally.add(seen.found, wanted, is_logits=False)
        return seen, self._checks("vision", f"{seen.tiles} tile{'s' * (seen.tiles > 1)}", tally)

    def prompt(self, read: Read, seen: Sequence[Seen]) -> torch.Tensor:
        """The reference's embeddings of prompt and answer."""
        embeds = self.reference.embed(torch.from_numpy(np.concatenate([read.ids, read.answer])))
        if seen:
            places = np.flatnonzero(read.ids == self.runner.manifest.prompt.image_token)
            embeds[torch.from_numpy(places)] = torch.cat([one.wanted for one in seen])
        return embeds

    def compare(self, read: Read, hidden: torch.Tensor) -> list[Check]:
        """Compares prompt and answer of a case; ``hidden`` are the reference's last hidden states."""
        prefill, decode = Tally(), Tally()
        for start, part in self.runner.chunks(read.case, read.embeds):
            found = self.runner.engine.forward(part, start, np.arange(len(part)))
            self._add(prefill, found, hidden[start : start + len(part)])
        self._add(decode, read.decoded, hidden[len(read.ids) :])
        return [*self._checks("prefill", read.case.name, prefill), *self._checks("decode", read.case.name, decode)]

    def _checks(self, stage: Stage, case: str, tally: Tally) -> list[Check]:
        shown = STAGES[self.trial.kind].get(stage, stage)
        return [
            Check(shown, case, measure, value, self._bound(stage, measure), self.trial.form)  # type: ignore[arg-type]
            for measure, value in tally.measures().items()
        ]

    def _bound(self, stage: str, measure: str) -> float | None:
        return self.trial.bounds.get(VISION if (stage, measure) == ("vision", RELATIVE) else measure)

    def _add(self, tally: Tally, found: Floats, hidden: torch.Tensor) -> None:
        for start in range(0, len(found), BLOCK):
            wanted = self.reference.logits(hidden[start : start + BLOCK])
            tally.add(found[start : start + BLOCK], wanted, is_logits=True)
