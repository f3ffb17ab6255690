"""Reports of profiles: the page, its tables and pictures, and the command."""

import json
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from chromium import inspect_page
from command_line import edge_inside
from PIL import Image
from profiles import DEVICE, SUBJECT, make_run

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import to_json
from phantom_edge.profile.report.page import Report
from phantom_edge.profile.report.quality import Quality
from phantom_edge.profile.report.tables import Table
from phantom_edge.profile.result import Answered, Depth, Energy, Reading, faults, write_run
from phantom_edge.runtime.tracing import Group

pytest.importorskip("matplotlib")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same thing twice, and what is slower; stages alone, because each plot takes a while."""
    made = {"first": make_run(), "again": make_run(seed=100), "slow": make_run(1.2, seed=200)}
    made = {name: replace(run, depths=(), answers=(), readings=(), operators=()) for name, run in made.items()}
    for name, run in made.items():
        write_run(tmp_path / f"{name}.json", run)
    return {name: tmp_path / f"{name}.json" for name in made}


LOADS = {"src", "srcset", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """What a page holds: whether its tags fit, what it would load, its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.heads = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in LOADS]
        self.loads += [str(value) for name, value in attrs if name.endswith("href") and not str(value).startswith("#")]
        if tag in ("script", "link", "iframe", "object"):
            self.loads.append(tag)
        if tag == "th":
            assert given["scope"] in ("row", "col")
            self.heads += 1
        if tag == "figure":
            assert given["role"] == "img" and given["aria-label"]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def report() -> Report:
    """A run, what is slower, and one that was cut off."""
    partial = replace(
        make_run(seed=7),
        answers=(),
        depths=(),
        energy=None,
        operators=(),
        readings=(),
        device=replace(DEVICE, bandwidth=None),
        partial="stopped before all was measured",
    )
    quality = [Quality("runs/tiny-int8", "held-out.jsonl", 961, 0.81, 0.79, 0.83, 0.3)]
    return Report([make_run(), make_run(1.2, seed=200), partial], quality)


def test_the_page(report: Report, tmp_path: Path) -> None:
    """Tags fit, nothing is loaded, no script runs, and every number of every table is there."""
    report.html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.open and page.heads > 100 and not page.loads
    assert "http" not in text and "url(" not in re.sub(r"url\(#", "", text) and "@import" not in text
    assert len(page.ids) == len(set(page.ids)), "ids of two plots are the same"
    referred = set(re.findall(r"url\(#([^)]*)\)|href=\"#([^\"]*)\"", text))
    assert {one or other for one, other in referred} <= set(page.ids)
    words = set(page.words)
    for section in report.sections:
        assert section.title in words
        for block in section.blocks:
            assert {block.table.title, *filter(None, (cell for row in block.table.rows for cell in row))} <= words
    assert "Partial: stopped before all was measured." in words and "first token 91.2 ms" in words
    assert text.count("<svg") == 2 + 1 + 2 * 5, "ratios, quality, and what is told of two whole runs"
    assert "prefers-color-scheme" in text and "currentColor" in text and 'name="viewport"' in text


def test_the_page_in_a_browser(report: Report, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """On a phone and on a desk, by day and by night: nothing sticks out, is too small or faint, or is loaded."""
    report.html(tmp_path / "report.html")
    place = pytestconfig.cache.mkdir("browser")
    for scheme in ("light", "dark"):
        for seen in inspect_page(tmp_path / "report.html", tmp_path, scheme, (390, 1440), place):
            width = seen["viewport"]
            assert seen["said"] == [] and seen["asked"] == 1 and seen["width"] == width, (scheme, seen)
            assert seen["cut"] == seen["small"] == seen["faint"] == [] and seen["words"] > 300, (scheme, seen)
            assert len(seen["plots"]) == 13
            assert all(one["left"] >= 0 and one["right"] <= width for one in seen["plots"]), (scheme, seen)
            assert all(one["height"] > 80 and one["drawn"] > 3 for one in seen["plots"]), (scheme, seen)
            with Image.open(tmp_path / f"{scheme}-{width}.png") as picture:
                colors = picture.convert("RGB").getcolors(1 << 24)
                assert picture.width == width and colors is not None and len(colors) > 50
                (_, paper) = max(colors)
                assert (sum(paper) > 600) == (scheme == "light")


def test_a_browser_sees_what_is_wrong(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """What is looked for is found where it is: in a page that has all of it."""
    page = tmp_path / "page.html"
    page.write_text(
        "<body><h1 style='width:900px'>Far</h1><p style='font-size:5px'>Small</p><p style='color:#ccc'>Faint</p>"
        "<img src='none.png'><script>console.error('loud'); null.broken</script></body>"
    )
    (seen,) = inspect_page(page, tmp_path, "light", (390,), pytestconfig.cache.mkdir("browser"))
    assert seen["cut"] == ["Far"] and seen["small"] == ["Small: 5.0 px"] and "Faint: 1.6" in seen["faint"][0]
    assert seen["width"] > 390 and seen["asked"] == 2 and "error: loud" in seen["said"]
    assert any("null" in line for line in seen["said"])


def test_tables_say_what_was_measured(report: Report) -> None:
    """Numbers by hand, not by the code that is tested."""
    run = report.runs[0]
    cells = {block.table.title: block.table.rows for section in report.sections[4:5] for block in section.blocks}
    vision = np.array(run.stages[1].warm) * 1e3
    told = [f"{value:,.2f}" for value in (90, np.median(vision), *np.quantile(vision, [0.9, 0.99]))]
    assert cells["Cold and warm"][1] == ("vision", "1", *told, "30")
    assert cells["Single tokens"][2] == ("4,096", f"{1 / np.median(run.depths[2].seconds):,.1f}")
    assert cells["Energy"][0] == ("RAPL", "31.50", "120", "0.263", "4.20")
    assert cells["Operators"][0] == ("decoder: MatMulNBits", "400.00", "88.9", "900")
    assert [row[:3] for row in cells["Memory, clock and heat"]] == [
        ("before", "1", "100.0"), ("during", "20", "237.0"), ("after", "1", "230.0")
    ]  # fmt: skip
    assert [row[0] for row in cells["A question"]][:6] == [
        "preprocess", "words", "vision", "prefill", "decode", "choose"
    ]  # fmt: skip
    notes = {block.table.title: block.table.note for section in report.sections[4:5] for block in section.blocks}
    median = 1e3 * np.median([answer.first_token for answer in run.answers])
    assert notes["A question"].endswith(f"the median over all questions, in the table of runs, is {median:,.2f} ms")


def test_names_are_no_markup(tmp_path: Path) -> None:
    """Neither in HTML nor in Markdown nor in a plot, whatever a bundle, a device or an operator is called."""
    name = "<script>alert(1)</script>|`$x$ 図"
    run = replace(
        make_run(repeats=2),
        subject=replace(SUBJECT, bundle=name),
        device=replace(DEVICE, name=name),
        operators=(Group(name, name, 0.1, 1),),
        answers=(Answered(0.2, 0.1, {name: 0.2}),),
    )
    report = Report([run, run])
    report.html(tmp_path / "report.html")
    report.markdown(tmp_path / "report.md")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not page.open and not page.loads and name in page.words
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in text and r"\|\`$x$ 図" in text


def test_markdown(report: Report, tmp_path: Path) -> None:
    """Every row of every table, each with as many cells as its head."""
    report.markdown(tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    blocks = [block for section in report.sections for block in section.blocks]
    groups = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(groups) == len(blocks)
    for group, block in zip(groups, blocks, strict=True):
        lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in group.splitlines()]
        assert {len(line) for line in lines} == {len(block.table.columns)}
        assert [[cell.strip() for cell in line] for line in lines[2:]] == [
            [escape(cell, quote=False) for cell in row] for row in block.table.rows
        ]
    assert Table("a", ("b", "c"), (("1", "x\ny"),)).markdown() == "**a**\n\n| b | c |\n| --- | ---: |\n| 1 | x y |\n"


def test_pictures(tmp_path: Path) -> None:
    report = Report([make_run(repeats=5)])
    assert report.pictures(tmp_path / "plots") == 5
    found = sorted((tmp_path / "plots").glob("*.png"))
    assert [path.stem for path in found] == [
        f"run1-{name}" for name in ("memory", "operators", "question", "roofline", "speed")
    ]
    with Image.open(found[0]) as picture:
        assert picture.size[0] == 800 and len(picture.convert("L").getcolors(256) or ()) > 3
    with pytest.raises(EdgeError, match="exists already"):
        report.pictures(tmp_path / "plots")
    small = Report([replace(report.runs[0], answers=(), depths=(), readings=(), operators=())])
    assert small.pictures(tmp_path / "plots", force=True) == 1 and len(list((tmp_path / "plots").glob("*.png"))) == 1


def test_nothing_but_a_beginning(tmp_path: Path) -> None:
    """A run that was stopped at once still makes a page."""
    run = replace(make_run(), stages=(), depths=(), answers=(), readings=(), energy=None, operators=(), partial="cut")
    report = Report([run, replace(run, peak_bytes=None)])
    report.html(tmp_path / "report.html")
    assert "Nothing was measured in both." in Page((tmp_path / "report.html").read_text()).words


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: replace(run, depths=(Depth(64, ()),)), "depths has impossible times"),
        (lambda run: replace(run, depths=(Depth(64, (0.0,)),)), "depths has impossible times"),
        (lambda run: replace(run, depths=(Depth(0, (0.1,)),)), "impossible context"),
        (lambda run: replace(run, answers=(Answered(-1.0, 0.1, {}),)), "impossible times"),
        (lambda run: replace(run, peak_bytes=None, device=replace(DEVICE, bandwidth=0.0)), "impossible bandwidth"),
        (lambda run: replace(run, energy=Energy("x", float("inf"), 1)), "cannot be"),
        (lambda run: replace(run, made_by="\ud800"), "cannot be"),
        (lambda run: replace(run, readings=(Reading(-1.0, "before"),)), "readings has impossible"),
    ],
)
def test_what_no_clock_tells_is_refused(change, said: str) -> None:
    assert not list(faults(make_run())) and any(said in fault for fault in faults(change(make_run())))


# The command


def evaluation(path: Path, model: str, **changes: object) -> Path:
    """A report of phantom-edge eval."""
    accuracy = {"value": 0.8, "interval": {"low": 0.75, "high": 0.85}}
    document = {"model": model, "data": "d.jsonl", "questions": 9, "overall": {"accuracy": accuracy, "chance": 0.3}}
    path.write_text(json.dumps(document | changes))
    return path


def test_report_command(files: dict[str, Path], tmp_path: Path) -> None:
    eval_report = evaluation(tmp_path / "eval.json", "somewhere/tiny-int8")
    wanted = ["report", files["first"], files["again"], "--out", tmp_path / "r.html"]
    ran = edge_inside(*wanted, "--markdown", tmp_path / "r.md", "--quality", eval_report, "--fail-on-regression")
    assert ran.returncode == 0, ran.stderr
    assert "Too few repeats to be judged (5 are needed): load." in ran.stderr
    assert "no difference shown" in ran.stdout and "slower" not in ran.stdout.replace("slower, faster", "")
    assert "Quality and size" in (tmp_path / "r.html").read_text() and "d.jsonl" in (tmp_path / "r.md").read_text()
    again = edge_inside(*wanted)
    assert again.returncode == 1 and "--force" in again.stderr and "Traceback" not in again.stderr


def test_a_regression_fails_where_that_is_asked_for(files: dict[str, Path], tmp_path: Path) -> None:
    wanted = ["report", files["first"], files["slow"], "--out", tmp_path / "r.html", "--force", "--json"]
    ran = edge_inside(*wanted)
    assert ran.returncode == 0 and "decode" in json.loads(ran.stdout)["comparisons"][0]["slower"]
    ran = edge_inside(*wanted, "--fail-on-regression")
    assert ran.returncode == 1 and "run 2 is slower than run 1: vision" in ran.stderr and json.loads(ran.stdout)
    assert "slower" in (tmp_path / "r.html").read_text(), "the page is written all the same"
    assert edge_inside(*wanted, "--fail-on-regression", "--margin", 0.5).returncode == 0


def test_bad_input_is_one_line(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("{}")
    strange = to_json(make_run()) | {"depths": [{"context": 64, "seconds": []}]}
    (tmp_path / "strange.json").write_text(json.dumps(strange))
    first, out = files["first"], ["--out", tmp_path / "r.html"]
    other = evaluation(tmp_path / "other.json", "big")
    bad = evaluation(tmp_path / "bad.json", "tiny-int8", overall={"accuracy": {"value": 7}})
    cases = [
        ([tmp_path / "missing.json", *out], "cannot be read"),
        ([tmp_path / "none.json", *out], "is no profile"),
        ([tmp_path / "strange.json", *out], "depths has impossible times"),
        ([first, "--out", first, "--force"], "is an input"),
        ([first, *out, "--markdown", tmp_path / "r.html"], "the same file"),
        ([first, "--out", tmp_path / "no" / "r.html"], "cannot write"),
        ([first, *out, "--png", first], "exists already"),
        ([first, *out, "--quality", tmp_path / "none.json"], "no report of an evaluation"),
        ([first, *out, "--quality", bad], "no report of an evaluation"),
        ([first, *out, "--quality", other], "no run is of a bundle of that name"),
    ]
    for arguments, said in cases:
        ran = edge_inside("report", *arguments)
        lines = ran.stderr.splitlines()
        assert ran.returncode in (1, 2) and said in ran.stderr and not ran.stdout and len(lines) == 2, ran.stderr
    assert not (tmp_path / "r.html").exists()
    assert edge_inside("report", *out).returncode == 2
