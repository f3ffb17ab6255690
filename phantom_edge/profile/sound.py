"""What a document may not say although its schema lets it: times that no clock tells, letters that no file holds."""

import json
from collections.abc import Iterator
from pathlib import Path

from phantom_edge.errors import EdgeError
from phantom_edge.profile.result import Run, read_run
from phantom_edge.typed import to_json

LONGEST = 1e7
"""Seconds: more than a hundred days is no measurement."""


def read_sound(path: Path) -> Run:
    """Read a profile from which tables and plots can be made. Raises EdgeError for what is none."""
    run = read_run(path)
    for fault in faults(run):
        raise EdgeError(f"{path} is no profile: {fault}", "make one: phantom-edge profile BUNDLE --out run.json")
    return run


def faults(run: Run) -> Iterator[str]:
    """What cannot be, in words."""
    try:
        json.dumps(to_json(run), ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # also of half a letter
        yield "it has numbers or letters that cannot be"
    stages = [second for stage in run.stages for second in (stage.cold, *stage.warm)]
    answers = [second for one in run.answers for second in (one.seconds, one.first_token, *one.stages.values())]
    if not all(0 <= second < LONGEST for second in (*stages, *answers, *(one.seconds for one in run.operators))):
        yield "it has impossible times"
    if not all(one.seconds and all(0 < second < LONGEST for second in one.seconds) for one in run.depths):
        yield "depths has impossible times"
    if min((one.context for one in run.depths), default=1) < 1:
        yield "depths has an impossible context"
    if not all(value is None or value > 0 for value in (run.device.bandwidth, run.device.products)):
        yield "device has an impossible bandwidth or peak"
    if any((one.resident_bytes or 0) < 0 or not 0 <= one.seconds < LONGEST for one in run.readings):
        yield "readings has impossible ones"
