"""Plot of size against damage."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phantom_edge.foundation.errors import need

if TYPE_CHECKING:
    from phantom_edge.quantize.mix import Measured

LEAST = 1e-7
"""Lower end of the logarithmic axis, nats."""


def draw_front(front: Sequence[tuple[float, float]], points: Sequence["Measured"], file: Path) -> None:
    """Writes a PNG of the predicted front and the measured mixtures. Raises EdgeError without matplotlib."""
    matplotlib = need("matplotlib.figure", "scenes")
    figure = matplotlib.Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    sizes, damages = zip(*front, strict=True)
    axes.step(sizes, [max(one, LEAST) for one in damages], where="post", color="#4c78a8", label="predicted front")
    for number, point in enumerate(points):
        colour = "#e4572e" if number == 0 else "#2f4b6e"
        place = (point.megabytes, max(point.divergence, LEAST))
        axes.scatter(*place, color=colour, s=45 if number == 0 else 22, zorder=3)
        axes.annotate(point.name, place, textcoords="offset points", xytext=(6, 5), fontsize=8, color=colour)
    axes.set_yscale("log")
    axes.set_xlabel("weights, MB")
    axes.set_ylabel("divergence of the answers, nats")
    axes.set_title("Size against damage: measured mixtures (dots)", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="png")
