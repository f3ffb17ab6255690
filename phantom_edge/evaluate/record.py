"""An evaluation as documents: model and data, the figures, and every answer."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from phantom_edge.data.examples import Example
from phantom_edge.evaluate.chart import draw_chart
from phantom_edge.evaluate.scores import Score, Scores, judge

REPORT = "report.json"
ANSWERS = "answers.jsonl"
CHART = "chart.png"


@dataclass(frozen=True)
class Run:
    """Model, data and settings of an evaluation."""

    model: str
    data: str
    questions: int
    questions_without_picture: int
    seconds: float
    settings: dict[str, str | bool | int | list[str] | None]


def report(run: Run, scores: Scores) -> dict[str, Any]:
    """Returns the whole evaluation as one JSON document."""
    return {
        **asdict(run),
        "interval": "95 %, bootstrap over pictures",
        "chance": "accuracy of always giving the kind's commonest answer in these data",
        "overall": _figures(scores.overall),
        "kinds": {score.kind: _figures(score) for score in scores.kinds},
    }


def _figures(score: Score) -> dict[str, Any]:
    """Returns the figures of a kind, without absent ones."""
    return {key: value for key, value in asdict(score).items() if key != "kind" and value is not None}


def write(folder: Path, run: Run, scores: Scores, examples: Sequence[Example], answers: Sequence[str]) -> None:
    """Write report, answers and chart into ``folder``."""
    (folder / REPORT).write_text(json.dumps(report(run, scores), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with (folder / ANSWERS).open("w", encoding="utf-8") as file:
        for example, answer, right in zip(examples, answers, judge(examples, answers), strict=True):
            line = {
                "kind": example.kind,
                "image": [str(picture) for picture in example.images if isinstance(picture, Path)],
                "question": example.question,
                "gold": example.gold,
                "answer": answer,
                "right": right,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    draw_chart(scores, f"{run.model} on {run.data}", folder / CHART)
