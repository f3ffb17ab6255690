"""Draws the figures of docs/concepts/, one SVG each.

python scripts/figures.py            # --check: fail where one differs

A figure is 420 units wide, so that its letters can be read on a phone, and brings its own ground, light or dark as the
reader's system is: a page in the other colour does not make it illegible.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from checking import is_check

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "concepts"
WIDTH, EDGE, SHOWN = 420, 16, 1.4
"""Width and margin of a figure in its own units, and pixels a unit where there is room."""

LIGHT = {
    "ground": "#f6f7f9",
    "ink": "#1b2430",
    "quiet": "#56606d",
    "box": "#ffffff",
    "line": "#67727f",
    "plain": "#cfe1fb",
    "plain-line": "#2c66b8",
    "phantom": "#cdeed6",
    "phantom-line": "#24814a",
    "sentinel": "#ffe2c0",
    "sentinel-line": "#b06100",
}
DARK = {
    "ground": "#1b2027",
    "ink": "#e6eaf0",
    "quiet": "#a8b2be",
    "box": "#262d36",
    "line": "#8e99a6",
    "plain": "#1f3d66",
    "plain-line": "#7fb0f0",
    "phantom": "#1d4a2e",
    "phantom-line": "#74c791",
    "sentinel": "#573709",
    "sentinel-line": "#eeb164",
}
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"


@dataclass
class Figure:
    """A drawing, which grows downwards; ``title`` is read to those who do not see it."""

    title: str
    drawn: list[str] = field(default_factory=list)
    height: float = 0

    def add(self, text: str, bottom: float) -> None:
        """Add an element that ends at ``bottom``."""
        self.drawn.append(text)
        self.height = max(self.height, bottom)

    def text(self, x: float, y: float, line: str, kind: str = "", anchor: str = "middle") -> None:
        """Write a line with its foot at ``y``; ``kind`` is small, quiet, strong or a mixture."""
        names = f' class="{kind}"' if kind else ""
        self.add(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{names}>{escape(line)}</text>', y + 4)

    def box(self, x: float, y: float, wide: float, high: float, lines: Sequence[str] = (), kind: str = "box") -> None:
        """Draw a box with centred lines of text, the first of them strong where there are several."""
        self.add(f'<rect x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" rx="5" class="{kind}"/>', y + high)
        first = y + high / 2 + 5 - 8.5 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + wide / 2, first + 17 * number, line, "" if number == 0 else "small")

    def arrow(self, *points: tuple[float, float]) -> None:
        """Draw a line through points, with a head at its end."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.add(f'<polyline points="{path}" class="arrow" marker-end="url(#head)"/>', max(y for _, y in points))

    def cells(self, x: float, y: float, kinds: Sequence[str], size: float = 22) -> float:
        """Draw a row of numbers as cells, and return where it ends."""
        for number, kind in enumerate(kinds):
            left = x + number * size
            self.add(f'<rect x="{left:g}" y="{y:g}" width="{size:g}" height="{size:g}" class="{kind}"/>', y + size)
        return x + len(kinds) * size

    def svg(self) -> str:
        """The figure as a file."""
        height = self.height + EDGE
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{SHOWN * WIDTH:g}" '
            f'height="{SHOWN * height:g}" role="img" aria-label="{escape(self.title)}">\n<style>{style()}</style>\n'
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0,0 8,4 0,8z" class="head"/></marker></defs>\n'
            '<rect width="100%" height="100%" rx="8" class="ground"/>\n' + "\n".join(self.drawn) + "\n</svg>\n"
        )


def style() -> str:
    """Colours, and those for readers who have set their system dark."""
    names = "".join(
        f".{kind}{{fill:var(--{kind});stroke:var(--{kind}-line);stroke-width:1.2}}"
        for kind in ("plain", "phantom", "sentinel")
    )
    rules = (
        f"text{{font:14px {FONT};fill:var(--ink)}}.small{{font-size:12.5px}}.quiet{{fill:var(--quiet)}}"
        ".strong{font-weight:600}.ground{fill:var(--ground)}"
        ".box{fill:var(--box);stroke:var(--line);stroke-width:1.2}.head{fill:var(--line)}"
        ".gone{fill:none;stroke:var(--line);stroke-width:1;stroke-dasharray:3 3}"
        ".arrow{fill:none;stroke:var(--line);stroke-width:1.5}.curve{fill:none;stroke:var(--phantom-line);stroke-width:1.5}"
        ".dot{fill:var(--phantom-line)}"
    )
    light, dark = (";".join(f"--{name}:{colour}" for name, colour in one.items()) for one in (LIGHT, DARK))
    return f"svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}{rules}{names}"


MIDDLE, LEFT, RIGHT = WIDTH / 2, EDGE, WIDTH - EDGE


def sentinel_folding() -> Figure:
    """A map with two inputs becomes one with constants; its result is the second half of a plain row."""
    drawn = Figure(
        "In the model, a map computes the phantom half of a row from the token's row and from the sentinel's. In the "
        "export, the sentinel's part is a constant of the map, and both halves are one plain row of 2 d numbers."
    )
    drawn.text(LEFT, 30, "In the model: two tokens", "strong", "start")
    drawn.box(LEFT, 44, 176, 46, ("q of this token", "d numbers"), "plain")
    drawn.box(228, 44, 176, 46, ("q of the sentinel", "the prompt's first token"), "sentinel")
    drawn.arrow((104, 90), (104, 108), (180, 108), (180, 122))
    drawn.arrow((316, 90), (316, 108), (240, 108), (240, 122))
    drawn.box(120, 124, 180, 32, ("map X",))
    drawn.arrow((MIDDLE, 156), (MIDDLE, 174))
    drawn.box(122, 176, 176, 46, ("phantom half of q", "d numbers"), "phantom")
    top = 262
    drawn.text(LEFT, top, "In the export: one token", "strong", "start")
    drawn.text(RIGHT, top, "no sentinel, no state", "small quiet", "end")
    drawn.box(LEFT, top + 14, 176, 46, ("q of this token", "d numbers"), "plain")
    drawn.arrow((192, top + 37), (226, top + 37))
    drawn.box(228, top + 14, 176, 78, ("map X",))
    drawn.drawn.pop()
    drawn.text(316, top + 36, "map X")
    drawn.box(240, top + 46, 152, 36, ("Kc, Vo: constants",), "sentinel")
    drawn.arrow((316, top + 92), (316, top + 116))
    drawn.arrow((104, top + 60), (104, top + 116))
    drawn.box(LEFT, top + 118, 194, 46, ("q", "d numbers"), "plain")
    drawn.box(210, top + 118, 194, 46, ("X(q)", "d numbers"), "phantom")
    drawn.text(MIDDLE, top + 186, "one plain row of 2 d numbers; keys and values alike", "quiet small")
    return drawn


def phantom_curve(count: int = 60) -> list[tuple[float, float]]:
    """Phantom halves of random constants with two key-value heads, on the first two axes of their own: (x, y)."""
    numbers = np.random.default_rng(3)
    rows = numbers.normal(size=(2, 32))
    shares = np.linspace(0, 1, count)[:, None]
    mixed = shares * rows[0] + (1 - shares) * rows[1]
    halves = mixed * (1 + np.tanh(0.7978845608 * (mixed + 0.044715 * mixed**3))) / 2  # gelu
    halves -= halves.mean(0)
    axes = np.linalg.svd(halves, full_matrices=False)[2][:2]
    found = halves @ axes.T
    found *= np.where(found[-1] < 0, -1, 1)  # the sign of an axis is any
    return [(float(x), float(y)) for x, y in found]


def phantom_rank() -> Figure:
    """All phantom halves of a layer lie on a curve, so few numbers say which one it is; the others are not kept."""
    drawn = Figure(
        "The phantom halves of all keys of a layer lie on a curve, whose points have few coordinates. Of a cached row "
        "of 2 d numbers, d plain ones and r coordinates remain; d minus r are cut."
    )
    drawn.text(LEFT, 30, "Phantom halves of every key of a layer", "strong", "start")
    points = phantom_curve()
    xs, ys = zip(*points, strict=True)
    wide, high, top = 300.0, 106.0, 56.0

    def at(point: tuple[float, float]) -> tuple[float, float]:
        x = 70 + wide * (point[0] - min(xs)) / (max(xs) - min(xs))
        return x, top + high * (max(ys) - point[1]) / (max(ys) - min(ys))

    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, points))
    drawn.add(f'<polyline points="{path}" class="curve"/>', top + high)
    for x, y in map(at, points[::5]):
        drawn.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="dot"/>', y)
    corner = (40, top + high + 16)
    drawn.arrow(corner, (392, top + high + 16))
    drawn.arrow(corner, (40, top - 8))
    drawn.text(392, top + high + 34, "coordinate 1", "small quiet", "end")
    drawn.text(48, top, "coordinate 2", "small quiet", "start")
    drawn.text(MIDDLE, top + high + 56, "d numbers each, and all of them on one curve", "small")
    top = 256
    drawn.text(LEFT, top, "A cached row, before", "strong", "start")
    size, half = 24.0, 8
    drawn.cells(18, top + 14, ["plain"] * half + ["phantom"] * half, size)
    drawn.text(18 + half * size / 2, top + 58, "plain half: d", "small")
    drawn.text(18 + 1.5 * half * size, top + 58, "phantom half: d", "small")
    drawn.arrow((18 + half * size / 2, top + 66), (18 + half * size / 2, top + 100))
    drawn.arrow((18 + 1.5 * half * size, top + 66), (18 + (half + 1) * size, top + 100))
    drawn.text(LEFT, top + 92, "after", "strong", "start")
    drawn.cells(18, top + 104, ["plain"] * half + ["phantom"] * 2 + ["gone"] * (half - 2), size)
    drawn.text(18 + half * size / 2, top + 148, "unchanged: d", "small")
    drawn.text(18 + (half + 1) * size, top + 148, "r", "small")
    drawn.text(18 + 13 * size, top + 148, "cut: d - r", "small quiet")
    return drawn


def quantize_once() -> Figure:
    """One set of integers, which is measured once and encoded by every target."""
    drawn = Figure(
        "A checkpoint is quantized once, into integers, scales and zero points. Accuracy is measured on these. ONNX, "
        "Core ML, ExecuTorch and LiteRT encode the same integers, which tests compare bit for bit."
    )
    drawn.box(110, 18, 200, 46, ("checkpoint", "floats"))
    drawn.arrow((MIDDLE, 64), (MIDDLE, 96))
    drawn.text(222, 84, "quantize, once", "small quiet", "start")
    drawn.box(LEFT, 98, 246, 92, (), "plain")
    drawn.text(139, 120, "integers, scales, zero points")
    for column, number in enumerate(("-3", "7", "0", "5", "-8", "1")):
        drawn.box(43 + 32 * column, 132, 32, 24)
        drawn.text(59 + 32 * column, 149, number, "small")
    drawn.text(139, 178, "a checkpoint, too", "small quiet")
    drawn.arrow((262, 144), (300, 144))
    drawn.box(302, 110, 102, 68, ("eval", "accuracy,", "once for all"))
    drawn.arrow((139, 190), (139, 222))
    drawn.text(151, 210, "export: encode, do not round again", "small quiet", "start")
    drawn.drawn.append('<polyline points="63,222 357,222" class="arrow"/>')
    for place, name in enumerate(("ONNX", "Core ML", "ExecuTorch", "LiteRT")):
        x = 63 + 98 * place
        drawn.arrow((x, 222), (x, 240))
        drawn.box(x - 46, 242, 92, 34, (name,))
    drawn.text(MIDDLE, 298, "the same integers in each: tests compare them", "small quiet")
    return drawn


def proof() -> Figure:
    """What is compared with what: here, and on the device."""
    drawn = Figure(
        "The same inputs go through the reference model with the checkpoint's weights and through the bundle's own "
        "files. Image tokens, logits and answers of both are compared under a bound. On the device, the answers of the "
        "golden files, which the checkpoint gave, are compared with those of the chip."
    )
    drawn.text(LEFT, 30, "Before a bundle is written, and by verify", "strong", "start")
    drawn.box(120, 42, 180, 32, ("the same inputs",))
    drawn.arrow((160, 74), (107, 92))
    drawn.arrow((260, 74), (313, 92))
    drawn.box(LEFT, 94, 182, 62, ("checkpoint", "reference model, float32", "quantized: its integers"), "plain")
    drawn.box(222, 94, 182, 62, ("bundle", "its own files", "run by the target's judge"), "phantom")
    rows = ("image tokens", "logits, every position", "tokens of an answer")
    drawn.arrow((107, 156), (107, 174))
    drawn.arrow((313, 156), (313, 174))
    for number, name in enumerate(rows):
        y = 176 + 38 * number
        drawn.box(LEFT, y, 158, 30, (), "plain")
        drawn.box(246, y, 158, 30, (), "phantom")
        drawn.text(95, y + 20, name, "small")
        drawn.text(325, y + 20, name, "small")
        drawn.text(MIDDLE, y + 20, "≈", "strong")
    drawn.text(MIDDLE, 308, "largest difference over largest magnitude, at most:", "small quiet")
    bounds = (
        ("nothing rounded, or exact: 1e-4", "float16: 3e-2"),
        ("activations rounded, as it runs:", "a bound for each kind"),
    )
    for number, (left, right) in enumerate(bounds):
        drawn.text(LEFT, 328 + 19 * number, left, "small", "start")
        drawn.text(RIGHT, 328 + 19 * number, right, "small", "end")
    drawn.text(LEFT, 384, "On the device, by verify --golden or an app", "strong", "start")
    drawn.box(LEFT, 396, 158, 62, ("golden files", "answers that the", "checkpoint gave"), "plain")
    drawn.box(246, 396, 158, 62, ("the chip's answers", "to the same", "questions"), "phantom")
    drawn.text(MIDDLE, 432, "≈", "strong")
    return drawn


FIGURES = {
    "sentinel-folding": sentinel_folding,
    "phantom-rank": phantom_rank,
    "quantize-once": quantize_once,
    "proof": proof,
}


def main() -> None:
    """Write the figures, or compare them."""
    check = is_check(__doc__)
    for name, draw in FIGURES.items():
        path, text = FOLDER / f"{name}.svg", draw().svg()
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is out of date; run: python scripts/figures.py")


if __name__ == "__main__":
    main()
