"""Recipes: a scheme for each weight, and the algorithm that rounds it."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from phantom_edge.checkpoint.quantized.algorithm_names import AlgorithmName
from phantom_edge.checkpoint.quantized.schemes import FLOAT, Scheme, scheme_named
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.foundation.json_file import read_text
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.models.tensor_names import PARTS, STATIC, part_of

STEPS = 60
"""Default number of training steps."""

SHIPPED = ("int8", "int4", "int4-g64", "int4-g128", "int4-row", "int4-exact8", "mixed", "lut4")
"""Names of the recipes in the package."""


@dataclass(frozen=True)
class Rule:
    """The ``scheme`` of all weights whose whole name matches ``match``, a regular expression."""

    match: str
    scheme: str


@dataclass(frozen=True)
class Recipe:
    """A scheme for each part, and rules for names, of which the last match wins. ``steps`` are dkm's training steps."""

    parts: dict[str, str] = field(default_factory=dict)
    algorithm: AlgorithmName = "rtn"
    rules: tuple[Rule, ...] = ()
    steps: int = STEPS

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}, not 1 or more")
        unknown = sorted(set(self.parts) - set(PARTS))
        if unknown:
            raise ValueError(f"parts.{unknown[0]} is no part; parts are {', '.join(PARTS)}")
        for rule in self.rules:
            try:
                re.compile(rule.match)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"rules: {rule.match!r} is no regular expression ({error})") from error

    def described(self) -> str:
        """The scheme of each part in a line: ``decoder, embedding and head int4-g32-pos; vision int8``."""
        parts: dict[str, list[str]] = {}
        for part in PARTS:
            parts.setdefault(self.parts.get(part, FLOAT), []).append(part)
        named = (f"{_joined(names)} {scheme}" for scheme, names in parts.items())
        return "; ".join([*named, *(["some weights by rules of their own"] if self.rules else [])])

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe; ``steps`` count only for dkm."""
        document = to_json(self)
        if self.algorithm != "dkm":
            del document["steps"]
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def scheme_of(self, name: str) -> Scheme | None:
        """The scheme of one weight, None where it stays float. Raises EdgeError for a scheme that does not exist."""
        own = [rule.scheme for rule in self.rules if re.fullmatch(rule.match, name)]
        scheme = own[-1] if own else self.parts.get(part_of(name), FLOAT)
        return None if scheme == FLOAT else scheme_named(scheme)

    def schemes(self, weights: Mapping[str, tuple[int, ...]]) -> dict[str, Scheme]:
        """The scheme of every weight that gets one; ``weights`` maps names to shapes (rows, columns).

        Raises EdgeError for an unknown scheme, groups that do not divide the rows, and a rule that fits no weight.
        """
        for rule in self.rules:
            if not any(re.fullmatch(rule.match, name) for name in weights):
                raise EdgeError(f"the recipe's rule {rule.match!r} fits no weight of this model", _example(weights))
        found = {name: scheme for name in weights if (scheme := self.scheme_of(name)) is not None}
        if not found:
            raise EdgeError("the recipe leaves every weight as it is", 'give a part a scheme: decoder = "int4-g32"')
        for name, scheme in found.items():
            if scheme.static_inputs and part_of(name) not in STATIC:
                raise EdgeError(f"{name}: {scheme.name} is for {' and '.join(STATIC)}", "choose int8 for it")
            try:
                scheme.groups(weights[name][1])
            except EdgeError as error:
                raise EdgeError(f"{name}: {error.problem}", error.remedy) from None
        return found


def _joined(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _example(names: Iterable[str]) -> str:
    return f"names look like {next(iter(names), 'none')}"


def read_recipe(name: str, algorithm: str | None = None, steps: int | None = None) -> Recipe:
    """Reads a shipped recipe by its name, or one from a TOML file; ``algorithm`` and ``steps`` override its own.

    Raises EdgeError for an unknown or invalid recipe, and for ``steps`` with an algorithm that does not train.
    """
    path = Path(name)
    if name in SHIPPED:
        text = (files("phantom_edge.quantize") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    elif path.suffix == ".toml":
        text = read_text(path, "give a recipe: a TOML file")
    else:
        raise UsageError(f"there is no recipe '{name}'", f"choose from {', '.join(SHIPPED)}, or give a .toml file")
    try:
        own = {"algorithm": algorithm, "steps": steps}
        recipe = from_json(
            Recipe, tomllib.loads(text) | {key: value for key, value in own.items() if value is not None}
        )
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise EdgeError(f"{path}: {' '.join(str(error).split())}", "fix that line") from error
    except WrongJson as error:
        raise EdgeError(f"{path}: {error}", f"see the shipped recipes: {', '.join(SHIPPED)}") from error
    if steps is not None and recipe.algorithm != "dkm":
        raise UsageError(f"{recipe.algorithm} has no steps", "leave out --steps, or give --algorithm dkm")
    return recipe


def to_toml(recipe: Recipe) -> str:
    """The TOML text of a recipe."""
    lines = [f"algorithm = {_string(recipe.algorithm)}"]
    lines += [f"steps = {recipe.steps}", ""] if recipe.steps != STEPS else [""]
    if recipe.parts:
        lines += ["[parts]", *(f"{part} = {_string(scheme)}" for part, scheme in recipe.parts.items()), ""]
    for rule in recipe.rules:
        lines += ["[[rules]]", f"match = {_string(rule.match)}", f"scheme = {_string(rule.scheme)}", ""]
    return "\n".join(lines)


def _string(text: str) -> str:
    """A TOML string: JSON's escapes, and one for DEL, which JSON does not escape."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
