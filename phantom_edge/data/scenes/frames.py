"""Sequences: a scene of any shape over several frames, with questions about what changed from one to another."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Item, Place, Scene, Solid
from phantom_edge.data.scenes.items import make_item, reach
from phantom_edge.data.scenes.layouts import in_reading_order
from phantom_edge.data.scenes.misses import Question, shuffled, with_misses
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.data.scenes.shapes import GRIDS, draw_pixels
from phantom_edge.data.scenes.unanswerable import unknown

KIND = "change"
FRAME_GRIDS = tuple(grid for grid in GRIDS if grid[0] * grid[1] <= 2)
"""Grids of a sequence's pictures: two pictures have to fit a prompt."""
SPEED = (0.03, 0.09)
"""Distance that a mover goes from a frame to the next, in shorter sides."""
STILL_SHARE = 0.4
"""Share of pairs without any movement, or change of colour, in which these are asked about all the same."""
EVENT_SHARE = 0.35
"""Probability that something vanishes, appears or changes its colour from a frame to the next."""
MOVED, STILL = 0.15, 0.001
"""Distance from which on something has moved, and up to which it has not, in shorter sides."""


@dataclass(frozen=True)
class Clip:
    """A sequence. Each of ``tracks`` is one item over all frames, None where it is not there."""

    empty: Scene
    tracks: tuple[tuple[Item | None, ...], ...]

    def scene(self, frame: int) -> Scene:
        """Returns the scene of a ``frame``, counted from 0."""
        items = [item for track in self.tracks if (item := track[frame]) is not None]
        return replace(self.empty, items=in_reading_order(items), frame=frame)


def frames(seed: int, count: int, split: str = "train", pixels: tuple[int, int] | None = None) -> Clip:
    """Returns ``count`` frames of a moving scene; same arguments, same frames.

    One or two items move in straight lines and turn back at others and at the edge. Now and then an item vanishes or
    appears, or a shape changes its colour. ``pixels`` are drawn, up to two tiles, unless they are given.
    """
    random = Random(f"{split}/{seed}/frames/{pixels}")
    scene = make_scene(seed, split, "wide", pixels or draw_pixels(random, FRAME_GRIDS))
    now: list[Item | None] = list(scene.items)
    ways: list[tuple[float, float]] = [(0.0, 0.0)] * len(now)
    for at in random.sample(range(len(now)), k=min(len(now), random.randint(1, 2))):
        speed, across = random.uniform(*SPEED), random.random() < 0.5
        sign = random.choice((-1, 1))
        ways[at] = (sign * speed, 0.0) if across else (0.0, sign * speed)
    history = [list(now)]
    for _ in range(count - 1):
        for at, item in enumerate(now):
            if item and ways[at] != (0.0, 0.0):
                now[at], ways[at] = _stepped(item, ways[at], scene, [i for i in now if i and i is not item])
        if random.random() < EVENT_SHARE:
            random.choice((_vanish, _appear, _recolour))(now, ways, scene, random, held_out=split != "train")
        ways += [(0.0, 0.0)] * (len(now) - len(ways))
        history.append(list(now))
    tracks = tuple(tuple(frame[at] if at < len(frame) else None for frame in history) for at in range(len(history[-1])))
    return Clip(replace(scene, items=()), tracks)


def _stepped(
    item: Item, way: tuple[float, float], scene: Scene, others: list[Item]
) -> tuple[Item, tuple[float, float]]:
    """Returns the item one step on, or where something is in its way, in its place with the opposite way."""
    place = Place(round(item.place.x + way[0], 5), round(item.place.y + way[1], 5), item.place.radius)
    moved = replace(item, place=place)
    return (moved, way) if _is_free(moved, scene, others) else (item, (-way[0], -way[1]))


def _is_free(item: Item, scene: Scene, others: list[Item]) -> bool:
    across, down = reach(item)
    x, y = item.place.x, item.place.y
    if not (across <= x <= scene.width - across and down <= y <= scene.height - down):
        return False
    return all(
        abs(x - other.place.x) >= across + reach(other)[0] or abs(y - other.place.y) >= down + reach(other)[1]
        for other in others
    )


Ways = list[tuple[float, float]]


def _vanish(now: list[Item | None], ways: Ways, scene: Scene, random: Random, *, held_out: bool) -> None:
    there = [at for at, item in enumerate(now) if item]
    if len(there) > 1:
        now[random.choice(there)] = None


def _appear(now: list[Item | None], ways: Ways, scene: Scene, random: Random, *, held_out: bool) -> None:
    there = [item for item in now if item]
    used = {item.name for item in scene.items} | {item.name for item in there}
    item = make_item("solid", Place(0, 0, 0.11), random, held_out=held_out, taken=[])
    for _ in range(20):
        x, y = random.uniform(0, scene.width), random.uniform(0, scene.height)
        placed = replace(item, place=Place(round(x, 5), round(y, 5), item.place.radius))
        if placed.name not in used and _is_free(placed, scene, there):
            now.append(placed)
            return


def _recolour(now: list[Item | None], ways: Ways, scene: Scene, random: Random, *, held_out: bool) -> None:
    solids = [(at, item) for at, item in enumerate(now) if isinstance(item, Solid)]
    if solids:
        at, solid = random.choice(solids)
        now[at] = replace(solid, colour=random.choice([c for c in graph.COLOURS if c != solid.colour]))


def ask_about_change(clip: Clip, first: int, second: int, round: int = 0) -> list[Question]:
    """Returns questions about two pictures, frames ``first`` and ``second`` of ``clip``, in a fixed order."""
    random = Random(f"changes of {clip.empty.key}, {first} to {second}, round {round}")
    pairs = [(track[first], track[second]) for track in clip.tracks]
    made = [maker(pairs, random) for maker in CHANGES]
    return [question for question in made if question]


Pairs = list[tuple[Item | None, Item | None]]
WAYS = ("left", "right", "up", "down")
NOWHERE = "nowhere"


def _unique(pairs: Pairs) -> list[tuple[Item, Item]]:
    """Returns items that are in both pictures, whose name belongs to no other in either, and stays."""
    counts = [[item.name for item in side if item] for side in zip(*pairs, strict=True)]
    return [
        (one, two)
        for one, two in pairs
        if one and two and one.name == two.name and all(count.count(one.name) == 1 for count in counts)
    ]


def _asks_way(pairs: Pairs, random: Random) -> Question | None:
    """Asks which way something moved; not where it moved but little, or as far across as up or down."""
    found = []
    for one, two in _unique(pairs):
        across, down = two.place.x - one.place.x, two.place.y - one.place.y
        far, near = max(abs(across), abs(down)), min(abs(across), abs(down))
        if far <= STILL:
            found.append((one.name, NOWHERE))
        elif far >= MOVED and near < far / 2:
            sideways = abs(across) > abs(down)
            found.append((one.name, ("left", "right")[across > 0] if sideways else ("up", "down")[down > 0]))
    moved = [pair for pair in found if pair[1] != NOWHERE]
    if not found or (not moved and random.random() >= STILL_SHARE):
        return None
    name, answer = random.choice(moved if moved and random.random() < 0.8 else found)
    near_misses = [NOWHERE, *shuffled(list(WAYS), random)] if answer != NOWHERE else shuffled(list(WAYS), random)
    return with_misses(KIND, f"Which way did the {name} move?", answer, near_misses)


def _asks_what(pairs: Pairs, random: Random, verb: str, at: int) -> Question | None:
    """Asks what vanished or appeared, where that is one thing or nothing."""
    gone = [pair[at].name for pair in pairs if pair[at] and not pair[1 - at]]  # type: ignore[union-attr]
    there = sorted({item.name for pair in pairs for item in pair if item})
    if len(gone) > 1:
        return None
    answer = f"the {gone[0]}" if gone else "nothing"
    near_misses = [f"the {name}" for name in shuffled(there, random)][:2]
    return with_misses(KIND, f"What {verb}?", answer, [*near_misses, "nothing"])


def _asks_vanished(pairs: Pairs, random: Random) -> Question | None:
    return _asks_what(pairs, random, "vanished", 0)


def _asks_appeared(pairs: Pairs, random: Random) -> Question | None:
    return _asks_what(pairs, random, "appeared", 1)


def _asks_colour(pairs: Pairs, random: Random) -> Question | None:
    """Asks which colour a shape has in the second picture, where it is the one shape of its kind in both."""
    solids = [(one, two) for one, two in pairs if isinstance(one, Solid) and isinstance(two, Solid)]
    sides = [[item.shape for item in side if isinstance(item, Solid)] for side in zip(*pairs, strict=True)]
    single = [(one, two) for one, two in solids if all(side.count(one.shape) == 1 for side in sides)]
    changed = [(one, two) for one, two in single if one.colour != two.colour]
    if not single or (not changed and random.random() >= STILL_SHARE):
        return None
    one, two = random.choice(changed or single)
    near_misses = [one.colour] if one.colour != two.colour else []
    others = [colour for colour in graph.COLOURS if colour not in (one.colour, two.colour)]
    return with_misses(
        KIND, f"Which colour does the {one.shape} turn?", _turn(one, two), [*near_misses, *shuffled(others, random)]
    )


def _turn(one: Solid, two: Solid) -> str:
    return two.colour if one.colour != two.colour else "it stays"


def _asks_missing(pairs: Pairs, random: Random) -> Question | None:
    """Asks which way something moved that is in neither picture."""
    there = {item.name for pair in pairs for item in pair if item}
    name = f"{random.choice(list(graph.COLOURS))} {random.choice(graph.SHAPES)}"
    if name in there or random.random() < 0.5:
        return None
    guess = random.choice(WAYS)
    return unknown(Question(KIND, f"Which way did the {name} move?", guess, (NOWHERE,)))


CHANGES: tuple[Callable[[Pairs, Random], Question | None], ...] = (
    _asks_way,
    _asks_vanished,
    _asks_appeared,
    _asks_colour,
    _asks_missing,
)
