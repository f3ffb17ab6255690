"""A profile as plots. SVG colours come from the page's stylesheet, for light and dark; words stay text."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from phantom_edge.bundle import node_names as places
from phantom_edge.bundle.node_names import PLACES
from phantom_edge.foundation.errors import need
from phantom_edge.profile.report.compare import Comparison
from phantom_edge.profile.report.quality import Quality
from phantom_edge.profile.report.roofline import roofline
from phantom_edge.profile.report.sharing import Share, parts_of, shares_of
from phantom_edge.profile.report.tables import in_order, middle_answer
from phantom_edge.profile.result import Reading, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BLUE, RED, GREEN, GREY = "#1c1c23", "#3f6fb5", "#c2452d", "#2c8a4b", "#9a9aa5"
AMBER, TEAL, VIOLET, PINK, BROWN = "#d99a2b", "#5fb3b3", "#8a63c4", "#d678a8", "#8c6a4f"
CSS = {INK: "currentColor", BLUE: "var(--blue)", RED: "var(--red)", GREEN: "var(--green)", GREY: "var(--grey)"}
"""CSS names of the colours."""

COLOURS = {
    places.PROJECTIONS: BLUE,
    places.ATTENTION: AMBER,
    places.PHANTOM: RED,
    places.MLP: TEAL,
    places.NORMS: VIOLET,
    places.HEAD: GREEN,
    places.PATCHES: PINK,
    places.PROJECTOR: BROWN,
}
"""Colours of places in the model; any other place is grey."""

WIDTH = 4.0
"""Inches; narrow enough that text stays readable on a phone."""

MOST_POINTS = 400
TICKS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
"""Ticks of the logarithmic axis of ratios."""

STYLE = {
    "font.size": 9,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "phantom-edge",
}


@dataclass(frozen=True)
class Plot:
    """A drawing with its number of bar rows (0: points over an axis). ``name`` is the file's name."""

    name: str
    title: str
    draw: Callable[["Axes"], None]
    rows: int = 0

    def svg(self) -> str:
        """Returns SVG to embed in a page: its ids are unique, and it loads nothing."""
        with self._figure() as figure, StringIO() as file:
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
            text = file.getvalue()
        text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
        text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text)
        text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{self.name}-", text).replace("xlink:href", "href")
        for colour, name in CSS.items():
            text = text.replace(colour, name)
        return re.sub(r"\n\s*", "\n", text)

    def png(self, path: Path) -> None:
        """Writes the plot as PNG."""
        with self._figure() as figure:
            figure.suptitle(self.title, fontsize=10)
            figure.savefig(path, format="png", dpi=200)

    @contextmanager
    def _figure(self) -> Iterator["Figure"]:
        matplotlib, figures = need("matplotlib", "profile"), need("matplotlib.figure", "profile")
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has its own fonts
            height = 0.9 + 0.28 * self.rows if self.rows else 2.7
            figure = figures.Figure(figsize=(WIDTH, height), layout="constrained")
            self.draw(figure.add_subplot())
            yield figure


def question_plot(run: Run, name: str) -> Plot | None:
    """Stages of one question, one after the other."""
    answer = middle_answer(run)
    if answer is None:
        return None
    parts, first_token = in_order(answer), answer.first_token
    return Plot(
        f"{name}-question",
        "A question, stage by stage",
        lambda axes: _waterfall(axes, parts, first_token),
        len(parts) + 1,
    )


def speed_plot(run: Run, name: str) -> Plot | None:
    """Decode speed over the number of cached tokens."""
    speeds = run.tokens_per_second
    draw = partial(_speed, speeds=speeds)
    return Plot(f"{name}-speed", "Decode speed over the cache", draw) if speeds else None


def memory_plot(run: Run, name: str) -> Plot | None:
    """Resident memory over time."""
    known = [one for one in run.readings if one.resident_bytes is not None]
    return Plot(f"{name}-memory", "Resident memory over time", partial(_memory, readings=known)) if known else None


def roofline_plot(run: Run, name: str) -> Plot | None:
    """Share of the device's bandwidth or peak that every stage reaches."""
    rows = [(line.what, 100 * line.share) for line in roofline(run)]
    draw = partial(_shares, rows=rows)
    return Plot(f"{name}-roofline", "Share of the device's bandwidth or peak", draw, len(rows)) if rows else None


def operators_plot(run: Run, name: str) -> Plot | None:
    """Shares of the places in the model, one bar per step."""
    parts = parts_of(shares_of(run))
    draw = partial(_stacks, parts=parts)
    return Plot(f"{name}-operators", "Where the time of a step goes", draw, len(parts) + 4) if parts else None


def _column(axes: "Axes", words: Sequence[str]) -> None:
    """Writes each row's value to the right of the axes, where no line crosses it."""
    for place, word in enumerate(words):
        axes.annotate(word, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)


def _bars(axes: "Axes", rows: Sequence[tuple[str, float]], label: str, format: str = "{:,.1f}") -> None:
    axes.barh(range(len(rows)), [value for _, value in rows], color=BLUE, height=0.6)
    _column(axes, [format.format(value) for _, value in rows])
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(label)


def _shares(axes: "Axes", rows: Sequence[tuple[str, float]]) -> None:
    _bars(axes, rows, "% of bandwidth or peak", "{:,.0f} %")
    axes.axvline(100, color=RED, linewidth=1, linestyle="--")
    axes.set_xlim(0, max(104.0, *(1.04 * share for _, share in rows)))


def _stacks(axes: "Axes", parts: Mapping[str, Mapping[str, Share]]) -> None:
    """Draws the places in the same order in all bars."""
    found = dict.fromkeys(place for step in parts.values() for place in step)
    known = [*(place for place in PLACES if place in found), *(place for place in found if place not in PLACES)]
    starts = [0.0] * len(parts)
    for place in known:
        widths = [100 * step[place].share if place in step else 0.0 for step in parts.values()]
        colour = COLOURS.get(place, GREY)
        axes.barh(range(len(parts)), widths, left=starts, color=colour, height=0.6, label=place)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.set_yticks(range(len(parts)), [part or "all steps" for part in parts])
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the step")
    axes.figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def _waterfall(axes: "Axes", parts: Sequence[tuple[str, float]], first_token: float) -> None:
    """Each bar begins where the one above it ends."""
    starts = [1e3 * sum(seconds for _, seconds in parts[:number]) for number in range(len(parts))]
    axes.barh(range(len(parts)), [1e3 * seconds for _, seconds in parts], left=starts, color=BLUE, height=0.6)
    _column(axes, [f"{1e3 * seconds:,.2f}" for _, seconds in parts])
    axes.axvline(1e3 * first_token, color=RED, linewidth=1.2, linestyle="--")
    is_early = 2 * first_token < sum(seconds for _, seconds in parts)
    axes.annotate(
        f"first token {1e3 * first_token:,.1f} ms",
        (1e3 * first_token, -0.9),
        xytext=(3 if is_early else -3, 0),
        textcoords="offset points",
        ha="left" if is_early else "right",
        va="center",
        color=RED,
        fontsize=8,
    )
    axes.set_yticks(range(len(parts)), [name for name, _ in parts])
    axes.set_ylim(len(parts) - 0.4, -1.4)
    axes.margins(x=0.02)
    axes.set_xlim(left=0)
    axes.set_xlabel("ms since the question")


def _speed(axes: "Axes", speeds: dict[int, float]) -> None:
    contexts = sorted(speeds)
    axes.plot(contexts, [speeds[context] for context in contexts], color=BLUE, marker="o", markersize=4)
    for context in contexts:
        axes.annotate(
            f"{speeds[context]:,.1f}",
            (context, speeds[context]),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    if len(contexts) > 1:
        axes.set_xscale("log", base=2)
    axes.set_xticks(contexts, [f"{context:,}" for context in contexts])
    axes.minorticks_off()
    axes.margins(x=0.1)
    axes.set_ylim(0, 1.2 * max(speeds.values()))
    axes.set_xlabel("cached tokens")
    axes.set_ylabel("tokens/s")


def _memory(axes: "Axes", readings: Sequence[Reading]) -> None:
    size = -(-len(readings) // MOST_POINTS)
    groups = [readings[start : start + size] for start in range(0, len(readings), size)]
    highest = [max(group, key=lambda one: one.resident_bytes or 0) for group in groups]
    points = [(one.seconds, (one.resident_bytes or 0) / 1e6) for one in highest]
    axes.plot(*zip(*points, strict=True), color=BLUE, linewidth=1.4, label="during")
    for when, colour in (("before", GREEN), ("after", RED)):
        some = [(one.seconds, (one.resident_bytes or 0) / 1e6) for one in readings if one.when == when]
        if some:
            axes.plot(*zip(*some, strict=True), "o", color=colour, markersize=6, label=when)
    axes.set_ylim(0, 1.15 * max(value for _, value in points) or 1)
    axes.margins(x=0.03)
    axes.set_xlabel("seconds")
    axes.set_ylabel("resident, MB")
    axes.legend(loc="lower center", ncols=3, fontsize=8, frameon=False)


def ratios(comparison: Comparison, name: str, margin: float) -> Plot:
    """Ratios with their intervals, and the margin that counts as noise."""

    def draw(axes: "Axes") -> None:
        colours = {"slower": RED, "faster": GREEN, "no difference shown": GREY}
        axes.axvspan(1 / (1 + margin), 1 + margin, color=GREY, alpha=0.25, linewidth=0)
        axes.axvline(1, color=INK, linewidth=0.8)
        for place, one in enumerate(comparison.stages):
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [place, place], color=colours[one.verdict], linewidth=2)
            axes.plot([one.ratio], [place], "o", color=colours[one.verdict], markersize=5)
        axes.set_yticks(range(len(comparison.stages)), [one.what for one in comparison.stages])
        axes.set_ylim(len(comparison.stages) - 0.5, -0.5)
        axes.set_xlabel("later over first: to the right is slower")
        reach = [one.ratio for one in comparison.stages if one.ratio] + [
            end for one in comparison.stages for end in (one.low, one.high) if end
        ]
        if reach and max(reach) > 3 * min(reach):
            axes.set_xscale("log")
            axes.set_xticks([tick for tick in TICKS if min(reach) <= tick <= max(reach)])
            axes.xaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()

    return Plot(name, "Time relative to the first run", draw, len(comparison.stages))


def quality_and_size(points: Sequence[tuple[int, Run, Quality]], name: str) -> Plot:
    """Accuracy over the megabytes of the weights; labels are the numbers of the runs."""

    places: dict[tuple[float, Quality], list[str]] = {}
    for number, run, quality in points:  # runs of one bundle share a point
        megabytes = (run.subject.vision_bytes + run.subject.decoder_bytes) / 1e6
        places.setdefault((megabytes, quality), []).append(str(number))

    def draw(axes: "Axes") -> None:
        for (megabytes, quality), numbers in places.items():
            axes.plot([megabytes] * 2, [100 * quality.low, 100 * quality.high], color=BLUE, linewidth=1.5)
            axes.plot([megabytes], [100 * quality.accuracy], "o", color=BLUE, markersize=5)
            axes.annotate(
                f"run {', '.join(numbers)}",
                (megabytes, 100 * quality.accuracy),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_xlim(left=0)
        axes.margins(x=0.2, y=0.15)
        axes.set_xlabel("weights, MB")
        axes.set_ylabel("right answers, %")

    return Plot(name, "Quality and size", draw)
