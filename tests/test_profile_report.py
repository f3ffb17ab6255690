"""Reports and the history: what is compared, what is shown, and what is kept."""

import json
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from chromium import look
from command_line import edge_inside
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from profiles import DEVICE, SUBJECT, make_run, spread

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import to_json
from phantom_edge.profile import history as histories
from phantom_edge.profile.history import history, home
from phantom_edge.profile.report.compare import DRAWS, compare, difference, drawn_medians
from phantom_edge.profile.report.page import Report
from phantom_edge.profile.report.quality import Quality
from phantom_edge.profile.report.tables import Table
from phantom_edge.profile.result import Answered, Depth, Energy, Reading, Run, faults, write_run
from phantom_edge.runtime.tracing import Group

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history of the test's own."""
    monkeypatch.setenv("PHANTOM_EDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "history.sqlite"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same thing twice, and what is slower; stages alone, because each plot takes a while."""
    made = {"first": make_run(), "again": make_run(seed=100), "slow": make_run(1.2, seed=200)}
    made = {name: replace(run, depths=(), answers=(), readings=(), operators=()) for name, run in made.items()}
    for name, run in made.items():
        write_run(tmp_path / f"{name}.json", run)
    return {name: tmp_path / f"{name}.json" for name in made}


# Comparing

TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=40)
SEEDS = st.integers(0, 2**16)


def test_a_run_and_itself() -> None:
    compared = compare(make_run(), make_run())
    assert {one.ratio for one in compared.stages} == {1.0} and not compared.unlike and not compared.alone
    assert {one.verdict for one in compared.stages} == {"no difference shown"} and not compared.slower
    assert compared.untold == ["load"], "measured once"


@settings(max_examples=30, deadline=None)
@given(TIMES)
def test_repeats_beside_themselves(times: list[float]) -> None:
    one = difference("x", times, times)
    assert one.verdict == "no difference shown" and one.ratio == 1
    assert one.low is None or one.low <= 1 <= one.high


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from([(1.2, "slower"), (0.8, "faster"), (1.01, "no difference shown")]))
def test_a_change_is_found(seed: int, change: tuple[float, str]) -> None:
    """And one within the margin is not, however sure it is."""
    factor, verdict = change
    one = difference("x", spread(0.01, 30, seed), spread(0.01 * factor, 30, seed + 1))
    assert one.verdict == verdict and one.low <= one.ratio <= one.high
    if factor != 1.01:
        assert one.low < factor < one.high or abs(one.ratio / factor - 1) < 0.02


@settings(max_examples=30, deadline=None)
@given(TIMES, TIMES)
@example([1.0, 1.0, 2.0, 3.0, 1.0, 1.0], [1.0, 1.0, 2.0, 3.0, 1.0, 1.0])
def test_exchanged_runs_exchange_verdicts(first: list[float], later: list[float]) -> None:
    there, back = difference("x", first, later), difference("x", later, first)
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert {there.verdict, back.verdict} in ({"slower", "faster"}, {"no difference shown"})
    assert (there.low is None) == (back.low is None) == (min(len(first), len(later)) < 5)
    if there.low is not None:
        assert (back.low, back.high) == pytest.approx((1 / there.high, 1 / there.low))


@pytest.mark.parametrize("count", [5, 6, 31])
def test_medians_are_those_of_resamples(count: int) -> None:
    """Drawn by their places, they are spread as those of resamples that were made."""
    values, random = np.array(spread(1.0, count, 3)), np.random.default_rng(1)
    made = np.median(values[random.integers(0, count, (DRAWS, count))], axis=1)
    shares = np.linspace(0.05, 0.95, 19)
    quick = drawn_medians(values, random)
    # within two points of probability: three standard errors of a share of 10,000 draws, twice
    below = [np.mean(quick <= place) - np.mean(made <= place) for place in np.quantile(made, shares)]
    assert np.abs(below).max() < 0.02


def test_too_few_repeats_and_a_stopped_clock_say_nothing() -> None:
    for first, later in (([1.0] * 4, [9.0] * 30), ([0.0] * 9, [1.0] * 9), ([1.0] * 9, [0.0] * 9), ([0.0], [0.0])):
        one = difference("x", first, later)
        assert one.verdict == "no difference shown" and one.low is None
    assert difference("x", [1.0] * 9, [1.02] * 9).verdict == "no difference shown"
    assert difference("x", [1.0] * 9, [1.02] * 9, margin=0.01).verdict == "slower"


def test_what_else_differs_is_said() -> None:
    other = replace(
        make_run(),
        subject=replace(SUBJECT, seal="0" * 64, bundle="big", threads=1, tools={"onnxruntime": "1.30.0"}),
        device=replace(DEVICE, name="board"),
        stages=make_run().stages[:3],
        partial="cut off",
    )
    compared = compare(make_run(), other)
    said = "; ".join(compared.unlike)
    for words in ("different bundles: tiny-int8 and big", "threads: 2 and 1", "devices: desk", "1.30.0", "cut off"):
        assert words in said
    assert compared.alone == ("decode",)
    hot = compare(make_run(), replace(make_run(), device=replace(DEVICE, bandwidth=DEVICE.bandwidth / 2)))
    assert hot.unlike == ("the device was busier or hotter one time: 20.0 and 10.0 GB/s of bandwidth were measured",)
    renamed = compare(make_run(), replace(make_run(), subject=replace(SUBJECT, seal="0" * 64)))
    assert renamed.unlike == ("different bundles, both named tiny-int8",)


# The page

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
        for seen in look(tmp_path / "report.html", tmp_path, scheme, (390, 1440), place):
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
    (seen,) = look(page, tmp_path, "light", (390,), pytestconfig.cache.mkdir("browser"))
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
        ([first, "--out", first, "--force"], "is what is to be read"),
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
        assert ran.returncode == 1 and said in ran.stderr and not ran.stdout and len(lines) == 2, ran.stderr
    assert not (tmp_path / "r.html").exists()
    assert edge_inside("report", *out).returncode == 2


# The history


def test_what_is_recorded_comes_back(kept: Path) -> None:
    runs = [make_run(), make_run(2.0, seed=5), replace(make_run(), device=replace(DEVICE, name="board"), partial="cut")]
    with history() as open_history:
        assert [open_history.record(run) for run in runs] == [1, 2, 3]
    with history() as open_history:
        assert [open_history.run(number) for number in (1, 2, 3)] == runs
        entries = open_history.entries()
        assert [entry.id for entry in entries] == [3, 2, 1] and [entry.partial for entry in entries] == ["cut", "", ""]
        assert entries[2].first_token == runs[0].seconds_to_first_token and entries[2].peak_bytes == 237_000_000
        assert [entry.id for entry in open_history.entries(device="desk")] == [2, 1]
        assert [entry.id for entry in open_history.entries(device="desk", last=1)] == [2]
        assert not open_history.entries(bundle="other") and len(open_history.entries(bundle="tiny-int8")) == 3
        open_history.remove(3)
        assert open_history.record(runs[0]) == 4, "numbers are not used again"
        for lost in (open_history.run, open_history.remove):
            with pytest.raises(EdgeError, match="no run 3"):
                lost(3)
        with pytest.raises(EdgeError, match="cannot be kept"):
            open_history.record(replace(runs[0], made_by="\ud800"))
    connection = sqlite3.connect(kept)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    indexed = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
    assert {"runs_by_bundle", "runs_by_device", "runs_by_seal", "runs_by_fingerprint"} <= indexed
    connection.execute("UPDATE runs SET document = '{}' WHERE id = 1")
    connection.commit()
    connection.close()
    with history() as open_history, pytest.raises(EdgeError, match="run 1 of the history is no profile"):
        open_history.run(1)


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert home() == tmp_path / "home"
    monkeypatch.delenv("PHANTOM_EDGE_HOME")
    for variable in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    folders = {"linux": ".local/share", "darwin": "Library/Application Support", "win32": "."}
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    for system, folder in folders.items():
        monkeypatch.setattr(histories.sys, "platform", system)
        assert home() == tmp_path / folder / "phantom-edge"
    monkeypatch.setattr(histories.sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home() == tmp_path / "data" / "phantom-edge"


RECORDING = """
import sys
from pathlib import Path
from phantom_edge.profile.history import history
from phantom_edge.profile.result import read_run
run = read_run(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    with history() as kept:
        kept.record(run)
"""


def test_two_processes_at_once(files: dict[str, Path], kept: Path) -> None:
    """Both make the file, and both write: nothing is lost."""
    words = [sys.executable, "-c", RECORDING, str(files["first"])]
    both = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(60) for process in both] == [0, 0]
    for process in both:
        process.communicate()
    with history() as open_history:
        assert sorted(entry.id for entry in open_history.entries()) == list(range(1, 21))


def test_another_process_that_does_not_end(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "PATIENCE", 0.1)
    with history() as open_history:
        number = open_history.record(make_run(repeats=5))
    holder = sqlite3.connect(kept, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(EdgeError, match="another process holds"), history() as open_history:
        open_history.record(make_run(repeats=5))
    with history() as open_history:
        assert [entry.id for entry in open_history.entries()] == [number], "who only reads does not wait"
    holder.close()


def newer(kept: Path) -> None:
    with history():
        pass
    with sqlite3.connect(kept) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()


def of_another_program(kept: Path) -> None:
    with sqlite3.connect(kept) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()


def torn(kept: Path) -> None:
    with history() as open_history:
        for _ in range(3):
            open_history.record(make_run(repeats=5))
    kept.write_bytes(kept.read_bytes()[:4096] + b"\xff" * 20000)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda kept: kept.write_bytes(b"this is no database, " * 500), "is damaged"),
        (torn, "is damaged"),
        (newer, "of a newer phantom-edge"),
        (of_another_program, "another program's file"),
        (lambda kept: kept.mkdir(), "no permission"),
    ],
)
def test_a_file_that_is_no_history(kept: Path, damage, said: str) -> None:
    """One clear line, and the file stays as it is."""
    kept.parent.mkdir()
    damage(kept)
    before = kept.read_bytes() if kept.is_file() else b""
    ran = edge_inside("history")
    lines = ran.stderr.splitlines()
    assert ran.returncode == 1 and said in lines[0] and len(lines) == 2 and not ran.stdout, ran.stderr
    assert not kept.is_file() or kept.read_bytes() == before


def test_a_folder_that_takes_nothing(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.parent.write_text("a file where a folder should be")
    ran = edge_inside("history")
    assert ran.returncode == 1 and "cannot write" in ran.stderr and len(ran.stderr.splitlines()) == 2

    class ReadOnly:
        def record(self, _run: Run) -> int:
            connection = sqlite3.connect(":memory:", isolation_level=None)
            connection.execute("PRAGMA query_only = 1")
            connection.execute("CREATE TABLE runs (x)")  # as on a disk that is mounted so
            return 0

    kept.parent.unlink()
    with pytest.raises(EdgeError, match="no permission") as refused, history():
        ReadOnly().record(make_run())
    assert "PHANTOM_EDGE_HOME" in refused.value.remedy


def test_history_command(tmp_path: Path) -> None:
    with history() as open_history:
        for run in (make_run(), make_run(1.2, seed=200), replace(make_run(), partial="cut")):
            open_history.record(run)
    ran = edge_inside("history")
    assert ran.returncode == 0 and "tiny-int8 (partial)" in ran.stdout and "237.0" in ran.stdout, ran.stderr
    entries = json.loads(edge_inside("history", "--json", "--last", 2, "--bundle", "tiny-int8").stdout)
    assert [entry["id"] for entry in entries] == [3, 2] and entries[0]["first_token"]
    assert json.loads(edge_inside("history", "--device", "board", "--json").stdout) == []
    assert json.loads(edge_inside("history", "show", 2).stdout) == to_json(make_run(1.2, seed=200))
    assert edge_inside("history", "show", 1, "--out", tmp_path / "one.json").returncode == 0
    assert json.loads((tmp_path / "one.json").read_text()) == to_json(make_run())
    ran = edge_inside("history", "show", 1, "--out", tmp_path / "one.json")
    assert ran.returncode == 1 and "--force" in ran.stderr
    ran = edge_inside("history", "compare", 1, 2)
    assert ran.returncode == 0 and ran.stdout.count("slower") == 8 and "Run 2 beside run 1" in ran.stdout
    stages = json.loads(edge_inside("history", "compare", 2, 1, "--json").stdout)["stages"]
    assert [one["verdict"] for one in stages] == ["no difference shown", *["faster"] * 7]
    assert edge_inside("history", "remove", 2).returncode == 0
    ran = edge_inside("history", "compare", 1, 2)
    assert ran.returncode == 1 and "no run 2" in ran.stderr and "phantom-edge history" in ran.stderr
    assert edge_inside("history", "remove", 0).returncode == 2


def test_profile_keeps_its_run(kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unless it is told not to; and where the history takes nothing, the profile is shown all the same."""
    from phantom_edge.profile.devices import transports as devices

    run = make_run(repeats=5)
    monkeypatch.setattr(devices, "profile_on", lambda *_: run)
    assert edge_inside("profile", tmp_path, "--no-history").returncode == 0 and not kept.exists()
    ran = edge_inside("profile", tmp_path, "--json")
    assert "not calibrated by any" in ran.stderr
    assert ran.returncode == 0 and "run 1 of the history" in ran.stderr and json.loads(ran.stdout) == to_json(run)
    with history() as open_history:
        assert open_history.run(1) == run
    ran = edge_inside("profile", tmp_path)
    assert "calibrated by 1 earlier: 1% off" in ran.stderr, "it calibrates itself"
    assert "memory, bytes" in ran.stdout and "a token behind 4,096" in ran.stdout
    kept.write_bytes(b"this is no database, " * 500)
    ran = edge_inside("profile", tmp_path, "--json")
    assert ran.returncode == 0 and "not kept in the history" in ran.stderr and "--no-history" in ran.stderr
    assert json.loads(ran.stdout) == to_json(run)
