"""Recipe search: the cheapest scheme for each unit of a model, under a bound on size or divergence."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from phantom_edge.checkpoint.quantized.schemes import FLOAT
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import check_target, whole_folder
from phantom_edge.foundation.json_file import parse_json, regular
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import unfinished
from phantom_edge.foundation.versions import __version__
from phantom_edge.quantize.bound import CHOICES, Bound, check_choices
from phantom_edge.quantize.calibration import Calibration, digest_of, read_samples
from phantom_edge.quantize.damage import Judge, Unit, units_of
from phantom_edge.quantize.front import draw_front
from phantom_edge.quantize.knapsack import Choice, Point, pareto_front, within
from phantom_edge.quantize.recipe import Recipe, Rule, to_toml

TRIES = 12
"""Maximum number of mixtures measured in search of one within the divergence."""

RECIPE, DAMAGE, FRONT = "recipe.toml", "damage.json", "front.png"


@dataclass(frozen=True)
class Measured:
    """A mixture: megabytes of weights, and the measured divergence from the float model.

    ``predicted`` is the sum of the divergences of its units, each measured alone.
    """

    name: str
    megabytes: float
    predicted: float
    divergence: float


@dataclass(frozen=True)
class Mixture:
    """The chosen recipe, beside uniform schemes; and its Pareto front: (megabytes, predicted divergence).

    ``unseen`` are units that stay float, because the data have no pictures to measure them on.
    """

    recipe: Recipe
    chosen: Measured
    uniform: tuple[Measured, ...]
    front: tuple[tuple[float, float], ...]
    units: dict[str, str]
    unseen: tuple[str, ...] = ()


def mix(
    folder: Path,
    bound: Bound,
    calibration: Calibration,
    out: Path,
    *,
    choices: Sequence[str] = CHOICES,
    force: bool = False,
    begin: Progress = lambda _what, _total: lambda _step: None,
) -> Mixture:
    """Writes to ``out`` the best recipe within ``bound``, its measurements, and a plot of the front.

    Raises EdgeError for a user's mistake, and where no mixture keeps the bound. After an interruption, the same call
    resumes with the missing units.
    """
    source = Source.open(folder)
    if source.integers is not None:
        raise EdgeError(f"{folder} is quantized already", "give the checkpoint that it was made from")
    check_choices(choices)
    check_target(out, force)
    samples = read_samples(calibration.triples, source, calibration.samples, with_pictures=False)
    is_seen = any(sample.pixels is not None for sample in samples)
    every = units_of(source)
    units = [unit for unit in every if is_seen or not unit.is_visual]
    unseen = tuple(unit.name for unit in every if unit not in units)
    about = {
        "by": __version__,
        "model": source.fingerprint(partial(begin, "reading")),
        "samples": digest_of(samples),
        "choices": list(choices),
    }
    decided = {name for unit in units for name in unit.shapes}
    rest = sum(tensor.bytes for tensor in source.tensors.values() if tensor.name not in decided)
    with unfinished(out, about) as parts:
        judge = Judge(source, samples)
        step = begin("measuring", len(units))
        for number, unit in enumerate(units):
            parts.part(f"unit {number}", partial(_measure, judge, unit, choices, number))
            step(1)
        options = [_options(parts.folder / _file(number), unit, source) for number, unit in enumerate(units)]
        front = pareto_front(options)
        uniform = [
            (name, [next(one for one in found if one.name == name) for found in options])
            for name in choices
            if all(unit.fits(name) for unit in units)
        ]
        step = begin("checking", len(uniform) + 1)

        def check(name: str, made: Sequence[Choice]) -> Measured:
            return _check(name, made, units, judge, rest)

        point, chosen = _chosen(front, bound, rest, lambda one: check("mixture", _named(options, one)))
        step(1)
        measured = [chosen]
        for name, made in uniform:
            measured.append(check(name, made))
            step(1)
        mixture = Mixture(
            _recipe(units, point.choices),
            measured[0],
            tuple(measured[1:]),
            tuple(((one.bytes + rest) / 1e6, one.damage) for one in _some(front)),
            {unit.name: choice for unit, choice in zip(units, point.choices, strict=True)},
            unseen,
        )
        with whole_folder(out, force=force) as place:
            _write(mixture, bound, options, units, place)
        parts.discard()
    return mixture


def _measure(judge: Judge, unit: Unit, choices: Sequence[str], number: int, folder: Path) -> None:
    found = {
        name: judge.damage(dict.fromkeys(unit.shapes, name), unit.layer) if name != FLOAT else 0.0
        for name in choices
        if unit.fits(name)
    }
    (folder / _file(number)).write_text(json.dumps(found), encoding="utf-8")


def _file(number: int) -> str:
    return f"unit-{number:03d}.json"


def _options(file: Path, unit: Unit, source: Source) -> list[Choice]:
    damages: dict[str, float] = parse_json(regular(file).read_text(encoding="utf-8"))
    if not damages:
        raise EdgeError(f"none of the choices divides the rows of {unit.name}", f"add {FLOAT} or int8 to --choices")
    return [Choice(name, unit.bytes(name, source), damage) for name, damage in damages.items()]


def _chosen(
    front: Sequence[Point], bound: Bound, rest: int, measure: Callable[[Point], Measured]
) -> tuple[Point, Measured]:
    """The best point within the bound, and its measurement: together, units may diverge by more than their sum."""
    if bound.megabytes is not None:
        point = within(front, bytes_=int(bound.megabytes * 1e6) - rest)
        least = (front[0].bytes + rest) / 1e6
        if point is None:
            raise EdgeError(
                f"no mixture has {bound.megabytes:g} MB or less: the smallest has {least:.2f}",
                f"give --megabytes {math.ceil(least * 100) / 100:g} or more, or smaller --choices",
            )
        return _worthwhile(point, bound), measure(point)
    assert bound.divergence is not None
    aim, found = bound.divergence, None
    for _ in range(TRIES):
        point = within(front, damage=aim)
        if point is None:
            break
        found = measure(point)
        if found.divergence <= bound.divergence:
            return _worthwhile(point, bound), found
        aim = point.damage * min(0.95, bound.divergence / found.divergence)
    best = front[-1].damage if found is None else found.divergence
    raise EdgeError(
        f"no mixture stays within {bound.divergence:g} nats: the best has {best:.2g}",
        "give a larger --divergence, or better --choices",
    )


def _worthwhile(point: Point, bound: Bound) -> Point:
    if set(point.choices) == {FLOAT}:
        raise EdgeError(
            "the bound is kept without quantizing anything", "give a smaller --megabytes, or a larger --divergence"
        )
    return point


def _named(options: Sequence[Sequence[Choice]], point: Point) -> list[Choice]:
    return [next(one for one in found if one.name == name) for found, name in zip(options, point.choices, strict=True)]


def _check(name: str, made: Sequence[Choice], units: Sequence[Unit], judge: Judge, rest: int) -> Measured:
    """Measures a mixture as a whole."""
    schemes = {weight: choice.name for unit, choice in zip(units, made, strict=True) for weight in unit.shapes}
    megabytes = (sum(choice.bytes for choice in made) + rest) / 1e6
    return Measured(name, megabytes, sum(choice.damage for choice in made), judge.damage(schemes, None))


def _recipe(units: Sequence[Unit], choices: Sequence[str]) -> Recipe:
    return Recipe({}, rules=tuple(Rule(unit.match, name) for unit, name in zip(units, choices, strict=True)))


def _some(front: Sequence[Point], most: int = 400) -> list[Point]:
    """At most ``most`` points, evenly spread; the last is always among them."""
    stride = -(-len(front) // most)
    return list(reversed(front[::-1][::stride]))


def _write(
    mixture: Mixture, bound: Bound, options: Sequence[Sequence[Choice]], units: Sequence[Unit], folder: Path
) -> None:
    (folder / RECIPE).write_text(to_toml(mixture.recipe), encoding="utf-8")
    document = {
        "bound": asdict(bound),
        "chosen": asdict(mixture.chosen),
        "uniform": [asdict(one) for one in mixture.uniform],
        "front": [{"megabytes": megabytes, "divergence": damage} for megabytes, damage in mixture.front],
        "units": {
            unit.name: {"chosen": mixture.units[unit.name], "choices": [asdict(choice) for choice in found]}
            for unit, found in zip(units, options, strict=True)
        },
    }
    (folder / DAMAGE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draw_front(mixture.front, [mixture.chosen, *mixture.uniform], folder / FRONT)
