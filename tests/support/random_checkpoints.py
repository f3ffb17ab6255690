"""Small checkpoints of random weights, and questions about pictures of noise to calibrate with."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from noise import noise

from phantom_edge.convert.random import write_random
from phantom_edge.models.sizes import SIZES, Size

TWO_PICTURES = ((112, 112), (230, 112))
"""Widths and heights: one tile, and two with a thumbnail."""

QUESTIONS = {"Is it red?": "yes", "Is it far?": "yes"}


def write_checkpoint(folder: Path, size: Size = SIZES["tiny"], dtype: torch.dtype = torch.float32) -> Path:
    """Random weights whose phantom halves count as much as the others (eta 1)."""
    write_random(size, folder, seed=3, dtype=dtype, eta=1.0)
    return folder


def write_questions(
    desk: Path, pictures: Sequence[tuple[int, int]] = TWO_PICTURES, answers: Mapping[str, str] = QUESTIONS
) -> None:
    """Pictures with every question about each in ``triples.jsonl``; and one without a picture in ``words.jsonl``."""
    lines = []
    for number, size in enumerate(pictures):
        noise(size, 80).save(desk / f"{number}.png")
        lines += [
            {"image": f"{number}.png", "question": question, "chosen": answer} for question, answer in answers.items()
        ]
    (desk / "triples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (desk / "words.jsonl").write_text(json.dumps({"question": "Who?", "chosen": "me"}))
