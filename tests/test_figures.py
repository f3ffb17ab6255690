"""Figures of docs/concepts: today's drawing, legible without a network, and described to those who do not see them."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import figures  # noqa: E402

CONCEPTS = ROOT / "docs" / "concepts"
PAGES = "\n".join(page.read_text(encoding="utf-8") for page in CONCEPTS.glob("*.md"))
WIDEST = 0.62
"""Share of its size that a letter of DejaVu Sans, a wide face, takes on average."""


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_is_up_to_date_and_stands_alone(name: str) -> None:
    text = (CONCEPTS / f"{name}.svg").read_text(encoding="utf-8")
    assert text == figures.FIGURES[name]().svg(), "run: python scripts/figures.py"
    assert not re.search(r"href=|url\(http|@import|<image|<script", text)
    assert len(ElementTree.fromstring(text).attrib["aria-label"]) > 100


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_line_lies_in_the_figure(name: str) -> None:
    figure = ElementTree.parse(CONCEPTS / f"{name}.svg").getroot()
    wide, high = map(float, figure.attrib["viewBox"].split()[2:])
    lines = list(figure.iter("{http://www.w3.org/2000/svg}text"))
    assert len(lines) > 5
    for line in lines:
        size = 12.5 if "small" in line.get("class", "") else 14
        length = WIDEST * size * len(line.text or "")
        before = {"start": 0.0, "middle": 0.5, "end": 1.0}[line.attrib["text-anchor"]] * length
        left = float(line.attrib["x"]) - before
        assert left > 0 and left + length < wide, line.text
        assert size < float(line.attrib["y"]) < high, line.text


def test_every_figure_is_shown_with_words_for_it() -> None:
    shown = {file: words for words, file in re.findall(r"!\[([^\]]+)\]\(([\w-]+\.svg)\)", PAGES)}
    assert shown.keys() == {f"{name}.svg" for name in figures.FIGURES}
    assert all(len(words) > 80 for words in shown.values())


@pytest.mark.parametrize("colours", [figures.LIGHT, figures.DARK], ids=["light", "dark"])
def test_letters_stand_out_from_what_they_stand_on(colours: dict[str, str]) -> None:
    for ground in ("ground", "box", "plain", "phantom", "sentinel"):
        assert contrast(colours["ink"], colours[ground]) >= 7, ground
    for ground in ("ground", "box", "plain"):
        assert contrast(colours["quiet"], colours[ground]) >= 4.5, ground
