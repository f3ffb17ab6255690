"""A profile in the making, a line for each measurement: what a device tells as it goes, an end in the middle keeps."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import WrongJson, from_json, strict_json, to_json
from phantom_edge.foundation.versions import __version__
from phantom_edge.profile.result import Answered, Depth, Device, Energy, Operators, Reading, Run, Stage, Subject

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
"""What a line may hold, by its name. ``steps`` is how many will come; ``tokens`` how many answers had so far, told
before the first and after the last; ``end`` says that all was told."""

COUNTED = ("stage", "depth", "answer", "operators")
"""What ``steps`` counts."""

Tell = Callable[[str, str], None]
"""Told of the kind of each measurement, and of its line."""


def silent(_kind: str, _line: str) -> None:
    """Nobody listens."""


class Gathering:
    """Measurements by kind; each that is ``put`` is told as a line, each line that is ``taken`` is kept alike."""

    def __init__(self, tell: Tell = silent) -> None:
        self.tell, self.lock = tell, threading.Lock()
        self.found: dict[str, list[Any]] = {kind: [] for kind in KINDS}

    def put(self, kind: str, value: Any) -> None:
        """Keep a measurement and tell it; from any thread."""
        with self.lock:
            self.found[kind].append(value)
            self.tell(kind, json.dumps({kind: to_json(value)}, ensure_ascii=False))

    def take(self, line: str) -> str:
        """Keep what a line holds; its kind. Raises EdgeError for a line that is none."""
        try:
            document = strict_json(line)
            ((kind, value),) = document.items()
            self.found[kind].append(from_json(KINDS[kind], value, kind))
        except (ValueError, AttributeError, KeyError, WrongJson) as error:
            raise EdgeError(
                f"the device told what is no measurement: {line[:80]!r} ({type(error).__name__})",
                "have the same version of phantom-edge on both: pip install --upgrade phantom-edge",
            ) from error
        return str(kind)

    @property
    def is_whole(self) -> bool:
        """Whether the end was told."""
        return bool(self.found["end"])

    def run(self, repeats: int, partial: str = "") -> Run:
        """The profile. Raises EdgeError where not even device and bundle were told."""
        if not self.found["device"] or not self.found["subject"]:
            raise EdgeError(f"nothing was measured ({partial or 'nothing was told'})", "give the same command again")
        readings = tuple(self.found["reading"])
        told = next(iter(self.found["operators"]), Operators())
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
            operators=told.groups,
            traced=told.traced,
            untold=told.untold,
            widened=told.widened,
        )
