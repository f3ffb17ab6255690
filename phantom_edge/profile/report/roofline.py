"""Roofline: the minimum time of a stage on a machine, beside its measured time."""

from dataclasses import dataclass
from statistics import median
from typing import Literal

from phantom_edge.profile.result import Run
from phantom_edge.runtime.tracing import TILE, chunk_named, token_named


@dataclass(frozen=True)
class Line:
    """Bytes and multiply-adds of one stage, its minimum seconds and its measured seconds."""

    what: str
    bytes: int
    products: int
    least: float
    took: float
    bound: Literal["bandwidth", "peak"]

    @property
    def share(self) -> float:
        """Share of the machine's rate; above 1 where small integers multiply faster than floats."""
        return self.least / self.took if self.took else 0.0


def roofline(run: Run) -> list[Line]:
    """Lines of vision, a chunk, and single tokens at every depth; empty where the machine was not measured."""
    about, device = run.subject, run.device
    if device.bandwidth is None or device.products is None:
        return []
    found = []

    def line(what: str, size: int, products: int, took: float) -> None:
        assert device.bandwidth is not None and device.products is not None
        moving, multiplying = size / device.bandwidth, products / device.products
        bound: Literal["bandwidth", "peak"] = "bandwidth" if moving >= multiplying else "peak"
        found.append(Line(what, size, products, max(moving, multiplying), took, bound))

    for stage in run.stages:
        if not stage.warm:
            continue
        if stage.name == "vision":
            line(TILE, about.vision_bytes, about.vision_products, median(stage.warm))
        if stage.name == "prefill":
            size = about.decoder_bytes + stage.units * about.cache_bytes_per_token
            line(chunk_named(stage.units), size, stage.units * about.decoder_products, median(stage.warm))
    for depth in run.depths:
        size = about.decoder_bytes + depth.context * about.cache_bytes_per_token
        line(token_named(depth.context), size, about.decoder_products, median(depth.seconds))
    return found
