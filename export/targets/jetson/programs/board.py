"""Answers a question from a picture on a board: python3 board.py BUNDLE PICTURE QUESTION.

Lies in the bundle beside ``runner.py`` and ``answer.py``, which reads pictures and words.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from answer import chosen, decoded, prompt_of, rows_of, tiles_of
from tokenizers import Tokenizer


def answer(engines: Any, folder: Path, picture: str, question: str, most: int = 256) -> str:
    """Answers greedily with at most ``most`` tokens; ``engines`` encode tiles, and compute logits."""
    manifest = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
    prompt, table, context = manifest["prompt"], manifest["embedding"], manifest["cache"]["max_context"]
    image = decoded(picture, manifest["pictures"]["decoding"]["background"])
    tiles = np.stack(tiles_of(image, manifest["pictures"]))

    tokenizer = Tokenizer.from_file(str(folder / prompt["tokenizer"]))
    text = prompt_of(question, len(tiles), folder, manifest)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if ids[0] != prompt["first_token"] or len(ids) >= context:
        raise SystemExit("this prompt begins with another token than this bundle's, or is too long")
    rows = rows_of(ids, folder, table)
    rows[np.array(ids) == prompt["image_token"]] = engines.encode_images(tiles)

    found: list[int] = []
    logits, filled = engines.forward(rows, 0, np.array([len(ids) - 1]))[0], len(ids)
    while (token := chosen(logits, ids + found, len(ids), manifest)) not in prompt["stop_tokens"]:
        found.append(token)
        if len(found) == most or filled == context:
            break
        logits, filled = engines.forward(rows_of([token], folder, table), filled, np.array([0]))[0], filled + 1
    return str(tokenizer.decode(found, skip_special_tokens=True))


if __name__ == "__main__":
    from runner import Engines

    _, bundle, image_file, asked = sys.argv
    sys.stdout.write(answer(Engines(Path(bundle)), Path(bundle), image_file, asked) + "\n")
