"""The vision tower's first task: the facts of a scene, each at the image tokens that cover it.

The released models start from a vision tower that was pretrained on millions of pictures; ours starts from scratch.
So, before any question, tower and projector learn to predict from each image token the item at its place. The linear
head that reads the facts is discarded afterwards.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Item, Scene, Sign, Solid

MARGIN = 0.25
"""Share of an image token's half side that an item must overlap to count as covered by it."""


def facts_of(item: Item) -> list[str]:
    """Returns all visible facts of ``item``, in words."""
    match item:
        case Solid():
            size = "large" if item.large else "small"
            return ["solid", f"colour {item.colour}", f"shape {item.shape}", f"texture {item.texture}", size]
        case Sign() if item.is_price:
            dollars, cents = item.text[1:].split(".")
            return ["price", f"tens {dollars[:-1]}", f"units {dollars[-1]}", f"cents {cents}"]
        case Sign():
            return ["sign", f"word {item.text}"]
        case Card():
            return ["card", *(f"digit {at} {digit}" for at, digit in enumerate(item.digits))]
        case Arrow():
            return ["arrow", f"colour {item.colour}", f"points {item.direction}"]
        case Dial():
            return ["dial", f"shows {item.value}"]
        case Bars():
            order = [colour for _, colour in sorted(zip(item.heights, item.colours, strict=True))]
            bars = [f"bar {at} {colour}" for at, colour in enumerate(item.colours)]
            return ["bars", *bars, f"lowest {order[0]}", f"highest {order[-1]}"]


def letters_of(item: Item) -> list[tuple[str, float]]:
    """Returns the letters of an upright ``item``, each with its approximate position across."""
    match item:
        case Sign():
            text, widest, pitch = item.text, 1.8, 0.42
        case Card(samples=None):
            text, widest, pitch = item.digits, 1.72, 0.52
        case Card():
            text, widest, pitch = item.digits, 2.0 - 0.68 / len(item.digits), 0.68
        case _:
            return []
    pitch = min(pitch, widest / len(text)) * item.place.radius
    return [(letter, item.place.x + (at - (len(text) - 1) / 2) * pitch) for at, letter in enumerate(text)]


@cache
def fact_numbers() -> dict[str, int]:
    """Returns a number for every possible fact."""
    digits = "0123456789"
    names = ["solid", "large", "small", "price", "sign", "card", "arrow", "dial", "bars", "tens "]
    bars = ("lowest", "highest", *(f"bar {at}" for at in range(4)))
    names += [f"colour {colour}" for colour in graph.COLOURS]
    names += [f"{which} {colour}" for which in bars for colour in graph.BAR_COLOURS]
    names += [f"shape {shape}" for shape in graph.SHAPES] + [f"texture {texture}" for texture in graph.TEXTURES]
    names += [f"word {word}" for word in graph.WORDS] + [f"points {way}" for way in graph.DIRECTIONS]
    names += [f"shows {value}" for value in range(graph.DIAL_MARKS)]
    names += [f"{place} {digit}" for place in ("tens", "units", "digit 0", "digit 1", "digit 2") for digit in digits]
    names += [f"letter {letter}" for letter in sorted(set("".join(graph.WORDS)) | set(digits))]
    names += [f"cents {cents}" for cents in ("00", "50", "90", "99")]
    return {name: number for number, name in enumerate(names)}


def tokens_of(item: Item, side: int) -> Tensor:
    """Returns a mask of the ``side`` x ``side`` image tokens that cover ``item``: (side, side), bool."""
    centres = (torch.arange(side) + 0.5) / side
    reach = item.place.radius + MARGIN / side
    rows, columns = (centres - item.place.y).abs() < reach, (centres - item.place.x).abs() < reach
    return rows[:, None] & columns[None]


def facts_at(scene: Scene, side: int) -> Tensor:
    """Returns the facts at each of ``side`` x ``side`` image tokens: (side * side, facts), 0 or 1, row by row."""
    numbers = fact_numbers()
    held = torch.zeros(side, side, len(numbers))
    for item in scene.items:
        held[tokens_of(item, side), [[numbers[fact]] for fact in facts_of(item)]] = 1
        row = int(item.place.y * side)
        for letter, x in letters_of(item):
            if letter.isalnum():
                held[row, int(x * side), numbers[f"letter {letter}"]] = 1
    return held.view(side * side, -1)


class FactReader(nn.Module):
    """Vision tower, projector and a linear head: tiles to the facts at each of their image tokens."""

    def __init__(self, model: PhantomForConditionalGeneration) -> None:
        super().__init__()
        self.model = model.model  # without the head, whose weight may be the embedding's
        self.norm = nn.LayerNorm(model.config.text.hidden_size)
        self.head = nn.Linear(model.config.text.hidden_size, len(fact_numbers()))
        nn.init.constant_(self.head.bias, -4.0)  # facts are rare

    def forward(self, pixel_values: Tensor, facts: Tensor) -> dict[str, Tensor]:
        """``pixel_values`` (B, 3, S, S), ``facts`` (B, tokens, facts) to the loss, and the recall of facts."""
        return self.read(self.tokens(pixel_values), facts)

    def tokens(self, pixel_values: Tensor) -> Tensor:
        """Returns image tokens (B, tokens, hidden) of tiles (B, 3, S, S)."""
        features: Tensor = self.model.get_image_features(pixel_values, return_dict=True).pooler_output
        return features

    def read(self, tokens: Tensor, facts: Tensor) -> dict[str, Tensor]:
        """Returns the loss of reading ``facts`` off ``tokens``, and the recall of facts."""
        scores = self.head(self.norm(tokens)).float()
        loss = F.binary_cross_entropy_with_logits(scores, facts, reduction="sum") / facts.shape[:2].numel()
        recall = ((scores > 0) & (facts > 0)).sum() / facts.sum().clamp(min=1)
        return {"loss": loss, "recall": recall.detach()}
