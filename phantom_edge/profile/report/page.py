"""Profiles as one self-contained HTML file, as Markdown, and as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from phantom_edge.foundation.files import whole_file, whole_folder
from phantom_edge.foundation.versions import __version__
from phantom_edge.profile.report.compare import FEWEST, MARGIN, Comparison, compare
from phantom_edge.profile.report.operator_tables import operators, places, places_compared
from phantom_edge.profile.report.plots import (
    Plot,
    memory_plot,
    operators_plot,
    quality_and_size,
    question_plot,
    ratios,
    roofline_plot,
    speed_plot,
)
from phantom_edge.profile.report.quality import Quality, matched
from phantom_edge.profile.report.tables import (
    Table,
    about,
    compared,
    drafts,
    energy,
    floor,
    plain,
    question,
    readings,
    speeds,
    summary,
    times,
)
from phantom_edge.profile.result import Run

TEMPLATE = "report.html"


@dataclass(frozen=True)
class Block:
    """A table and its plot, side by side where there is room."""

    table: Table
    plot: Plot | None = None


@dataclass(frozen=True)
class Section:
    """A part of a report: warnings, words and blocks."""

    title: str
    blocks: tuple[Block, ...]
    warnings: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Runs, comparisons of every later one with the first, and the accuracy of their bundles."""

    runs: Sequence[Run]
    quality: Sequence[Quality] = ()
    margin: float = MARGIN
    comparisons: list[Comparison] = field(init=False)

    def __post_init__(self) -> None:
        assert self.runs
        object.__setattr__(self, "comparisons", [compare(self.runs[0], later, self.margin) for later in self.runs[1:]])

    @property
    def title(self) -> str:
        """Title of the page."""
        first = self.runs[0]
        only = f"{first.subject.bundle} on {first.device.name}"
        return f"Profile of {only}" if len(self.runs) == 1 else f"{len(self.runs)} profiles beside each other"

    @cached_property
    def sections(self) -> list[Section]:
        """All sections: the verdicts, then the runs one by one."""
        return [*self._overview(), *self.beside, *self._quality(), *self._single()]

    def _overview(self) -> list[Section]:
        return [Section("Overview", (Block(summary(self.runs)),))] if len(self.runs) > 1 else []

    @cached_property
    def beside(self) -> list[Section]:
        """A section for every later run, compared with the first."""
        found = []
        for number, one in enumerate(self.comparisons, 2):
            title = f"Run {number} beside run 1"
            block = Block(compared(one, title, self.margin), ratios(one, f"run{number}-ratios", self.margin))
            warnings = [f"Not the same: {words}." for words in one.unlike]
            if one.alone:
                warnings.append(f"Measured in one run only: {'; '.join(one.alone)}.")
            if one.unjudged:
                warnings.append(f"Too few repeats to be judged ({FEWEST} are needed): {'; '.join(one.unjudged)}.")
            inside = Block(
                places_compared(self.runs[0], self.runs[number - 1], f"Where the time goes, {title.lower()}")
            )
            shown = [block] * bool(one.stages) + [inside] * bool(inside.table.rows)
            found.append(Section(title, tuple(shown), tuple(warnings), (verdict(one), SPREAD)))
        return found

    def _quality(self) -> list[Section]:
        points = matched(self.runs, self.quality)
        data = dict.fromkeys(report.data for _, _, report in points)
        groups = [[point for point in points if point[2].data == one] for one in data]
        blocks = tuple(
            Block(quality_table(group), quality_and_size(group, f"quality{number}"))
            for number, group in enumerate(groups, 1)
        )
        return [Section("Quality and size", blocks)] if blocks else []

    def _single(self) -> list[Section]:
        return [
            Section(
                f"Run {number}: {run.subject.bundle} on {run.device.name}",
                tuple(block for block in blocks(run, f"run{number}") if block.table.rows),
                (f"Partial: {run.partial}.",) if run.partial else (),
            )
            for number, run in enumerate(self.runs, 1)
        ]

    def html(self, path: Path) -> None:
        """Writes the page. Raises EdgeError where ``path`` cannot be written, or matplotlib is missing."""
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        page = environment.get_template(TEMPLATE).render(
            report=self, version=__version__, ids=map("table{}".format, count(1)).__next__
        )
        with whole_file(path) as file:
            file.write(page)

    def markdown(self, path: Path) -> None:
        """Writes the same words and tables as Markdown."""
        text = [f"# {plain(self.title)}\n"]
        for section in self.sections:
            text.append(f"## {plain(section.title)}\n")
            text += [f"> {plain(line)}\n" for line in section.warnings]
            text += [f"{plain(line)}\n" for line in section.words]
            text += [block.table.markdown() for block in section.blocks]
        with whole_file(path) as file:
            file.write("\n".join(text))

    def pictures(self, folder: Path, force: bool = False) -> int:
        """Writes each plot as PNG into a new folder. Returns the number of plots."""
        found = [block.plot for section in self.sections for block in section.blocks if block.plot is not None]
        with whole_folder(folder, force=force) as staging:
            for plot in found:
                plot.png(staging / f"{plot.name}.png")
        return len(found)


def blocks(run: Run, name: str) -> list[Block]:
    """All tables and plots of a run; those without data are empty."""
    return [
        Block(about(run)),
        Block(times(run)),
        Block(question(run), question_plot(run, name)),
        Block(speeds(run), speed_plot(run, name)),
        Block(drafts(run)),
        Block(readings(run), memory_plot(run, name)),
        Block(floor(run), roofline_plot(run, name)),
        Block(energy(run)),
        Block(places(run), operators_plot(run, name)),
        Block(operators(run)),
    ]


SPREAD = (
    "The intervals cover the spread of repeats within a run, not what differs between runs, such as heat and other "
    "programs: measure again before believing a small difference."
)


def verdict(comparison: Comparison) -> str:
    """A comparison in a sentence."""
    verdicts = {"slower": comparison.slower}
    verdicts["faster"] = [one.what for one in comparison.stages if one.verdict == "faster"]
    parts = [f"{name}: {'; '.join(stages)}" for name, stages in verdicts.items() if stages]
    if not comparison.stages:
        return "Nothing was measured in both."
    return f"{'. '.join(parts).capitalize()}." if parts else "No difference is shown in any stage."


def quality_table(points: Sequence[tuple[int, Run, Quality]]) -> Table:
    """Accuracy on the same data, beside the size of the weights."""
    return Table(
        f"Right answers on {points[0][2].data}",
        ("run", "weights", "weights, MB", "right, %", "95 % interval", "chance, %", "questions"),
        tuple(
            (
                f"{number}: {run.subject.bundle}",
                run.subject.weights,
                f"{(run.subject.vision_bytes + run.subject.decoder_bytes) / 1e6:,.2f}",
                f"{100 * report.accuracy:.1f}",
                f"{100 * report.low:.1f} to {100 * report.high:.1f}",
                f"{100 * report.chance:.1f}",
                f"{report.questions:,}",
            )
            for number, run, report in points
        ),
        "evaluations are matched to runs by the name of the bundle's folder",
    )
