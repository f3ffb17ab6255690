"""Answers of LiteRT-LM's own engine, in a process of its own: its library and LiteRT's share symbols.

``python litert_lm_answers.py CONTAINER`` reads questions as JSON, ``[[[PICTURE, ...], QUESTION], ...]``, from stdin and
prints the answers as JSON. Pictures are tiles in PNG files, handed over as neighbours.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.processing.images import open_image
from phantom_edge.processing.tiling import Tiling, split_tiles

Asked = tuple[Sequence[Path], str]


def tiles_of(bundle: Bundle, picture: Path, folder: Path) -> list[Path]:
    """A picture's tiles, cut by the bundle's rules, as PNG files."""
    rules = bundle.manifest.pictures
    tiling = Tiling(rules.tile_size, rules.min_tiles, rules.max_tiles, rules.thumbnail)
    found = []
    for number, tile in enumerate(split_tiles(open_image(picture), tiling)):
        path = folder / f"{picture.stem}-{number}.png"
        tile.save(path)
        found.append(path)
    return found


def answers(container: Path, asked: Sequence[Asked], most: int = 32) -> list[str]:
    """LiteRT-LM's answers, one conversation for each question."""
    given = [[[str(path) for path in pictures], question] for pictures, question in asked]
    command = [sys.executable, __file__, str(container), str(most)]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """See the module."""
    import litert_lm

    engine = litert_lm.Engine(
        sys.argv[1], backend=litert_lm.Backend.CPU(), vision_backend=litert_lm.Backend.CPU(), max_num_images=8
    )
    found = []
    for pictures, question in json.loads(sys.stdin.read()):
        with engine.create_conversation(max_output_tokens=int(sys.argv[2])) as conversation:
            content = [*({"type": "image", "path": path} for path in pictures), {"type": "text", "text": question}]
            message = conversation.send_message({"role": "user", "content": content})
            found.append("".join(part.get("text", "") for part in message["content"]))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
