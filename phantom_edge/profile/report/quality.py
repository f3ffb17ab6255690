"""Accuracy of profiled bundles, from the reports of ``phantom-edge eval``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.profile.result import Run


@dataclass(frozen=True)
class Quality:
    """Accuracy, its 95 % interval, and ``chance``: the accuracy of always giving the commonest answer."""

    model: str
    data: str
    questions: int
    accuracy: float
    low: float
    high: float
    chance: float


def read_quality(path: Path) -> Quality:
    """Reads an evaluation's report. Raises EdgeError for any other file."""
    again = "give the report.json of: phantom-edge eval BUNDLE --data FILE --out EVAL"
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EdgeError(f"{path} cannot be read ({type(error).__name__})", again) from error
    try:
        overall = document["overall"]
        found = Quality(
            model=_of(str, document["model"]),
            data=_of(str, document["data"]),
            questions=_of(int, document["questions"]),
            accuracy=_share(overall["accuracy"]["value"]),
            low=_share(overall["accuracy"]["interval"]["low"]),
            high=_share(overall["accuracy"]["interval"]["high"]),
            chance=_share(overall["chance"]),
        )
        (found.model + found.data).encode()
    except (KeyError, TypeError, ValueError) as error:
        raise EdgeError(f"{path} is no report of an evaluation", again) from error
    return found


def _of(kind: type[Any], value: object) -> Any:
    if type(value) is not kind:
        raise ValueError(value)
    return value


def _share(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(value)
    return float(value)  # type: ignore[arg-type]


def matched(runs: Sequence[Run], reports: Sequence[Quality]) -> list[tuple[int, Run, Quality]]:
    """Matches reports with runs by the name of the bundle's folder; runs count from 1.

    Raises EdgeError for a report that matches no run, and where two different bundles have its name.
    """
    found = []
    for report in reports:
        name = PurePath(report.model).name
        mine = [(number, run, report) for number, run in enumerate(runs, 1) if run.subject.bundle == name]
        if not mine:
            raise EdgeError(
                f"an evaluation is about '{report.model}', and no run is of a bundle of that name",
                f"evaluate one of: {', '.join(sorted({run.subject.bundle for run in runs}))}",
            )
        if len({run.subject.seal for _, run, _ in mine}) > 1:
            raise EdgeError(
                f"an evaluation is about '{report.model}', and runs of different bundles have that name",
                "make a report of one of them, or give the bundles' folders names of their own",
            )
        found += mine
    return found
