"""A bar chart of accuracies by kind, with intervals and the chance level."""

from pathlib import Path
from textwrap import fill

from phantom_edge.evaluate.scores import Scores
from phantom_edge.foundation.errors import need


def draw_chart(scores: Scores, title: str, file: Path) -> None:
    """Write a PNG. Raises EdgeError where matplotlib is missing."""
    matplotlib = need("matplotlib.figure", "train")
    rows = [*scores.kinds, scores.overall]
    figure = matplotlib.Figure(figsize=(7, 1.2 + 0.38 * len(rows)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rows))
    values = [100 * row.accuracy.value for row in rows]
    # the percentile interval may miss the value itself by rounding, which would be a negative length
    below = [max(0.0, value - 100 * row.accuracy.interval.low) for value, row in zip(values, rows, strict=True)]
    above = [max(0.0, 100 * row.accuracy.interval.high - value) for value, row in zip(values, rows, strict=True)]
    colours = ["#4c78a8"] * len(scores.kinds) + ["#2f4b6e"]
    axes.barh(places, values, xerr=[below, above], color=colours, height=0.65, capsize=2.5, ecolor="#222222")
    axes.scatter(
        [100 * row.chance for row in rows],
        places,
        marker="|",
        s=160,
        linewidths=2.5,
        color="#e4572e",
        zorder=3,
        label="always the commonest answer",
    )
    axes.set_yticks(places, [f"{row.kind} ({row.questions:,})" for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("right answers, %, with 95 % intervals over pictures")
    axes.set_title(fill(title, 80, break_on_hyphens=False), fontsize=10)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="png")
