"""From a seed to a scene graph. Same split and seed, same scene; two splits never share one."""

from random import Random
from typing import Literal, get_args

from phantom_edge.data.scenes.graph import Item, Place, Scene
from phantom_edge.data.scenes.items import GRID, appearance, make_item, moved
from phantom_edge.data.scenes.layouts import EXTRAS, fine_scene, wide_scene

SPLITS = ("train", "validation", "test")
Mix = Literal["plain", "rich", "crowded", "wide", "fine"]
"""Contents of scenes: ``plain`` to measure a model, ``rich`` with one of each item to read, ``crowded`` with several
of a kind: to train vision, not to ask for "the sign". These are square. The others have any shape: ``wide`` is plain
otherwise, ``fine`` has small signs, small dials and rows of small shapes that only tiles show."""
MIXES: tuple[Mix, ...] = get_args(Mix)
CROWDED_WEIGHTS = (4, 4, 1, 2, 2)
CROWDED_EXTRAS = 6


def make_scene(seed: int, split: str = "train", mix: Mix = "plain", pixels: tuple[int, int] | None = None) -> Scene:
    """Returns the scene of ``seed`` in ``split``; ``validation`` and ``test`` share no handwriting with ``train``.

    ``pixels``, width and height of a ``wide`` or ``fine`` picture, are drawn unless they are given.
    """
    assert split in SPLITS, split
    key = f"{split}/{seed}" if mix == "plain" else f"{split}/{seed}/{mix}"
    if mix in ("wide", "fine"):
        layout = wide_scene if mix == "wide" else fine_scene
        return layout(f"{key}/{pixels[0]}x{pixels[1]}" if pixels else key, pixels, held_out=split != "train")
    assert pixels is None, mix
    random = Random(key)
    count = {"plain": random.randint(2, 6), "rich": random.randint(6, 8), "crowded": GRID * GRID}[mix]
    cells = random.sample(range(GRID * GRID), k=count)
    extras = {
        "plain": random.sample(EXTRAS, k=min(count - 1, random.randint(0, 3))),
        "rich": list(EXTRAS),
        "crowded": random.choices(EXTRAS, weights=CROWDED_WEIGHTS, k=CROWDED_EXTRAS),
    }[mix]
    items: list[Item] = []
    for cell, kind in zip(cells, [*extras, *["solid"] * count], strict=False):
        row, column = divmod(cell, GRID)
        middle = Place((column + 0.5) / GRID, (row + 0.5) / GRID, 0.33 / GRID)
        item = make_item(kind, middle, random, held_out=split != "train", taken=items)
        items.append(moved(item, random))
    items.sort(key=lambda item: (round(item.place.y * GRID - 0.5), item.place.x))  # reading order
    return Scene(key, tuple(items), appearance(random))
