"""A profile as a document: one schema for every device, so that any two can be compared."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import whole_file
from phantom_edge.foundation.json_file import parse_json, regular
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.foundation.versions import UPDATE
from phantom_edge.runtime.drafting import Drafted
from phantom_edge.runtime.tracing import LONGEST, Group, Traced

SCHEMA_VERSION = 1

StageName = Literal["load", "preprocess", "words", "vision", "prefill", "decode", "choose"]
STAGES: tuple[StageName, ...] = ("load", "preprocess", "words", "vision", "prefill", "decode", "choose")
"""Stages in order: open the bundle; picture to pixels; question to tokens; pixels to image tokens, by tile; prompt into
the cache, by chunk; decode one token; sample it."""


NEEDED = frozenset(("load", "prefill", "decode"))
"""Stages that a whole profile has."""

MOST = 10**6
"""Maximum number of measurements of a kind in a document."""


@dataclass(frozen=True)
class Device:
    """The device, with its measured bandwidth (bytes/s) and products (float32 multiply-adds/s)."""

    kind: Literal["host", "ssh", "android", "ios"]
    name: str
    processor: str
    system: str
    cores: int
    memory_bytes: int
    bandwidth: float | None = None
    products: float | None = None
    notes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """The bundle, by the seal of its manifest, and its number of threads (0: the runtime's choice).

    ``vision_bytes`` and ``decoder_bytes`` are the sizes of the weights.
    """

    bundle: str
    seal: str
    target: str
    model: str
    fingerprint: str
    weights: str
    threads: int
    vision_bytes: int
    decoder_bytes: int
    cache_bytes_per_token: int
    vision_products: int
    decoder_products: int
    tools: dict[str, str]


@dataclass(frozen=True)
class Stage:
    """Seconds of one stage: the first call (cold) and each later one. ``units``: tiles or tokens per call."""

    name: StageName
    units: int
    cold: float
    warm: tuple[float, ...]


@dataclass(frozen=True)
class Depth:
    """Seconds of single tokens after ``context`` cached ones."""

    context: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Answered:
    """One whole question: its wall time, the time of its first token, and seconds by stage.

    ``drafted``: passes of the decoder, and tokens of the draft layer; None where the bundle has none.
    """

    seconds: float
    first_token: float
    stages: dict[str, float]
    drafted: Drafted | None = None

    @property
    def accounted_share(self) -> float:
        """Share of the wall time that the stages account for."""
        return sum(self.stages.values()) / self.seconds if self.seconds else 1.0


@dataclass(frozen=True)
class Reading:
    """The state of the device, in seconds since the start; None where it has no such sensor."""

    seconds: float
    when: Literal["before", "during", "after"]
    resident_bytes: int | None = None
    megahertz: float | None = None
    celsius: float | None = None
    battery: float | None = None
    watts: float | None = None
    state: str = ""


@dataclass(frozen=True)
class Energy:
    """Joules over all answers; ``source`` is the meter."""

    source: str
    joules: float
    tokens: int
    idle_watts: float | None = None


@dataclass(frozen=True)
class Operators:
    """Result of the runtime's own profiler, from a separate pass; ``untold`` is the reason where there is none.

    ``widened``: width of the cached rows that attention reads, relative to a model without the phantom dimension.
    """

    groups: tuple[Group, ...] = ()
    traced: tuple[Traced, ...] = ()
    untold: str = ""
    widened: float = 1.0


@dataclass(frozen=True)
class Run:
    """One profile. ``partial`` is the reason why it is incomplete, or "". For the last three, see Operators."""

    schema_version: Literal[1]
    made_by: str
    when: str
    device: Device
    subject: Subject
    repeats: int
    stages: tuple[Stage, ...]
    depths: tuple[Depth, ...]
    answers: tuple[Answered, ...]
    readings: tuple[Reading, ...]
    peak_bytes: int | None = None
    energy: Energy | None = None
    operators: tuple[Group, ...] = ()
    partial: str = ""
    traced: tuple[Traced, ...] = ()
    untold: str = ""
    widened: float = 1.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", self.when):
            raise ValueError("when is no time such as 2026-11-26T20:00:00Z")
        if not self.partial and not {stage.name for stage in self.stages} >= NEEDED:
            raise ValueError("stages has not all that a whole profile has")
        if any(len(stage.warm) > MOST or min((stage.cold, *stage.warm)) < 0 for stage in self.stages):
            raise ValueError("stages has impossible times")

    def stage(self, name: StageName) -> Stage | None:
        """Returns a stage by its name, or None where it was not measured."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def tokens_per_second(self) -> dict[int, float]:
        """Decode speed by the number of cached tokens."""
        return {depth.context: 1 / median(depth.seconds) for depth in self.depths if depth.seconds}

    @property
    def seconds_to_first_token(self) -> float | None:
        """Median over all answers."""
        return median(answer.first_token for answer in self.answers) if self.answers else None


def write_run(path: Path, run: Run) -> None:
    """Writes a profile. Raises EdgeError where ``path`` cannot be written."""
    with whole_file(path) as file:
        file.write(json.dumps(to_json(run), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_run(path: Path) -> Run:
    """Reads a profile. Raises EdgeError for any other file."""
    again = "make one: phantom-edge profile BUNDLE --out run.json"
    try:
        document = parse_json(regular(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EdgeError(f"{path} cannot be read ({type(error).__name__})", again) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is int and version > SCHEMA_VERSION:
        raise EdgeError(
            f"{path} has schema version {version}, this phantom-edge reads {SCHEMA_VERSION}",
            UPDATE,
        )
    try:
        run = from_json(Run, document)
    except WrongJson as error:
        raise EdgeError(f"{path} is no profile: {error}", again) from error
    for fault in faults(run):
        raise EdgeError(f"{path} is no profile: {fault}", again)
    return run


def faults(run: Run) -> Iterator[str]:
    """Faults of a profile that its schema cannot express; no table or plot can show them."""
    if not _is_writable(run):
        yield "it has numbers or letters that cannot be in JSON"
    parts = (run.device, *run.stages, *run.depths, *run.answers, *run.readings, *run.operators, *run.traced)
    yield from dict.fromkeys(fault for part in parts if (fault := _fault(part)))
    if not 1 <= run.widened < LONGEST:
        yield "operators has impossible values"


def check_part(part: object) -> None:
    """Raises ValueError for a measurement that no profile may hold."""
    inner = (part, *part.groups, *part.traced) if isinstance(part, Operators) else (part,)
    if not _is_writable(part):
        raise ValueError("it has numbers or letters that cannot be in JSON")
    for one in inner:
        if fault := _fault(one):
            raise ValueError(fault)


def _is_writable(part: object) -> bool:
    """False for NaN, infinity, or a lone surrogate."""
    try:
        json.dumps(to_json(part), ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return True


def _fault(part: object) -> str:
    """The fault of a measurement, or ""."""
    match part:
        case Device():
            rates = (part.bandwidth, part.products)
            return "" if all(one is None or one > 0 for one in rates) else "device has an impossible bandwidth or peak"
        case Stage():
            return "it has too many times" if len(part.warm) > MOST else _impossible(part.cold, *part.warm)
        case Depth():
            if part.context < 1:
                return "depths has an impossible context"
            times = part.seconds and all(0 < second < LONGEST for second in part.seconds)
            return "" if times else "depths has impossible times"
        case Answered():
            return _impossible(part.seconds, part.first_token, *part.stages.values())
        case Group():
            return "operators has impossible values" if part.calls < 1 else _impossible(part.seconds)
        case Traced():
            return _impossible(part.seconds, part.toll, part.outside)
        case Operators():
            return "" if 1 <= part.widened < LONGEST else "operators has impossible values"
        case Reading():
            is_possible = (part.resident_bytes or 0) >= 0 and 0 <= part.seconds < LONGEST
            return "" if is_possible else "readings has impossible values"
    return ""


def _impossible(*seconds: float) -> str:
    return "" if all(0 <= second < LONGEST for second in seconds) else "it has impossible times"
