"""A profile as tables, for terminals, pages and Markdown alike."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

import numpy as np

from phantom_edge.profile.report.compare import Comparison
from phantom_edge.profile.report.roofline import roofline
from phantom_edge.profile.result import STAGES, Answered, Reading, Run
from phantom_edge.runtime.drafting import Drafted


@dataclass(frozen=True)
class Table:
    """A table with units in its column heads; the first cell of each row is its label."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """Returns the table in GitHub's Markdown."""
        rule = "| --- |" + " ---: |" * (len(self.columns) - 1)
        text = [f"**{plain(self.title)}**", "", _line(self.columns), rule, *map(_line, self.rows)]
        return "\n".join([*text, "", plain(self.note)] if self.note else text) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(plain, cells)) + " |"


def plain(text: str) -> str:
    """Escapes text, so that Markdown shows names literally and in one cell."""
    return re.sub(r"([\\|*_`\[\]#~])", r"\\\1", escape(" ".join(text.split()), quote=False))


def ms(seconds: float) -> str:
    """Formats seconds as milliseconds."""
    return f"{1e3 * seconds:,.2f}"


def quantiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Returns the median, the 90th and the 99th percentile."""
    half, most, nearly_all = np.quantile(seconds or (float("nan"),), (0.5, 0.9, 0.99))
    return float(half), float(most), float(nearly_all)


def about(run: Run) -> Table:
    """Device, bundle and tools."""
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
        "cache, bytes per token": f"{subject.cache_bytes_per_token:,}",
        "threads": f"{subject.threads or 'chosen by the runtime'}",
        "exported with": ", ".join(f"{name} {version}" for name, version in subject.tools.items()),
        "measured": f"{run.when} by {run.made_by}",
        "operators": run.untold,
    }
    return Table("Device and bundle", ("", ""), tuple((name, text) for name, text in rows.items() if text))


def times(run: Run) -> Table:
    """Stage times, cold and warm."""
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
        "cold: first call; others: all later calls; units: tiles of vision, tokens of prefill and decode",
    )


def middle_answer(run: Run) -> Answered | None:
    """Answer with the median wall time."""
    return sorted(run.answers, key=lambda answer: answer.seconds)[len(run.answers) // 2] if run.answers else None


def in_order(answer: Answered) -> list[tuple[str, float]]:
    """Stages of an answer in the order of ``STAGES``, then the time between them."""
    known = [name for name in STAGES if name in answer.stages]
    parts = [(name, answer.stages[name]) for name in (*known, *(name for name in answer.stages if name not in known))]
    rest = answer.seconds - sum(answer.stages.values())
    return [*parts, *([("between stages", rest)] if rest > 0 else [])]


def question(run: Run) -> Table:
    """Time of each stage in one question."""
    answer = middle_answer(run)
    if answer is None:
        return Table("A question", (), ())
    parts = in_order(answer)
    return Table(
        "A question",
        ("stage", "ms", "share, %"),
        (
            *((name, ms(seconds), f"{100 * seconds / (answer.seconds or 1):.1f}") for name, seconds in parts),
            ("total", ms(answer.seconds), "100.0"),
            (
                "until the first token",
                ms(answer.first_token),
                f"{100 * answer.first_token / (answer.seconds or 1):.1f}",
            ),
        ),
        f"the one of {len(run.answers):,} questions with the median wall time; each stage summed over it. Its first "
        f"token is its own; the median over all questions, in the table of runs, is "
        f"{ms(run.seconds_to_first_token or 0.0)} ms",
    )


def floor(run: Run) -> Table:
    """Measured time of each stage beside its minimum."""
    return Table(
        "Roofline",
        ("stage", "bytes", "multiply-adds", "minimum, ms", "measured, ms", "share"),
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
        "minimum: the longer of bytes over bandwidth and multiply-adds over peak, measured on the device in float32; "
        "integers may exceed 100 %",
    )


def speeds(run: Run) -> Table:
    """Decode speed by the number of cached tokens."""
    return Table(
        "Single tokens",
        ("cached tokens", "tokens/s"),
        tuple((f"{context:,}", f"{speed:,.1f}") for context, speed in run.tokens_per_second.items()),
    )


def drafts(run: Run) -> Table:
    """Tokens a step of the answers, where the bundle has a draft layer."""
    found = [answer.drafted for answer in run.answers if answer.drafted is not None]
    steps, proposed, accepted = (sum(getattr(one, name) for one in found) for name in ("steps", "proposed", "accepted"))
    total = Drafted(steps, proposed, accepted)
    row = (f"{steps:,}", f"{total.tokens_per_step:.2f}", f"{proposed:,}", f"{100 * total.accepted_share:.1f}")
    return Table(
        "Drafts",
        ("steps", "tokens a step", "proposed tokens", "accepted, %"),
        (row,) if found else (),
        "of all questions; answers are drafted from their fifth token on, and only while it pays",
    )


def readings(run: Run) -> Table:
    """The device before, during and after; only columns with data."""
    columns: dict[str, Callable[[Reading], float | None]] = {
        "maximum resident, MB": lambda one: one.resident_bytes and one.resident_bytes / 1e6,
        "minimum clock, MHz": lambda one: one.megahertz,
        "maximum heat, °C": lambda one: one.celsius,
        "minimum battery, %": lambda one: one.battery,
    }
    known = {name: read for name, read in columns.items() if any(read(one) is not None for one in run.readings)}
    states = any(one.state for one in run.readings)

    def row(when: str, some: list[Reading]) -> tuple[str, ...]:
        cells = []
        for name, read in known.items():
            values = [value for value in map(read, some) if value is not None]
            cells.append(f"{(min if 'minimum' in name else max)(values):,.1f}" if values else "-")
        return (when, f"{len(some):,}", *cells, *([", ".join(sorted({one.state for one in some} - {""}))] * states))

    moments = {when: [one for one in run.readings if one.when == when] for when in ("before", "during", "after")}
    return Table(
        "Memory, clock and heat",
        ("when", "readings", *known, *(["state"] * states)),
        tuple(row(when, some) for when, some in moments.items() if some) if known else (),
        f"peak resident memory: {run.peak_bytes / 1e6:,.1f} MB" if run.peak_bytes else "",
    )


def energy(run: Run) -> Table:
    """Energy of the answers."""
    used = run.energy
    if used is None:
        return Table("Energy", (), ())
    idle = "-" if used.idle_watts is None else f"{used.idle_watts:,.2f}"
    each = "-" if not used.tokens else f"{used.joules / used.tokens:,.3f}"
    return Table(
        "Energy",
        ("meter", "joules", "tokens", "joules/token", "idle, W"),
        ((used.source, f"{used.joules:,.2f}", f"{used.tokens:,}", each, idle),),
        "total during the answers, idle power included",
    )


def compared(comparison: Comparison, title: str, margin: float) -> Table:
    """Two runs compared, stage by stage."""
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
        f"medians; ratio: later over first; slower, faster: the whole interval is more than {100 * margin:g} % from 1",
    )


def summary(runs: Sequence[Run]) -> Table:
    """One line per run."""
    return Table(
        "Runs",
        ("run", "bundle", "device", "weights", "first token, ms", "tokens/s", "peak, MB"),
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
        "first token: median over the questions of a run",
    )


def decode_speed(run: Run) -> float | None:
    """Tokens/s of the decode stage."""
    stage = run.stage("decode")
    took = median(stage.warm) if stage is not None and stage.warm else 0.0
    return 1 / took if took else None
