"""The reference for every bundle: the checkpoint, computed in float32 with one layer in memory at a time.

It runs the modules of ``phantom_edge.models`` over a whole prompt at once and without a cache.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from phantom_edge.checkpoint.quantized.inputs import fix_inputs
from phantom_edge.checkpoint.source import Source
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.decoder import RMSNorm
from phantom_edge.models.modeling import PhantomModel
from phantom_edge.models.rope import rotary_tables
from phantom_edge.models.tensor_names import DECODER, EMBEDDING, HEAD

Place = tuple[tuple[Tensor, Tensor], Tensor | None]
"""Rotary tables and mask of a prompt."""

PICTURE_PARTS = ("vision_tower", "projector")


class Reference:
    """A checkpoint that computes, slowly and in little memory."""

    def __init__(self, source: Source) -> None:
        self.source, self.config = source, source.config
        text = source.config.text
        self.norm = RMSNorm(text.hidden_size, text.rms_norm_eps)
        self.norm.weight.data = source.read(f"{DECODER}norm.weight").float()
        self.head = source.read(EMBEDDING if text.tie_word_embeddings else HEAD).float()
        self.table = self.head if text.tie_word_embeddings else source.read(EMBEDDING)
        self.pictures: PhantomModel | None = None

    @torch.no_grad()
    def image_tokens(self, pixel_values: Tensor) -> Tensor:
        """Tiles (T, 3, S, S) to (T * tokens_per_tile, hidden)."""
        features: Tensor = self.vision_model().get_image_features(pixel_values).pooler_output
        return features.flatten(0, 1)

    def vision_model(self) -> PhantomModel:
        """Vision tower and projector alone; static inputs are clamped and not rounded."""
        if self.pictures is None:
            with torch.device("meta"):
                model = PhantomModel(self.config).eval()
            for name in PICTURE_PARTS:
                part = getattr(model, name)
                weights = {key: self.source.read(f"model.{name}.{key}").float() for key in part.state_dict()}
                part.load_state_dict(weights, assign=True)
            if self.source.integers is not None:
                fix_inputs(model, self.source.integers.about.inputs, "model.", rounds=False)
            self.pictures = model
        return self.pictures

    def release_vision(self) -> None:
        """Free the vision model, until the next picture."""
        self.pictures = None

    def embed(self, ids: Tensor) -> Tensor:
        """Rows (N, hidden) of the embedding."""
        return self.table[ids].float()

    @torch.no_grad()
    def hidden(self, prompts: Sequence[Tensor], done: Callable[[], None] = lambda: None) -> list[Tensor]:
        """Embeddings (N, hidden) of several prompts to hidden states after the last norm; ``done`` after each layer."""
        places = [place_of(self.config.text, len(prompt)) for prompt in prompts]
        states = [prompt[None] for prompt in prompts]
        for layer in self.source.layers("sdpa"):
            states = through(layer, states, places)
            done()
        return [self.norm(state)[0] for state in states]

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """(N, hidden) to (N, vocab)."""
        return hidden @ self.head.T


def place_of(text: PhantomTextConfig, tokens: int) -> Place:
    """Rotary tables and mask of a prompt of ``tokens``, from position 0 on."""
    return rotary_tables(text, torch.arange(tokens)[None]), window_mask(tokens, text.sliding_window)


def through(layer: nn.Module, states: Sequence[Tensor], places: Sequence[Place]) -> list[Tensor]:
    """Hidden states (1, N, hidden) of several prompts after a layer of the decoder."""
    return [layer(state, rope, attention_mask=mask) for state, (rope, mask) in zip(states, places, strict=True)]


def window_mask(tokens: int, window: int | None) -> Tensor | None:
    """Mask (1, 1, N, N), True where a query attends; None stands for causal."""
    if window is None or window >= tokens:
        return None
    places = torch.arange(tokens)
    behind = places[:, None] - places
    return ((behind >= 0) & (behind < window))[None, None]
