"""What ``make demo`` shows: a tiny model with random weights, end to end on this machine.

The commands are run as a person would type them. The answers are babble, because the weights are random; the point is
that every stage works: init, convert to the official layout and back without changing a bit, ask about a picture.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw
from rich.console import Console

from phantom_edge.files import whole_folder

RUNS = Path("runs/demo")
COMMAND = [sys.executable, "-c", "from phantom_edge.cli.main import main; main()"]
console = Console()


def phantom_edge(*arguments: str) -> None:
    """Run one command of ours and stop where it fails."""
    console.print(f"\n[bold]$ phantom-edge {shlex.join(arguments)}[/]", highlight=False, soft_wrap=True)
    done = subprocess.run([*COMMAND, *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def draw_scene(path: Path) -> None:
    """A red disc, a green square and a blue triangle on grey."""
    image = Image.new("RGB", (400, 300), (210, 210, 210))
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 60, 140, 160), fill=(200, 30, 30))
    draw.rectangle((180, 150, 270, 240), fill=(30, 150, 60))
    draw.polygon([(300, 180), (380, 180), (340, 80)], fill=(40, 60, 200))
    image.save(path)


def same_tensors(first: Path, second: Path) -> bool:
    """Whether two checkpoints in the same layout hold the same bytes."""
    return (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def main() -> None:
    """The walk."""
    console.print("[bold]phantom-edge demo[/]: a tiny model with RANDOM weights; its answers mean nothing yet.")
    with whole_folder(RUNS, force=True) as fresh:
        draw_scene(fresh / "scene.png")
    tiny, official, back = (str(RUNS / name) for name in ("tiny", "official", "back"))
    picture = str(RUNS / "scene.png")
    phantom_edge("init", "tiny", tiny, "--random", "--seed", "1")
    phantom_edge("convert", tiny, official)
    phantom_edge("convert", official, back)
    if not same_tensors(Path(tiny), Path(back)):
        sys.exit("error: the weights changed on the way to the official layout and back")
    console.print("the weights came back bit for bit", style="green")
    phantom_edge(
        "run", "--model", official, "--image", picture, "--max-new-tokens", "40", "What is to the left of the square?"
    )
    phantom_edge("run", "--model", back, "--beams", "3", "--max-new-tokens", "20", "Who are you?")
    console.print(
        f"\npicture and checkpoints: {RUNS}. Real shapes: phantom-edge init 0.5b OUT --random",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
