"""Benchmarks of a few questions each, in the layouts of the published ones; ``changed`` fields break an entry."""

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image


def png(shade: int = 0) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (3, 2), (shade, 0, 0)).save(data, "PNG")
    return data.getvalue()


def text64(shade: int = 0) -> str:
    return base64.b64encode(png(shade)).decode()


def put(root: Path, name: str, content: str | bytes | list[Any] | dict[str, Any]) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def put_tsv(root: Path, name: str, rows: list[dict[str, str]]) -> None:
    path = put(root, name, "")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def put_parquet(root: Path, name: str, columns: dict[str, list[Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), put(root, name, b""))


def pope_line(number: int, **changed: Any) -> str:
    line = {
        "question_id": number,
        "image": f"COCO_val2014_{number % 2:012d}.jpg",
        "text": "Is there a cat in the image?",
    }
    return json.dumps({**line, "label": "yes" if number % 2 else "no", **changed}) + "\n"


def make_pope(root: Path, **changed: Any) -> None:
    for kind in ("random", "popular", "adversarial"):
        put(root, f"POPE/coco_pope_{kind}.json", "".join(pope_line(n) for n in range(3)) + pope_line(3, **changed))
    for number in range(2):
        put(root, f"coco2014/val2014/COCO_val2014_{number:012d}.jpg", png())


def make_scienceqa(root: Path, **changed: Any) -> None:
    problem = {
        "question": "Which?",
        "hint": "Look.",
        "choices": ["red", "blue", "green"],
        "answer": 1,
        "image": "image.png",
    }
    problem |= {"subject": "natural science"}
    problems = {"7": problem | changed, "8": problem | {"image": None}, "9": problem | {"answer": 2, "hint": ""}}
    put(root, "ScienceQA/problems.json", {**problems, "1": {"of": "training"}})
    put(root, "ScienceQA/pid_splits.json", {"train": ["1"], "test": ["7", "8", "9"]})
    for number in (7, 9):
        put(root, f"ScienceQA/images/test/{number}/image.png", png())


def make_ai2d(root: Path, **changed: Any) -> None:
    about = {"answerTexts": ["ears", "nose"], "correctAnswer": 1, "abcLabel": False, "questionId": "0.png-0"}
    entry = {"question": "What is it?", "imageName": "0.png"}
    lettered_ = {**about, "abcLabel": True, "answerTexts": ["a", "b"], "correctAnswer": 0}
    put(root, "ai2d/ai2d_test.json", [{**entry, "metadata": about | changed}, {**entry, "metadata": lettered_}])
    put(root, "ai2d/images/0.png", png(1))
    put(root, "ai2d/abc_images/0.png", png(2))


def make_chartqa(root: Path, **changed: Any) -> None:
    entry = {"imgname": "1.png", "query": "How many?", "label": "100"}
    put(root, "chartqa/test/test_augmented.json", [entry | changed, entry | {"label": "Red"}])
    put(root, "chartqa/test/test_human.json", [entry | {"query": "Why?", "label": "0.5"}])
    put(root, "chartqa/test/png/1.png", png())


def mmbench_rows() -> list[dict[str, str]]:
    row = {"index": "0", "question": "Which?", "hint": "", "A": "red", "B": "blue", "C": "", "D": "", "answer": "B"}
    row |= {"category": "colour", "source": "x", "l2-category": "y", "comment": "", "split": "dev", "image": text64(1)}
    other = {"index": "241", "hint": 'A "hint"\twith\na break', "C": "green", "D": "None", "answer": "D"}
    return [row, {**row, **other, "image": text64(2)}, {**row, "index": "1000241", "image": "241"}]


def make_mmbench(root: Path, **changed: Any) -> None:
    first, *others = mmbench_rows()
    put_tsv(root, "MMBench/mmbench_dev_20230712.tsv", [{**first, **changed}, *others])


def make_mmstar(root: Path, **changed: Any) -> None:
    question = "Which?\nOptions: A: red, B: blue"
    columns = {"index": [0, 1], "question": [question, question], "answer": ["A", "B"], "category": ["math", "math"]}
    columns |= {"l2_category": ["geometry", "x"], "image": [png(1), png(2)]}
    put_parquet(root, "MMStar/mmstar.parquet", {**columns, **{name: [value] * 2 for name, value in changed.items()}})


MAKERS: dict[str, Callable[..., None]] = {
    "pope": make_pope,
    "scienceqa": make_scienceqa,
    "ai2d": make_ai2d,
    "chartqa": make_chartqa,
    "mmbench": make_mmbench,
    "mmstar": make_mmstar,
}
