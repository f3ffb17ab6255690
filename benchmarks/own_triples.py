"""Fine-tune phantom-nano on triples of one's own, as a new user would, and measure what it gained and lost.

    python -m benchmarks.own_triples --scratch runs/own --out benchmarks/results/own-triples.json
    python -m benchmarks.own_triples --draw lights      # only the pictures: lights/mixed/own, lights/kept

The pictures are traffic lights, which no drawn scene holds: 100 to learn from with two questions each, 100 others to
measure on, and 1,000 questions about scenes before and after. Trained on the lights alone, so small a model forgets
all else, so drawn scenes are mixed in. Every step is a command of docs/start/own-pictures.md. ``--scratch`` must be
empty.
"""

import json
import resource
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

from benchmarks.harness import begin, edge, edge_says, machine

LIGHTS = {
    "red": ((225, 40, 30), "stop", "no"),
    "yellow": ((240, 190, 30), "wait", "no"),
    "green": ((50, 200, 80), "go", "yes"),
}
KEPT, SIDE = 100, 224
"""Pictures kept aside, and the width of a picture."""


def draw(lit: str, random: Random) -> Image.Image:
    """A traffic light somewhere on a wall, one lamp lit."""
    picture = Image.new("RGB", (SIDE, SIDE), tuple(random.randint(120, 225) for _ in range(3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y, w = random.randint(0, SIDE), random.randint(0, SIDE), random.randint(10, 90)
        pen.rectangle((x, y, x + w, y + w // 2), fill=tuple(random.randint(100, 235) for _ in range(3)))
    lamp = random.randint(12, 22)
    left, top = random.randint(5, SIDE - 4 * lamp), random.randint(5, SIDE - 9 * lamp)
    pen.rounded_rectangle((left, top, left + 3 * lamp, top + 8 * lamp), lamp, fill=(35, 35, 38))
    for place, (name, (colour, _, _)) in enumerate(LIGHTS.items()):
        x, y = left + lamp // 2, top + lamp // 2 + place * 5 * lamp // 2
        shade = colour if name == lit else tuple(c // 5 + 25 for c in colour)
        pen.ellipse((x, y, x + 2 * lamp, y + 2 * lamp), fill=shade)
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.2)))


def make(folder: Path, first_seed: int, pictures: int, *, in_turns: bool = False) -> Path:
    """Pictures with both questions, or with one of them in turns; returns the JSONL file of their triples."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for seed in range(first_seed, first_seed + pictures):
        random = Random(seed)
        lit = random.choice(list(LIGHTS))
        name = f"{seed}.png"
        draw(lit, random).save(folder / name)
        _, means, may = LIGHTS[lit]
        wrong = [other for _, other, _ in LIGHTS.values() if other != means]
        asked = (
            ("What does the traffic light tell me?", means, wrong, "light"),
            ("May I drive on?", may, ["no" if may == "yes" else "yes"], "drive"),
        )
        for question, chosen, rejected, kind in asked[seed % 2 :][:1] if in_turns else asked:
            line = {"image": name, "question": question, "chosen": chosen, "rejected": rejected[seed % len(rejected)]}
            lines.append(json.dumps(line | {"kind": kind}))
    file = folder / "triples.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def draw_scenes(folder: Path, split: str, pictures: int) -> None:
    """``phantom-edge data scenes``, with seeds that nano was neither trained nor measured on."""
    edge("data", "scenes", folder, "--split", split, "--seed", 90000000, "--pictures", pictures)


def ask(model: str | Path, data: Path, *limit: str) -> dict[str, Any]:
    """``phantom-edge eval``: share of right answers, overall and by kind."""
    report = edge_says("eval", model, "--data", data, "--dtype", "fp32", *limit)
    kinds = {kind: round(figures["accuracy"]["value"], 4) for kind, figures in report["kinds"].items()}
    return {"questions": report["questions"], "right": round(report["overall"]["accuracy"]["value"], 4), "kinds": kinds}


def draw_lights(folder: Path, pictures: int, *, in_turns: bool = False) -> tuple[Path, Path]:
    """Draw the pictures to learn from and those kept aside; returns their JSONL files."""
    own = make(folder / "mixed" / "own", 0, pictures, in_turns=in_turns)
    return own, make(folder / "kept", pictures, KEPT)


def main() -> None:
    """The walk."""
    bench = begin("own-triples", __doc__, draw="", pictures=100, mixed_in=150, in_turns=False)
    wished, folder = bench.asked, bench.scratch
    own, kept = draw_lights(Path(wished.draw or folder), wished.pictures, in_turns=wished.in_turns)
    if wished.draw:
        return
    scenes, run = folder / "scenes", folder / "run"
    draw_scenes(folder / "mixed" / "scenes", "train", wished.mixed_in)
    draw_scenes(scenes, "test", 250)
    edge("data", "validate", own)
    asked: dict[str, tuple[Path, tuple[str, ...]]]
    asked = {"own": (kept, ()), "scenes": (scenes / "triples.jsonl", ("--limit", "1000"))}
    before = {name: ask("nano", data, *limit) for name, (data, limit) in asked.items()}
    at_first = cpu_seconds()
    spent = edge("train", "po", "nano", "--data", folder / "mixed" / "*" / "triples.jsonl", "--out", run)
    cpu = cpu_seconds() - at_first
    after = {name: ask(run / "model", data, *limit) for name, (data, limit) in asked.items()}
    document = {
        "triples": len(own.read_text(encoding="utf-8").splitlines()),
        "scenes_mixed_in": wished.mixed_in,
        "seconds": round(spent["seconds"]),
        "cpu_seconds": round(cpu),
        "machine": machine(),
        **{name: {"before": before[name], "after": after[name]} for name in asked},
    }
    bench.write(document)


def cpu_seconds() -> float:
    """CPU time of all processes that have ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
