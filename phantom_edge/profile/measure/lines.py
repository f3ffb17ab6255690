"""Streams a profile as JSON lines, one per measurement, so that an interrupted run keeps its results."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.foundation.versions import __version__
from phantom_edge.profile.result import (
    NEEDED,
    Answered,
    Depth,
    Device,
    Energy,
    Operators,
    Reading,
    Run,
    Stage,
    Subject,
    check_part,
)

KINDS: dict[str, type[Any]] = {
    "device": Device,
    "subject": Subject,
    "stage": Stage,
    "depth": Depth,
    "answer": Answered,
    "reading": Reading,
    "energy": Energy,
    "operators": Operators,
    "tokens": int,
    "steps": int,
    "end": int,
}
"""Types of lines by kind. ``steps``: number of steps to come; ``tokens``: tokens of all answers so far, sent before the
first and after the last; ``end``: marks a complete profile."""

COUNTED = ("stage", "depth", "answer", "operators")
"""Kinds that ``steps`` counts."""

STOPPED = "stopped before all was measured"
"""Why a run is partial that Ctrl-C ended."""

Emit = Callable[[str, str], None]
"""Takes the kind and the line of each measurement."""


def discard(_kind: str, _line: str) -> None:
    """Discards lines."""


class Gathering:
    """Measurements by kind; ``record`` emits each as a line, ``take`` reads such a line."""

    def __init__(self, emit: Emit = discard) -> None:
        self.emit, self.lock = emit, threading.Lock()
        self.found: dict[str, list[Any]] = {kind: [] for kind in KINDS}

    def record(self, kind: str, value: Any) -> None:
        """Stores a measurement and emits it as a line; thread-safe."""
        with self.lock:
            self.found[kind].append(value)
            self.emit(kind, json.dumps({kind: to_json(value)}, ensure_ascii=False))

    def take(self, line: str) -> str:
        """Stores the measurement of a line and returns its kind. Raises EdgeError for any other line."""
        try:
            document = parse_json(line)
            ((kind, value),) = document.items()
            check_part(measured := from_json(KINDS[kind], value, kind))
            self.found[kind].append(measured)
        except (ValueError, AttributeError, KeyError, WrongJson) as error:
            raise no_measurement(line, type(error).__name__) from error
        return str(kind)

    @property
    def is_whole(self) -> bool:
        """True after the end line, and where nothing is missing before it."""
        return bool(self.found["end"]) and {stage.name for stage in self.found["stage"]} >= NEEDED

    @property
    def is_begun(self) -> bool:
        """True where there is something to show."""
        return all(self.found[kind] for kind in ("device", "subject", "stage"))

    def run(self, repeats: int, partial: str = "") -> Run:
        """Returns the profile.

        Raises EdgeError where device or bundle are missing, and KeyboardInterrupt where that stopped it so early.
        """
        if partial == STOPPED and not self.is_begun:
            raise KeyboardInterrupt
        if not self.found["device"] or not self.found["subject"]:
            raise EdgeError(f"nothing was measured ({partial or 'no lines came'})", "run the same command again")
        readings = tuple(self.found["reading"])
        operators = next(iter(self.found["operators"]), Operators())
        return Run(
            schema_version=1,
            made_by=f"phantom-edge {__version__}",
            when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            device=self.found["device"][-1],
            subject=self.found["subject"][-1],
            repeats=repeats,
            stages=tuple(self.found["stage"]),
            depths=tuple(self.found["depth"]),
            answers=tuple(self.found["answer"]),
            readings=readings,
            peak_bytes=max((one.resident_bytes or 0 for one in readings), default=0) or None,
            energy=next(iter(self.found["energy"]), None),
            partial=partial,
            operators=operators.groups,
            traced=operators.traced,
            untold=operators.untold,
            widened=operators.widened,
        )


def no_measurement(line: str, why: str) -> EdgeError:
    """The fault of a line that a runner does not write."""
    return EdgeError(
        f"the device sent a line that is no measurement: {line[:80]!r} ({why})",
        "install the same version of phantom-edge on both machines",
    )
