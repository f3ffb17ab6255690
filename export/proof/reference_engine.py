"""Engines for golden files: the checkpoint itself, and an answer that was read before."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from phantom_edge.bundle.manifest import Manifest
from phantom_edge.reference import Reference
from phantom_edge.runtime.engine import Floats, Ints
from phantom_edge.runtime.watched import Run


class ReferenceEngine:
    """The checkpoint in float32, without a cache: every step is a pass over all layers and the whole prompt.

    Pictures that it has encoded are kept.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.rows = torch.zeros(0, reference.config.text.hidden_size)
        self.pictures: dict[bytes, Floats] = {}

    def encode_images(self, pixel_values: Floats) -> Floats:
        """See Engine."""
        key = pixel_values.tobytes()
        if key not in self.pictures:
            self.pictures[key] = self.reference.image_tokens(torch.from_numpy(pixel_values)).numpy()
        return self.pictures[key]

    def embed(self, ids: Ints) -> Floats:
        """See Engine."""
        return self.reference.embed(torch.from_numpy(ids)).numpy()

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        self.rows = torch.cat([self.rows[:start], torch.from_numpy(embeds)])
        if not len(keep):
            return np.zeros((0, self.reference.config.text.vocab_size), np.float32)
        (hidden,) = self.reference.hidden([self.rows])
        return self.reference.logits(hidden[start + torch.from_numpy(keep)]).numpy()


class Replay:
    """Logits of an answer (steps, vocab), one after another, for whatever a session asks."""

    def __init__(self, manifest: Manifest, logits: Floats) -> None:
        self.width, self.tokens = manifest.model.hidden_size, manifest.pictures.tokens_per_tile
        self.logits: Iterator[Floats] = iter(logits)

    def encode_images(self, pixel_values: Floats) -> Floats:
        """See Engine."""
        return np.zeros((len(pixel_values) * self.tokens, self.width), np.float32)

    def embed(self, ids: Ints) -> Floats:
        """See Engine."""
        return np.zeros((len(ids), self.width), np.float32)

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        return np.stack([next(self.logits) for _ in keep]) if len(keep) else np.zeros((0, 1), np.float32)


def read_answers(
    reference: Reference, image_token: int, runs: Sequence[tuple[Run, Sequence[Floats]]], done: Callable[[], None]
) -> list[Floats]:
    """The reference's logits (steps, vocab) of answers that a bundle gave, each with its pictures' image tokens.

    All are read in one pass; ``done`` is called after each layer.
    """
    prompts: list[Tensor] = []
    for run, pictures in runs:
        rows = reference.embed(torch.from_numpy(np.concatenate([run.ids, np.array(run.answer.ids, np.int64)])))
        if pictures:
            places = torch.from_numpy(np.flatnonzero(run.ids == image_token))
            rows[places] = torch.from_numpy(np.concatenate(list(pictures)))
        prompts.append(rows)
    hidden = reference.hidden(prompts, done) if prompts else []
    return [
        reference.logits(states[len(run.ids) - 1 : len(run.ids) - 1 + len(run.answer.ids)]).numpy()
        for states, (run, _) in zip(hidden, runs, strict=True)
    ]
