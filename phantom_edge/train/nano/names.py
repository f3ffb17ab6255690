"""The vision tower's second task: the items of a scene in the language model's own words, and their positions.

The released models align their projector with the words of a pretrained language model. Here a word is read off an
image token with the very vector that the language model embeds the word with, so that one map from pictures to words
serves all words at once, instead of one learned for each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Arrow, Item, Scene, Sign, Solid
from phantom_edge.train.nano.facts import FactReader, Window, covered_in, whole

WORDS = (*graph.COLOURS, *graph.SHAPES, *graph.WORDS, *graph.DIRECTIONS)
PLACES = 8
"""Number of positions distinguished across, and as many down."""


def words_of(item: Item) -> list[str]:
    """Returns the words that name ``item``, none where nobody can read them."""
    if getattr(item, "spoiled", ""):
        return []
    match item:
        case Solid():
            return [item.colour, item.shape]
        case Sign() if not item.is_price:
            return [item.text]
        case Arrow():
            return [item.colour, item.direction]
        case _:
            return []


def names_at(scene: Scene, side: int, seen: Window | None = None) -> Tensor:
    """Returns words and position of the item at each image token: (side * side, words + 2 * PLACES), 0 or 1.

    ``seen`` is the part that a tile shows, by default all; an item has a position where its middle is in it.
    """
    held, seen = torch.zeros(side, side, len(WORDS) + 2 * PLACES), seen or whole(scene)
    for item, covered in covered_in(scene, side, seen):
        named = [WORDS.index(word) for word in words_of(item)]
        if (at := seen.place(item.place.x, item.place.y, PLACES)) is not None:
            named += [len(WORDS) + at[0], len(WORDS) + PLACES + at[1]]
        held[covered] = held[covered].index_fill(-1, torch.tensor(named, dtype=torch.long), 1.0)
    return held.view(side * side, -1)


class NameReader(nn.Module):
    """A FactReader that also reads words, with the embeddings of ``model``, and places, with a linear head."""

    def __init__(self, model: PhantomForConditionalGeneration, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.facts = FactReader(model)
        width = model.config.text.hidden_size
        ids = [tokenizer.encode(word, add_special_tokens=False) for word in WORDS]
        assert all(len(pieces) == 1 for pieces in ids)
        table: Tensor = model.model.language_model.embed_tokens.weight
        self.vectors: Tensor
        self.register_buffer("vectors", F.normalize(table[[pieces[0] for pieces in ids]].detach(), dim=-1))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.places = nn.Linear(width, 2 * PLACES)
        self.bias = nn.Parameter(torch.full((len(WORDS),), -4.0))  # words are rare
        nn.init.constant_(self.places.bias, -4.0)

    def forward(self, pixel_values: Tensor, facts: Tensor, names: Tensor) -> dict[str, Tensor]:
        """``pixel_values`` (B, 3, S, S), ``facts`` (B, tokens, facts), ``names`` (B, tokens, names) to the loss."""
        tokens = self.facts.tokens(pixel_values)
        normed = F.rms_norm(tokens, tokens.shape[-1:])  # as the language model's first norm does
        words = self.scale * (normed @ self.vectors.T.to(normed.dtype)) + self.bias
        scores = torch.cat([words, self.places(normed)], dim=-1).float()
        read = self.facts.read(tokens, facts)
        loss = F.binary_cross_entropy_with_logits(scores, names, reduction="sum") / names.shape[:2].numel()
        named = ((scores > 0) & (names > 0)).sum() / names.sum().clamp(min=1)
        return {"loss": read["loss"] + loss, "recall": read["recall"], "named": named.detach()}
