"""A profile as tables: the same for terminals, pages and Markdown."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

import numpy as np

from phantom_edge.profile.report.compare import Comparison
from phantom_edge.profile.report.roofline import roofline
from phantom_edge.profile.result import STAGES, Answered, Reading, Run


@dataclass(frozen=True)
class Table:
    """A table with units in its column heads; each row's first cell says what it is about."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """As GitHub reads it."""
        rule = "| --- |" + " ---: |" * (len(self.columns) - 1)
        text = [f"**{plain(self.title)}**", "", _line(self.columns), rule, *map(_line, self.rows)]
        return "\n".join([*text, "", plain(self.note)] if self.note else text) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(plain, cells)) + " |"


def plain(text: str) -> str:
    """Text that Markdown shows as it is: a name is no markup, and ends no cell."""
    return re.sub(r"([\\|*_`\[\]#~])", r"\\\1", escape(" ".join(text.split()), quote=False))


def ms(seconds: float) -> str:
    """Milliseconds."""
    return f"{1e3 * seconds:,.2f}"


def quantiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, and what 90 and 99 of 100 do not exceed."""
    half, most, nearly_all = np.quantile(seconds or (float("nan"),), (0.5, 0.9, 0.99))
    return float(half), float(most), float(nearly_all)


def about(run: Run) -> Table:
    """What ran where."""
    device, subject = run.device, run.subject
    rows = {
        "device": f"{device.name} ({device.kind})",
        "processor": f"{device.processor}, {device.cores} cores",
        "system": device.system,
        "memory, GB": f"{device.memory_bytes / 1e9:,.1f}",
        "bandwidth, GB/s, measured": "" if device.bandwidth is None else f"{device.bandwidth / 1e9:,.1f}",
        "float32 multiply-adds, G/s, measured": "" if device.products is None else f"{device.products / 1e9:,.1f}",
        **device.notes,
        "bundle": subject.bundle,
        "seal": subject.seal[:16],
        "model": f"{subject.model} ({subject.fingerprint[:16]})",
        "target": subject.target,
        "weights": f"{subject.weights}, {(subject.vision_bytes + subject.decoder_bytes) / 1e6:,.2f} MB",
        "cache, bytes a token": f"{subject.cache_bytes_per_token:,}",
        "threads": f"{subject.threads or 'as many as the runtime takes'}",
        "exported with": ", ".join(f"{name} {version}" for name, version in subject.tools.items()),
        "measured": f"{run.when} by {run.made_by}",
        "operators": run.untold,
    }
    return Table("What ran where", ("", ""), tuple((name, told) for name, told in rows.items() if told))


def times(run: Run) -> Table:
    """Stages, cold and warm."""
    return Table(
        "Cold and warm",
        ("stage", "units", "cold, ms", "median, ms", "p90, ms", "p99, ms", "repeats"),
        tuple(
            (
                stage.name,
                f"{stage.units:,}",
                ms(stage.cold),
                *(map(ms, quantiles(stage.warm)) if stage.warm else ("-",) * 3),
                f"{len(stage.warm):,}",
            )
            for stage in run.stages
        ),
        "cold: the first time; the others: every time after it; units: tiles of vision, tokens of prefill and decode",
    )


def middle_answer(run: Run) -> Answered | None:
    """The answer whose wall time is the median."""
    return sorted(run.answers, key=lambda answer: answer.seconds)[len(run.answers) // 2] if run.answers else None


def in_order(answer: Answered) -> list[tuple[str, float]]:
    """Stages of an answer in the order of ``STAGES``, then what none of them accounts for."""
    known = [name for name in STAGES if name in answer.stages]
    parts = [(name, answer.stages[name]) for name in (*known, *(name for name in answer.stages if name not in known))]
    rest = answer.seconds - sum(answer.stages.values())
    return [*parts, *([("between stages", rest)] if rest > 0 else [])]


def question(run: Run) -> Table:
    """What each stage took of one question."""
    answer = middle_answer(run)
    if answer is None:
        return Table("A question", (), ())
    parts = in_order(answer)
    return Table(
        "A question",
        ("stage", "ms", "share, %"),
        (
            *((name, ms(seconds), f"{100 * seconds / (answer.seconds or 1):.1f}") for name, seconds in parts),
            ("all of it", ms(answer.seconds), "100.0"),
            (
                "until its first token",
                ms(answer.first_token),
                f"{100 * answer.first_token / (answer.seconds or 1):.1f}",
            ),
        ),
        f"the median of {len(run.answers):,} by wall time; each stage summed over the question",
    )


def floor(run: Run) -> Table:
    """What a stage took beside what it must take."""
    return Table(
        "Roofline",
        ("what", "bytes", "multiply-adds", "least, ms", "took, ms", "share"),
        tuple(
            (
                line.what,
                f"{line.bytes:,}",
                f"{line.products:,}",
                f"{1e3 * line.least:,.3f}",
                f"{1e3 * line.took:,.3f}",
                f"{line.share:.0%} of {line.bound}",
            )
            for line in roofline(run)
        ),
        "least: bytes over bandwidth or multiply-adds over peak, as measured there in float32, whichever takes longer; "
        "above 100 % where integers are multiplied",
    )


def speeds(run: Run) -> Table:
    """Tokens a second."""
    return Table(
        "Single tokens",
        ("cached before", "tokens a second"),
        tuple((f"{context:,}", f"{speed:,.1f}") for context, speed in run.tokens_per_second.items()),
    )


def readings(run: Run) -> Table:
    """The device before, during and after; columns only of what it told."""
    columns: dict[str, Callable[[Reading], float | None]] = {
        "resident at most, MB": lambda one: one.resident_bytes and one.resident_bytes / 1e6,
        "clock at least, MHz": lambda one: one.megahertz,
        "heat at most, °C": lambda one: one.celsius,
        "battery at least, %": lambda one: one.battery,
    }
    told = {name: read for name, read in columns.items() if any(read(one) is not None for one in run.readings)}
    states = any(one.state for one in run.readings)

    def row(when: str, some: list[Reading]) -> tuple[str, ...]:
        cells = []
        for name, read in told.items():
            values = [value for value in map(read, some) if value is not None]
            cells.append(f"{(min if 'least' in name else max)(values):,.1f}" if values else "-")
        return (when, f"{len(some):,}", *cells, *([", ".join(sorted({one.state for one in some} - {""}))] * states))

    moments = {when: [one for one in run.readings if one.when == when] for when in ("before", "during", "after")}
    return Table(
        "Memory, clock and heat",
        ("when", "readings", *told, *(["state"] * states)),
        tuple(row(when, some) for when, some in moments.items() if some) if told else (),
        f"{run.peak_bytes / 1e6:,.1f} MB were resident at most" if run.peak_bytes else "",
    )


def energy(run: Run) -> Table:
    """Joules."""
    used = run.energy
    if used is None:
        return Table("Energy", (), ())
    idle = "-" if used.idle_watts is None else f"{used.idle_watts:,.2f}"
    each = "-" if not used.tokens else f"{used.joules / used.tokens:,.3f}"
    return Table(
        "Energy",
        ("told by", "joules", "tokens", "joules a token", "idle, W"),
        ((used.source, f"{used.joules:,.2f}", f"{used.tokens:,}", each, idle),),
        "all that was used during the answers, what the idle device would have used included",
    )


def compared(comparison: Comparison, title: str, margin: float) -> Table:
    """Two runs, stage by stage."""
    return Table(
        title,
        ("stage", "verdict", "ratio", "95 % interval", "first, ms", "later, ms"),
        tuple(
            (
                one.what,
                one.verdict,
                f"{one.ratio:.3f}",
                "too few repeats" if one.low is None else f"{one.low:.3f} to {one.high:.3f}",
                ms(one.first),
                ms(one.later),
            )
            for one in comparison.stages
        ),
        f"medians; ratio: later over first; slower, faster: all of the interval is more than {100 * margin:g} % from 1",
    )


def summary(runs: Sequence[Run]) -> Table:
    """A line a run."""
    return Table(
        "Runs",
        ("run", "bundle", "device", "weights", "first token, ms", "tokens a second", "peak, MB"),
        tuple(
            (
                f"{number}{' (partial)' if run.partial else ''}",
                run.subject.bundle,
                run.device.name,
                run.subject.weights,
                "-" if run.seconds_to_first_token is None else ms(run.seconds_to_first_token),
                "-" if (speed := decode_speed(run)) is None else f"{speed:,.1f}",
                f"{run.peak_bytes / 1e6:,.1f}" if run.peak_bytes else "-",
            )
            for number, run in enumerate(runs, 1)
        ),
    )


def decode_speed(run: Run) -> float | None:
    """Tokens a second of the decode stage."""
    stage = run.stage("decode")
    took = median(stage.warm) if stage is not None and stage.warm else 0.0
    return 1 / took if took else None
