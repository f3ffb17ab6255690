"""Best trade-offs of size and damage: a choice for each unit, where both add up over units."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

MOST = 20_000
"""Maximum number of points of a front in the making; beyond it, neighbours are thinned out."""


@dataclass(frozen=True)
class Choice:
    """One way to store a unit: its bytes, and its damage."""

    name: str
    bytes: int
    damage: float


@dataclass(frozen=True)
class Point:
    """A choice for each unit, and their total bytes and damage."""

    bytes: int
    damage: float
    choices: tuple[str, ...]


def pareto_front(units: Sequence[Sequence[Choice]]) -> list[Point]:
    """Points that no other beats in both size and damage, the smallest first.

    Exact while there are at most ``MOST`` of them after each unit; beyond that, the least damaging of neighbours in
    size stays.
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
    """The least damaging point of at most ``bytes_``, or the smallest of at most ``damage``; None without one."""
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
    for point in front:  # later points of a bucket are larger and do less damage
        kept[(point.bytes - first) * (MOST - 1) // (last - first)] = point
    return list({id(point): point for point in (front[0], *kept.values())}.values())
