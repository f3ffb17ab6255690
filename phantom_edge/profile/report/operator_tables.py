"""Results of the runtime's own profiler, as tables."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from phantom_edge.profile.report.sharing import accounted, cost_of_phantoms, parts_of, shares_of
from phantom_edge.profile.report.tables import Table, ms
from phantom_edge.profile.result import Run
from phantom_edge.runtime.tracing import Group

OPERATORS = 20
"""Number of operators listed; the others share one row."""


def places(run: Run) -> Table:
    """Time of a step by place in the model."""
    notes, whole = [cost_of_phantoms(run)], accounted(run)
    if whole:
        notes.append("total includes runtime overhead, divided evenly among nodes; in and out: inputs, outputs, cache")
        shares = ", ".join(f"{share:.0%} of {part}" for part, share in whole.items())
        notes.append(f"time inside nodes, relative to the step without the profiler: {shares}")
    if tolls := [one.toll for one in run.traced if one.toll]:
        notes.append(f"{1e6 * median(tolls):.1f} µs profiler overhead (measured on a no-op) subtracted per node")
    return Table(
        "Where the time goes",
        ("step", "place", "nodes", "inside, ms", "total, ms", "share, %"),
        tuple(
            (
                one.part or "all steps",
                one.place,
                f"{one.nodes:,}",
                f"{1e3 * one.inside:,.3f}",
                f"{1e3 * one.seconds:,.3f}",
                f"{100 * one.share:.1f}",
            )
            for one in shares_of(run)
        ),
        "; ".join(filter(None, notes)),
    )


def places_compared(first: Run, later: Run, title: str) -> Table:
    """Time by place in the steps that both runs have."""
    after = parts_of(shares_of(later))
    both = [(one, after[one.part][one.place]) for one in shares_of(first) if one.place in after.get(one.part, {})]
    return Table(
        title,
        ("step", "place", "ratio", "first, ms", "later, ms"),
        tuple(
            (
                one.part or "all steps",
                one.place,
                f"{other.seconds / one.seconds:.3f}" if one.seconds else "-",
                f"{1e3 * one.seconds:,.3f}",
                f"{1e3 * other.seconds:,.3f}",
            )
            for one, other in both
        ),
        "medians over a few steps under the runtime's profiler, without an interval",
    )


def operators(run: Run) -> Table:
    """Operators by their share of the step."""
    whole: dict[str, float] = defaultdict(float)
    for one in run.operators:
        whole[one.part] += one.seconds

    def row(name: str, some: Sequence[Group]) -> tuple[str, ...]:
        share = sum(share_of(one) for one in some) if len({one.part for one in some}) == 1 else None
        percent = "-" if share is None else f"{100 * share:.1f}"
        return name, ms(sum(one.seconds for one in some)), percent, f"{sum(one.calls for one in some):,}"

    def share_of(one: Group) -> float:
        return one.seconds / (whole[one.part] or 1.0)

    found = sorted(run.operators, key=lambda one: -share_of(one))
    rows = [row(f"{one.part}{', ' * bool(one.part)}{one.group}: {one.operator}", [one]) for one in found[:OPERATORS]]
    if others := found[OPERATORS:]:
        rows.append(row(f"{len(others):,} others", others))
    return Table(
        "Operators",
        ("operator", "ms", "share, %", "calls"),
        tuple(rows),
        "sorted by the share of the time inside nodes",
    )
