"""What the runtime's own profiler found, as tables."""

from collections.abc import Sequence
from statistics import median

from phantom_edge.profile.result import Group, Run
from phantom_edge.profile.sharing import accounted, cost_of_phantoms, seconds_by_place, share_of, shares_by_place
from phantom_edge.profile.tables import Table, ms

OPERATORS = 20
"""Of a run's operators, so many are listed; the others are one row."""


def places(run: Run) -> Table:
    """Where the time of a step goes."""
    nodes: dict[tuple[str, str], int] = {}
    for one in run.operators:
        nodes[one.part, one.group] = nodes.get((one.part, one.group), 0) + one.calls
    seconds, shares, whole = seconds_by_place(run), shares_by_place(run), accounted(run)
    notes = [cost_of_phantoms(run)]
    if tolls := [one.toll for one in run.traced if one.toll]:
        notes.append(
            f"{1e6 * median(tolls):.1f} µs, which a node takes that does nothing, are off each: the profiler's"
        )
    if whole:
        told = ", ".join(f"{share:.0%} of {part}" for part, share in whole.items())
        notes.append(f"together they are, of the same step without the profiler: {told}")
    return Table(
        "Where the time goes",
        ("step", "place", "ms", "share, %", "nodes"),
        tuple(
            (
                part or "all steps",
                place,
                f"{1e3 * took:,.3f}",
                f"{100 * shares[part][place]:.1f}",
                f"{nodes[part, place]:,}",
            )
            for part, found in seconds.items()
            for place, took in found.items()
        ),
        "; ".join(filter(None, notes)),
    )


def places_compared(first: Run, later: Run, title: str) -> Table:
    """Where the time of the steps goes that both have."""
    before, after = seconds_by_place(first), seconds_by_place(later)
    return Table(
        title,
        ("step", "place", "ratio", "first, ms", "later, ms"),
        tuple(
            (
                part or "all steps",
                place,
                f"{after[part][place] / took:.3f}" if took else "-",
                f"{1e3 * took:,.3f}",
                f"{1e3 * after[part][place]:,.3f}",
            )
            for part, found in before.items()
            for place, took in found.items()
            if place in after.get(part, {})
        ),
        "one step of each, as the runtime's profiler saw it: no interval is told",
    )


def operators(run: Run) -> Table:
    """What the runtime's own profiler found, longest first."""
    found = sorted(run.operators, key=lambda one: -share_of(run, one))

    def row(name: str, some: Sequence[Group]) -> tuple[str, ...]:
        parts = {one.part for one in some}
        share = f"{100 * sum(share_of(run, one) for one in some):.1f}" if len(parts) == 1 else "-"
        return name, ms(sum(one.seconds for one in some)), share, f"{sum(one.calls for one in some):,}"

    rows = [row(f"{one.part}{', ' * bool(one.part)}{one.group}: {one.operator}", [one]) for one in found[:OPERATORS]]
    if others := found[OPERATORS:]:
        rows.append(row(f"{len(others):,} others", others))
    return Table(
        "Operators", ("operator", "ms", "share, %", "calls"), tuple(rows), "those with the largest shares of their step"
    )
