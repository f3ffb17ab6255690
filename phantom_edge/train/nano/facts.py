"""The vision tower's first task: the facts of a scene, each at the image tokens that cover it.

The released models start from a vision tower that was pretrained on millions of pictures; ours starts from scratch.
So, before any question, tower and projector learn to predict from each image token the item at its place. The linear
head that reads the facts is discarded afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import floor

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Item, Scene, Sign, Solid
from phantom_edge.data.scenes.items import reach
from phantom_edge.data.scenes.layouts import LETTER

MARGIN = 0.25
"""Share of an image token's half side that an item must overlap to count as covered by it."""


@dataclass(frozen=True)
class Window:
    """A part of a scene, as one tile shows it, in shorter sides of the scene.

    A thumbnail does not ``resolve`` small things.
    """

    x: float
    y: float
    width: float
    height: float
    resolves: bool = True

    def place(self, x: float, y: float, steps: int) -> tuple[int, int] | None:
        """Returns column and row of a point among ``steps`` x ``steps``; None outside."""
        column, row = floor((x - self.x) / self.width * steps), floor((y - self.y) / self.height * steps)
        return (column, row) if 0 <= column < steps and 0 <= row < steps else None


def windows_of(scene: Scene, columns: int, rows: int) -> list[Window]:
    """Returns the part that each tile of a grid shows, row by row, then, of several, that of the thumbnail."""
    width, height = scene.width / columns, scene.height / rows
    tiles = [Window(column * width, row * height, width, height) for row in range(rows) for column in range(columns)]
    return tiles if len(tiles) == 1 else [*tiles, replace(whole(scene), resolves=False)]


def whole(scene: Scene) -> Window:
    """Returns all of a scene."""
    return Window(0, 0, scene.width, scene.height)


def items_in(scene: Scene, seen: Window) -> Iterator[Item]:
    """Yields the items of a scene, and where a window resolves them the small ones and those of rows."""
    for item in scene.items:
        if seen.resolves or not getattr(item, "small", False):
            yield item
    for row in scene.rows if seen.resolves else ():
        yield from row.members


def covered_in(scene: Scene, side: int, seen: Window) -> Iterator[tuple[Item, Tensor]]:
    """Yields the items that a tile shows, and the ``side`` x ``side`` image tokens that cover each: bool."""
    for item in items_in(scene, seen):
        reached = max(item.place.radius, *reach(item)) + MARGIN * max(seen.width, seen.height)
        across, down = item.place.x - seen.x, item.place.y - seen.y
        if -reached < across < seen.width + reached and -reached < down < seen.height + reached:
            yield item, tokens_of(item, side, seen)


def facts_of(item: Item) -> list[str]:
    """Returns all visible facts of ``item``, in words; of one that nobody can read, only its kind."""
    if getattr(item, "spoiled", ""):
        return ["price" if isinstance(item, Sign) and item.is_price else type(item).__name__.lower()]
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
    """Returns the letters of an upright ``item`` that can be read, each with its approximate position across."""
    if getattr(item, "spoiled", ""):
        return []
    match item:
        case Sign(small=True) | Card(small=True):
            text = item.text if isinstance(item, Sign) else item.digits
            widest, pitch = 1.9, LETTER * SMALL_PITCH
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


SMALL_PITCH = 0.82
"""Distance of letters on small boards in heights of a capital letter."""


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


def tokens_of(item: Item, side: int, seen: Window) -> Tensor:
    """Returns a mask of the ``side`` x ``side`` image tokens of a tile that cover ``item``: (side, side), bool."""
    steps = (torch.arange(side) + 0.5) / side
    across, down = reach(item) if getattr(item, "small", False) else (item.place.radius, item.place.radius)
    token = seen.width / side, seen.height / side
    across, down = max(across + MARGIN * token[0], token[0] / 2), max(down + MARGIN * token[1], token[1] / 2)
    rows = (seen.y + steps * seen.height - item.place.y).abs() <= down
    columns = (seen.x + steps * seen.width - item.place.x).abs() <= across
    return rows[:, None] & columns[None]


def facts_at(scene: Scene, side: int, seen: Window | None = None) -> Tensor:
    """Returns the facts at each of ``side`` x ``side`` image tokens: (side * side, facts), 0 or 1, row by row.

    ``seen`` is the part that a tile shows, by default all.
    """
    numbers, seen = fact_numbers(), seen or whole(scene)
    held = torch.zeros(side, side, len(numbers))
    for item, covered in covered_in(scene, side, seen):
        held[covered, [[numbers[fact]] for fact in facts_of(item)]] = 1
        for letter, x in letters_of(item):
            if letter.isalnum() and (at := seen.place(x, item.place.y, side)) is not None:
                held[at[1], at[0], numbers[f"letter {letter}"]] = 1
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
