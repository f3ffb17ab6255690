"""The contract: what a target is. Plain data, and callables that import a target's packages only when they are called.

A target is one folder beside this file, whose ``target.py`` holds its ``TARGET``, and one line in ``TARGETS``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from phantom_edge.bundle.cache import Cache
from phantom_edge.bundle.embedding import Embedding
from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.part import Part
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.versions import Clash
from phantom_edge.runtime.tracing import Dump, Pass

if TYPE_CHECKING:
    from phantom_edge.checkpoint.quantized.schemes import Scheme
    from phantom_edge.checkpoint.source import Source
    from phantom_edge.export.lint import Report
    from phantom_edge.export.passes.phantom_rank import Chosen
    from phantom_edge.export.targets.trials import Trial
    from phantom_edge.foundation.resume import Unfinished
    from phantom_edge.models.config import PhantomConfig
    from phantom_edge.quantize.calibration import Calibration
    from phantom_edge.reference import Reference
    from phantom_edge.runtime.engine import Engine

Precision = Literal["fp32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
T = TypeVar("T", bound="Options")


def option(default: Any, help: str, *, choices: Sequence[object] = (), flag: str = "", short: bool = False) -> Any:
    """A field of a target's options, which becomes a flag of ``phantom-edge export``.

    ``choices`` are all values that there are, ``flag`` its name where that is not the field's; ``short``: it is True or
    False, and says so by being there.
    """
    return field(default=default, metadata={"help": help, "choices": tuple(choices), "flag": flag, "short": short})


@dataclass(frozen=True)
class Options:
    """A target's own options. Raises EdgeError for a value that is not among an option's choices."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value, choices = getattr(self, one.name), one.metadata["choices"]
            if choices and value not in choices:
                raise EdgeError(f"{flag_of(one.name, one.metadata)} is {value}", f"choose from {listed(choices)}")


def flag_of(name: str, about: Mapping[str, Any]) -> str:
    """The flag of an option, such as ``--opset-only``."""
    return about["flag"] or f"--{name.replace('_', '-')}"


def listed(choices: Iterable[object]) -> str:
    """``a, b, c``."""
    return ", ".join(map(str, choices))


@dataclass(frozen=True)
class Settings:
    """What a user asks of an export; ``options`` are those of the target, None for its defaults.

    ``max_tiles`` None keeps the checkpoint's own; ``phantom`` as in ``phantom_rank.Phantom.parse``. ``calibration`` is
    for targets that choose scales by it.
    """

    precision: Precision = "fp32"
    phantom: str = "rank=auto"
    max_context: int = 2048
    prefill_chunk: int = 64
    max_tiles: int | None = None
    options: Options | None = None
    calibration: "Calibration | None" = None

    def __post_init__(self) -> None:
        rules = (
            (self.precision in PRECISIONS, f"--weights is {self.precision}", f"choose from {listed(PRECISIONS)}"),
            (16 <= self.max_context <= 2**20, f"--max-context is {self.max_context}", "give 16 to 1048576 tokens"),
            (
                1 <= self.prefill_chunk <= self.max_context,
                f"--prefill-chunk is {self.prefill_chunk}",
                "give 1 or more, and no more than --max-context",
            ),
            (self.max_tiles is None or self.max_tiles >= 1, f"--max-tiles is {self.max_tiles}", "give 1 or more"),
        )
        for holds, problem, remedy in rules:
            if not holds:
                raise EdgeError(problem, remedy)

    def own(self, kind: type[T]) -> T:
        """The target's own options, or its defaults."""
        options = kind() if self.options is None else self.options
        assert isinstance(options, kind)
        return options


class Facts(Protocol):
    """What a manifest holds for one target alone, as the target's room reads it."""

    def files(self) -> tuple[str, ...]:
        """Files of the bundle that these name."""

    def lines(self) -> tuple[tuple[str, str], ...]:
        """Rows of ``phantom-edge inspect``: what, and its value."""

    def caution(self) -> str:
        """What a user should know whenever the bundle was run here; empty for nothing."""


@dataclass(frozen=True)
class Lowered:
    """What a target wrote. ``unproved`` says why nothing here can compare it with its model; empty where it can."""

    parts: dict[str, Part]
    embedding: Embedding | None
    cache: Cache
    tools: tuple[str, ...]
    facts: Facts | None = None
    unproved: str = ""


class Lower(Protocol):
    """Writes the graphs of a checkpoint, part by part."""

    def __call__(
        self,
        source: "Source",
        chosen: "Sequence[Chosen]",
        settings: Settings,
        parts: "Unfinished",
        begin: Progress,
        /,
    ) -> Lowered:
        """Raises EdgeError for what this target cannot do."""


class Exact(Protocol):
    """Every way in which a bundle runs to be compared with its checkpoint."""

    def __call__(self, bundle: Bundle, reference: "Reference", /, *, strict: bool) -> "list[Trial]":
        """The bundle as it runs first; ``strict`` asks for the hardest one that the target has, too."""


Settle = Callable[["PhantomConfig", Mapping[str, "Scheme"], Settings], Settings]
"""From a model, the schemes of its quantized weights, and what is asked: settings that are whole, or an EdgeError."""

NORMAL_FLOAT16 = 2.0**-14
"""Normal numbers of float16 begin here."""

MakeEngine = Callable[[Bundle, int], "Engine"]
"""Engine of a bundle and a number of threads, 0 for as many as the runtime takes."""


@dataclass(frozen=True)
class Making:
    """What exports a target: ``settle`` completes settings before anything is computed, ``lower`` writes the graphs.

    ``readme`` returns the text of a bundle's README.md.
    """

    settle: Settle
    lower: Lower
    readme: Callable[[Lowered], str] | None = None


@dataclass(frozen=True)
class Lint:
    """How a target's bundles are held against its rules.

    ``where`` completes the title of the table ("(for {}) in TensorRT"), ``about`` says what eligible means.
    """

    run: "Callable[[], Callable[[Bundle], Report]]"
    where: str
    about: str


@dataclass(frozen=True)
class Count:
    """How a target stores a model, as far as the planner counts bytes by it.

    ``is_half``: floats have 16 bits, whatever the recipe; ``plain`` is their format where it has a name of its own.
    ``step``: cached rows are multiples of so many numbers; ``row_bytes``: one buffer holds all rows of a token, which
    fill multiples of so many bytes. ``rotations``: copies of a position's rotation for each number of a head.

    ``scales`` are the formats of scales of rows and of groups ("": the floats' own), ``table_scales`` those of the
    table of words, whose rows without groups are cut into blocks of ``table_block`` (None: they are not), as those of
    a tied head are into ``head_block``. ``ties``: when a tied table is read from the head. ``fixed``: a chunk is
    computed whole, behind a full cache.
    """

    is_half: bool = False
    plain: str = ""
    step: int = 8
    row_bytes: int = 1
    rotations: int = 0
    scales: tuple[str, str] = ("", "")
    table_scales: str = ""
    table_block: int | None = 128
    head_block: int | None = None
    ties: Literal["always", "float", "never"] = "never"
    fixed: bool = False


@dataclass(frozen=True)
class Variant:
    """Weights that a target takes, and what its export command says besides; ``compute``: gpu, if not the usual."""

    weights: str
    arguments: str = ""
    caches: tuple[Literal["float", "int8"], ...] = ("float",)
    compute: Literal["auto", "gpu"] = "auto"


@dataclass(frozen=True)
class Target:
    """Where a Phantom model runs, and everything that this project does for it there.

    ``title`` is its name for people; ``extra`` is the pip extra that exports. ``precision`` is the number format of
    floats unless another is asked for. ``multiple`` and ``least`` are those of ``phantom_rank.choose_forms``;
    ``calibrates``: it needs ``Settings.calibration``. ``tools`` are the distributions that write its files: an export
    begun with other versions is begun anew. ``clashes`` are versions of them that do not work together.

    Callables import what they need when they are called, and raise EdgeError with the pip command that installs it.
    ``making`` exports, ``engine`` runs a bundle here, ``exact`` lists the trials of a proof (None: the engine alone).
    ``rounds``: the engine rounds activations of quantized layers. ``other`` is what to try where a proof fails;
    ``keeps_parts``: parts that take long to make stay then. ``facts`` is the type of ``Manifest.facts``.

    ``lint``, ``trace`` and ``dump`` (reads a file of the device's own profiler) are None where there is none;
    ``untraced`` is the reason. ``count`` and ``variants`` are the planner's; a target without variants is not planned.
    ``processor`` is where it runs by default, ``transports`` the kinds of devices on which it can be profiled.
    """

    name: str
    title: str
    extra: str
    options: type[Options]
    precision: Precision
    making: Callable[[], Making]
    engine: Callable[[], MakeEngine]
    processor: Literal["cpu", "gpu", "npu"]
    tools: tuple[str, ...]
    exact: Callable[[], Exact] | None = None
    rounds: bool = True
    other: str = "--weights fp32"
    keeps_parts: bool = False
    lint: Lint | None = None
    trace: Callable[[], Pass] | None = None
    untraced: str = ""
    dump: Callable[[], Callable[[Path], Dump]] | None = None
    count: Count = Count()
    variants: tuple[Variant, ...] = ()
    transports: tuple[str, ...] = ("host", "ssh")
    facts: type[Any] | None = None
    multiple: int | None = None
    least: float = 0.0
    calibrates: bool = False
    clashes: tuple[Clash, ...] = ()
