"""Options of an export for a device: target, weights, cache, tiles, context and chunk, with the command of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from shlex import quote
from typing import Literal

from phantom_edge.export.targets.count import Variant
from phantom_edge.export.targets.target import Target
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.models.draft_shape import MOST_STEPS
from phantom_edge.models.sizes import Size
from phantom_edge.profile.devices.table import Entry
from phantom_edge.profile.plan.counting import groups_of

ANSWER = 256
"""Tokens for an answer that a default context holds beside prompt and picture."""

CONTEXTS = (512, 1024, 2048, 4096, 8192)
CHUNKS = (32, 64, 128, 256)
TILES = (1, 2, 4)
"""Numbers of tiles to try, beside the model's maximum."""

Cache = Literal["float", "int8"]


@dataclass(frozen=True)
class Wish:
    """The request: limits (None: no limit) and fixed options. ``prompt`` counts text tokens.

    ``tokens_per_step`` are those of a draft layer, None without one.
    """

    ttft: float | None = None
    tokens_per_second: float | None = None
    memory: float | None = None
    tiles: int | None = None
    context: int | None = None
    prompt: int = 64
    tokens_per_step: float | None = None

    def __post_init__(self) -> None:
        rules = (
            (self.ttft is None or 0 < self.ttft < inf, "--ttft is impossible", "give seconds above 0, such as 0.8s"),
            (
                self.tokens_per_second is None or 0 < self.tokens_per_second < inf,
                "--tokens-per-second is impossible",
                "give a number above 0, such as 15",
            ),
            (self.memory is None or 0 < self.memory < inf, "--memory is impossible", "give a size such as 1.5GB"),
            (self.tiles is None or self.tiles >= 1, f"--tiles is {self.tiles}", "give 1 or more"),
            (
                self.context is None or 16 <= self.context <= 2**20,
                f"--context is {self.context}",
                "give 16 to 1048576 tokens",
            ),
            (
                self.tokens_per_step is None or 1 <= self.tokens_per_step <= MOST_STEPS + 1,
                f"--tokens-per-step is {self.tokens_per_step}",
                f"give 1 to {MOST_STEPS + 1}: phantom-edge train draft measures it",
            ),
            (1 <= self.prompt <= 2**20, f"--prompt is {self.prompt}", "give 1 or more tokens"),
        )
        for holds, problem, remedy in rules:
            if not holds:
                raise UsageError(problem, remedy)


@dataclass(frozen=True)
class Choice:
    """A bundle that can be exported."""

    target: str
    option: Variant
    cache: Cache
    tiles: int
    context: int
    chunk: int

    def command(self, model: str, entry: Entry, rank: int | None = None) -> str:
        """Returns the export command; ``rank`` None leaves the phantom rank to export."""
        words = [f"phantom-edge export {quote(model)} --target {self.target}", f"--weights {self.option.weights}"]
        words += [f"--max-tiles {self.tiles} --max-context {self.context} --prefill-chunk {self.chunk}"]
        words += [f"--phantom rank={rank}"] if rank is not None else []
        words += [f"--cache {self.cache}"] if self.cache != "float" else []
        own = (entry.arguments.get(self.target, ""), self.option.arguments)
        return " ".join([*words, *filter(None, own)])


def choices(size: Size, entry: Entry, wish: Wish, targets: Mapping[str, Target]) -> list[Choice]:
    """Lists every possible bundle of a model for a device. Raises EdgeError where there is none."""
    if wish.context is not None and wish.context > size.context:
        raise UsageError(
            f"--context is {wish.context:,}, and this model was made for {size.context:,} tokens",
            f"give {size.context} or less",
        )
    usual = sorted({tiles for tiles in (*TILES, size.max_tiles) if tiles <= size.max_tiles})
    wanted = usual if wish.tiles is None else [wish.tiles]
    rooms = [(tiles, context) for tiles in wanted for context in _contexts(size, wish, tiles)]
    if not rooms:
        needed = wish.prompt + with_thumbnail(wanted[0]) * size.tokens_per_tile
        raise EdgeError(
            f"{needed:,} tokens of prompt and picture leave no room in a context of {wish.context or size.context:,}",
            "give fewer --tiles, a shorter --prompt, or a longer --context",
        )
    return [
        Choice(target, option, cache, tiles, context, chunk)
        for target in entry.targets
        for option in targets[target].variants
        if _divides(size, option.weights)
        for cache in option.caches
        for tiles, context in rooms
        for chunk in CHUNKS
        if chunk <= context
    ]


def _contexts(size: Size, wish: Wish, tiles: int) -> list[int]:
    """The shortest context that holds prompt, picture and an answer: longer ones only cost more."""
    needed = wish.prompt + with_thumbnail(tiles) * size.tokens_per_tile
    if wish.context is not None:
        return [wish.context] if needed < wish.context <= size.context else []
    return [context for context in CONTEXTS if needed + ANSWER <= context <= size.context][:1]


def with_thumbnail(tiles: int) -> int:
    """Number of tiles, with the thumbnail where there are several."""
    return tiles + (tiles > 1)


def _divides(size: Size, weights: str) -> bool:
    group = groups_of(weights)
    return not any(width % group for width in (size.hidden, size.intermediate))
