"""Which choice for each unit: the best trade of size and damage, where both add up over units."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

MOST = 20_000
"""Points of a front that is being built; beyond, neighbours are thinned out."""


@dataclass(frozen=True)
class Choice:
    """One way to store a unit: its bytes, and the damage that it does."""

    name: str
    bytes: int
    damage: float


@dataclass(frozen=True)
class Point:
    """A choice for each unit, and what they come to."""

    bytes: int
    damage: float
    choices: tuple[str, ...]


def pareto_front(units: Sequence[Sequence[Choice]]) -> list[Point]:
    """The points that no other one beats in both, the smallest first.

    Exact as long as there are no more than ``MOST`` of them, unit for unit; beyond, of neighbours in size the one with
    the least damage stays.
    """
    front = [Point(0, 0.0, ())]
    for choices in units:
        merged = [
            Point(point.bytes + choice.bytes, point.damage + choice.damage, (*point.choices, choice.name))
            for point in front
            for choice in choices
        ]
        front = _thinned(_undominated(merged))
    return front


def within(front: Sequence[Point], *, bytes_: int | None = None, damage: float | None = None) -> Point | None:
    """The point of least damage that is no larger than ``bytes_``, or the smallest that does no more ``damage``.

    None where there is none.
    """
    if bytes_ is not None:
        place = bisect_right([point.bytes for point in front], bytes_)
        return front[place - 1] if place else None
    assert damage is not None
    return next((point for point in front if point.damage <= damage), None)


def _undominated(points: list[Point]) -> list[Point]:
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.bytes, one.damage)):
        if not found or point.damage < found[-1].damage:
            found.append(point)
    return found


def _thinned(front: list[Point]) -> list[Point]:
    if len(front) <= MOST:
        return front
    first, last = front[0].bytes, front[-1].bytes
    kept: dict[int, Point] = {}
    for point in front:  # later ones of a bucket are larger and do less
        kept[(point.bytes - first) * (MOST - 1) // (last - first)] = point
    return list({id(point): point for point in (front[0], *kept.values())}.values())
