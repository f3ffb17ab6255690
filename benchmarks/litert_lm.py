"""Answers of LiteRT-LM's own engine to questions about tiles, in a process of its own: it and LiteRT share symbols.

    python -m benchmarks.litert_lm CONTAINER MOST_TOKENS < questions.json

Questions are ``[[[PNG, ...], QUESTION], ...]``; the tiles of a picture are neighbours. The answers are one line of
JSON, the last one.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.processing.images import open_image
from phantom_edge.processing.tiling import Tiling, split_tiles


def tiles_of(bundle: Bundle, picture: Path, folder: Path) -> list[Path]:
    """A picture's tiles, cut by the bundle's rules, as PNG files: what an app hands over."""
    rules = bundle.manifest.pictures
    tiling = Tiling(rules.tile_size, rules.min_tiles, rules.max_tiles, rules.thumbnail)
    found = []
    for number, tile in enumerate(split_tiles(open_image(picture), tiling)):
        path = folder / f"{picture.stem}-{number}.png"
        tile.save(path)
        found.append(path)
    return found


def answers(container: str, asked: Sequence[tuple[Sequence[str], str]], most: int) -> list[str]:
    """LiteRT-LM's answers, one conversation for each question."""
    import litert_lm

    backend = litert_lm.Backend.CPU()
    images = max(len(pictures) for pictures, _ in asked)
    engine = litert_lm.Engine(
        container, backend=backend, vision_backend=backend, max_num_images=max(images, 1), cache_dir=":nocache"
    )
    found = []
    for pictures, question in asked:
        with engine.create_conversation(max_output_tokens=most) as conversation:
            content = [*({"type": "image", "path": path} for path in pictures), {"type": "text", "text": question}]
            message = conversation.send_message({"role": "user", "content": content})
            found.append("".join(part.get("text", "") for part in message["content"]))
    return found


if __name__ == "__main__":
    print(json.dumps(answers(sys.argv[1], json.loads(sys.stdin.read()), int(sys.argv[2]))))
