"""The contract of targets: plain data, and callables that import a target's packages only when they are called.

A target is one folder beside this file, whose ``target.py`` holds its ``TARGET``, and one line in ``TARGETS``.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from phantom_edge.bundle.cache import Cache
from phantom_edge.bundle.embedding import Embedding
from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.part import Part
from phantom_edge.export.targets.count import Count, Variant
from phantom_edge.foundation.errors import UsageError
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
PHANTOM = re.compile(r"full|rank=(auto|\d{1,5})|elide=\d+(\.\d*)?([eE][+-]?\d{1,3})?")
"""Form of ``--phantom``; its values are read where layers are folded."""

T = TypeVar("T", bound="Options")


def option(default: Any, help: str, *, choices: Sequence[object] = (), flag: str = "", short: bool = False) -> Any:
    """Returns a field of a target's options, which becomes a flag of ``phantom-edge export``.

    ``choices`` are the allowed values, ``flag`` is the flag's name where it differs from the field's, and ``short``
    makes it a switch without a value.
    """
    return field(default=default, metadata={"help": help, "choices": tuple(choices), "flag": flag, "short": short})


@dataclass(frozen=True)
class Options:
    """A target's own options. Raises EdgeError for a value outside an option's choices."""

    def __post_init__(self) -> None:
        for one in fields(self):
            check_choice(one.name, one.metadata, getattr(self, one.name))


def check_choice(name: str, about: Mapping[str, Any], value: object) -> None:
    """Raises EdgeError for a value outside an option's choices."""
    if about["choices"] and value not in about["choices"]:
        raise UsageError(f"{flag_of(name, about)} is {value}", f"choose from {listed(about['choices'])}")


def flag_of(name: str, about: Mapping[str, Any]) -> str:
    """Returns the flag of an option, such as ``--opset-only``."""
    return about["flag"] or f"--{name.replace('_', '-')}"


def listed(choices: Iterable[object]) -> str:
    """Joins choices: ``a, b, c``."""
    return ", ".join(map(str, choices))


@dataclass(frozen=True)
class Settings:
    """Settings of an export; ``options`` are the target's own, None for its defaults.

    ``max_tiles`` None keeps the checkpoint's number; ``phantom`` as in ``phantom_rank.Phantom.parse``. ``calibration``
    is for targets that choose scales by it.
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
            (
                PHANTOM.fullmatch(self.phantom) is not None,
                f"--phantom is '{self.phantom}'",
                "choose full, rank=16, rank=auto or elide=1e-3",
            ),
            (self.max_tiles is None or self.max_tiles >= 1, f"--max-tiles is {self.max_tiles}", "give 1 or more"),
        )
        for holds, problem, remedy in rules:
            if not holds:
                raise UsageError(problem, remedy)

    def own(self, kind: type[T]) -> T:
        """Returns the target's own options, or its defaults."""
        options = kind() if self.options is None else self.options
        assert isinstance(options, kind)
        return options


class Facts(Protocol):
    """Facts that a manifest holds for one target alone, as the target's room reads them."""

    def files(self) -> tuple[str, ...]:
        """Returns the bundle's files that the facts name."""

    def lines(self) -> tuple[tuple[str, str], ...]:
        """Returns rows of ``phantom-edge inspect``: label and value."""

    def caution(self) -> str:
        """Returns the warning to show after the bundle ran here, or ""."""


@dataclass(frozen=True)
class Lowered:
    """Result of lowering. ``unproved`` is the reason why the bundle cannot be compared with its model here, or ""."""

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
        """Raises EdgeError for settings that this target does not support."""


class Exact(Protocol):
    """Lists every way to run a bundle when it is compared with its checkpoint."""

    def __call__(self, bundle: Bundle, reference: "Reference", /, *, strict: bool) -> "list[Trial]":
        """Returns the plain run first; ``strict`` adds the target's hardest one."""


Settle = Callable[["PhantomConfig", Mapping[str, "Scheme"], Settings], Settings]
"""Completes the settings of a model whose quantized weights have these schemes, or raises EdgeError."""

NORMAL_FLOAT16 = 2.0**-14
"""Smallest normal number of float16."""

MakeEngine = Callable[[Bundle, int], "Engine"]
"""Makes the engine of a bundle with a number of threads; 0 is the runtime's default."""

Forms = Callable[[Bundle], Mapping[str, Bundle]]
"""Splits a bundle whose parts exist in several forms: each form, by its name, as a bundle of its own with the files
that a device loads for it. Raises EdgeError where the bundle names parts that it lacks."""


@dataclass(frozen=True)
class Making:
    """Exports a target: ``settle`` completes settings before anything is computed, ``lower`` writes the graphs.

    ``readme`` returns the target's part of a bundle's README.md, in Markdown: programs that answer a question.
    """

    settle: Settle
    lower: Lower
    readme: Callable[[Lowered], str]


@dataclass(frozen=True)
class Lint:
    """Check of a target's bundles against its rules.

    ``where`` completes the title of the table ("(for {}) in TensorRT"), ``about`` defines "eligible".
    """

    run: "Callable[[], Callable[[Bundle], Report]]"
    where: str
    about: str


@dataclass(frozen=True)
class Target:
    """A runtime for Phantom models, and everything that this project does for it.

    ``title`` is its description in a few words; ``extra`` is the pip extra that exports, with those ``beside`` it.
    ``precision`` is the default number format of floats. ``multiple`` and ``least`` are as in
    ``phantom_rank.choose_forms``; ``calibrates``: it needs ``Settings.calibration``. ``tools`` are the distributions
    that make its files: an export that was begun with other versions is begun anew. ``clashes`` are versions of them
    that are known not to work together.

    Callables import what they need when they are called, and raise EdgeError with the pip command that installs it.
    ``making`` exports, ``engine`` runs a bundle here, ``exact`` lists the runs of a proof (None: the engine's alone).
    ``forms`` is for targets whose bundles hold several forms of their parts, of which a device loads one.
    ``rounds``: the engine rounds activations of quantized layers. ``other`` is the choice to try where a proof fails;
    ``keeps_parts``: parts that take long to make are kept then. ``facts`` is the type of ``Manifest.facts``.

    ``stand_in`` returns the name of what runs bundles on this machine in place of the target's own runtime and whose
    times therefore say nothing of a device, or "".

    ``lint``, ``trace`` and ``dump`` (reads a file of the device's own profiler) are None where the target has none, for
    the reason in ``untraced``. ``count`` and ``variants`` are the planner's; without variants nothing is planned.
    ``processor`` is the default one; ``transports`` are the ways to a device on which it can be profiled. ``drafts``: a
    checkpoint's draft layer becomes a part.
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
    beside: tuple[str, ...] = ()
    exact: Callable[[], Exact] | None = None
    rounds: bool = True
    other: str = "--weights fp32"
    keeps_parts: bool = False
    stand_in: Callable[[], str] = str
    lint: Lint | None = None
    trace: Callable[[], Pass] | None = None
    untraced: str = ""
    dump: Callable[[], Callable[[Path], Dump]] | None = None
    count: Count = field(default_factory=Count)
    variants: tuple[Variant, ...] = ()
    transports: tuple[str, ...] = ("host", "ssh")
    facts: type[Any] | None = None
    forms: Forms | None = None
    multiple: int | None = None
    least: float = 0.0
    calibrates: bool = False
    clashes: tuple[Clash, ...] = ()
    drafts: bool = False
