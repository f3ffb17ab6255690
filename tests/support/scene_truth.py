"""A second, independent reading of scenes: the answer to a question by its words alone."""

import re

import numpy as np

from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Scene, Sign, Solid


def only(scene: Scene, kind: type) -> object:
    (item,) = [item for item in scene.items if isinstance(item, kind)]
    return item


def truth(scene: Scene, text: str) -> str:  # noqa: C901 (one branch a question, flat on purpose)
    """The answer to ``text``, read off the graph by the words of the question alone."""
    solids = [item for item in scene.items if isinstance(item, Solid)]
    if found := re.fullmatch(r"Is there an? (\w+) (\w+) in the picture\?", text):
        return "yes" if any((s.colour, s.shape) == found.groups() for s in solids) else "no"
    if text == "How many coloured shapes are there?":
        return str(len(solids))
    if found := re.fullmatch(r"How many (\w+) shapes are there\?", text):
        return str([s.colour for s in solids].count(found[1]))
    if found := re.fullmatch(r"How many (\w+) are there\?", text):
        return str([s.shape + ("es" if s.shape == "cross" else "s") for s in solids].count(found[1]))
    if found := re.fullmatch(r"What colour is the (\w+)\?", text):
        (solid,) = [s for s in solids if s.shape == found[1]]
        return solid.colour
    if found := re.fullmatch(r"What shape is the (\w+) object\?", text):
        coloured = [item for item in scene.items if getattr(item, "colour", None) == found[1]]
        assert len(coloured) == 1
        return coloured[0].shape
    if found := re.fullmatch(r"Is the (\w+ \w+) (left or right of|above or below) the (\w+ \w+)\?", text):
        (one,), (two,) = ([s.place for s in solids if f"{s.colour} {s.shape}" == found[i]] for i in (1, 3))
        if found[2].startswith("left"):
            return "left" if one.x < two.x else "right"
        return "above" if one.y < two.y else "below"
    if found := re.fullmatch(r"Which shape is nearest to the (\w+ \w+)\?", text):
        (centre,) = [s for s in solids if f"{s.colour} {s.shape}" == found[1]]
        others = [s for s in solids if s is not centre]
        gaps = [np.hypot(s.place.x - centre.place.x, s.place.y - centre.place.y) for s in others]
        return f"{others[int(np.argmin(gaps))].colour} {others[int(np.argmin(gaps))].shape}"
    if text == "Where does the arrow point?":
        return only(scene, Arrow).direction
    if text in ("What does the sign say?", "What is the price?"):
        return only(scene, Sign).text
    if text == "What number is on the card?":
        return only(scene, Card).digits
    if text == "What does the dial show?":
        return str(only(scene, Dial).value)
    if found := re.fullmatch(r"Which bar is the (highest|lowest)\?", text):
        bars = only(scene, Bars)
        extreme = max(bars.heights) if found[1] == "highest" else min(bars.heights)
        return bars.colours[bars.heights.index(extreme)]
    assert text == "Describe the picture briefly.", text
    words = [("an " if item.name[0] in "aeiou" else "a ") + item.name for item in scene.items]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
