"""Writes docs/reference/screens.md: what commands print about phantom-nano, on a terminal of 80 columns.

python scripts/screens.py            # --check: fail where a screen differs from the page

The commands run one after the other in a new folder, in a minute or two. What differs from run to run is hidden
(``placeholders.py``), so the page is left as it is where nothing else changed.
"""

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path

WIDTH = 80
if __name__ == "__main__":
    os.environ |= {"COLUMNS": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1"}  # before rich is imported

from checking import is_check  # noqa: E402
from placeholders import PLACEHOLDER, Varying, compared, faults, hidden  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from phantom_edge.cli.main import app  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "screens.md"
SAMPLES = ROOT / "apps" / "samples"
PICTURE = "00000/00009002.png"
QUESTION = "What colour is the diamond?"


@dataclass(frozen=True)
class Screen:
    """A command, what differs in its screen from run to run, its chapter, and a sentence about it.

    ``is_long``: it takes too long for every run of the tests.
    """

    chapter: str
    words: tuple[str, ...]
    about: str = ""
    varying: Varying = field(default_factory=Varying)
    is_long: bool = False

    @property
    def command(self) -> str:
        """The line that a user types."""
        return " ".join(("phantom-edge", *(f'"{word}"' if " " in word else word for word in self.words)))


def screen(chapter: str, command: str, about: str = "", is_long: bool = False, **varying: tuple[str, ...]) -> Screen:
    """A screen; of a word in braces, the braces go, and it may hold blanks."""
    words = [word.replace("\0", " ") for word in re.sub(r"{.*?}", _held, command).split()]
    return Screen(chapter, tuple(words), about, Varying(**varying), is_long)


def _held(found: re.Match[str]) -> str:
    return found[0][1:-1].replace(" ", "\0")


SECONDS = r"after [\d.,]+ s, \d+ tokens? at [\d.,]+ a second"
ERRORS = ("relative error", "absolute error", "KL, nats", "other tokens")
MEDIANS = ("ratio", "95 % interval", "first, ms", "later, ms")
PLACES = ("step", "place", "nodes")

SCREENS = (
    screen(
        "Ask the model inside the package",
        f"run --image scene.png {{{QUESTION}}}",
        "The checkpoint, in torch. The answer goes to stdout, the line below it to stderr.",
        texts=(SECONDS,),
    ),
    screen(
        "Export",
        "export nano --target onnx --weights int4 --out nano-onnx",
        numbers=("seconds", "relative error"),
        texts=(r"kept in \d+( to \d+)? of",),
    ),
    screen(
        "Ask a bundle",
        f"run --model nano-onnx --image scene.png {{{QUESTION}}}",
        texts=(SECONDS,),
    ),
    screen(
        "Inspect",
        "inspect nano-onnx",
        numbers=("of a key", "of a value", "logit error", "value error"),
        texts=(r"│ ([0-9a-f]{16}) ", r"(?:phantom-edge|onnx|onnx-ir|torch) [\d.]+"),
    ),
    screen(
        "Verify",
        "export nano --target onnx --weights fp32 --no-verify --out nano-fp32",
        "A bundle without proof says so.",
        numbers=("seconds",),
        texts=(r"kept in \d+( to \d+)? of",),
    ),
    screen("Verify", "verify nano-fp32 --record", "It gets its proof.", numbers=ERRORS),
    screen(
        "Verify",
        "verify nano-onnx --golden",
        "The bundle's own golden files, without the checkpoint; so does the self-test in an app.",
        texts=(r"[\d.]+e-\d+ in \w+ *\d*", r"│ [\d.]+e-\d+ ", r"│ \d+ {12,}│ {4}│"),
    ),
    screen(
        "Evaluate",
        "eval nano-onnx --data triples.jsonl --limit 12",
        "The four pictures of the samples: too few to say much, as the intervals show.",
        numbers=("right, %", "95 % interval", "chance, %"),
        texts=(
            r"(?<=F1 )[\d.]+ .*? ratio [\d.]+%",
            r": [\d.]+% of the items .*?\)",
            r"in [\d.,]+ s, [\d,]+ a second",
        ),
    ),
    screen(
        "Profile",
        "profile nano-onnx --repeats 2 --tokens 4 --out run.json",
        numbers=(
            *("bytes", "minimum, ms", "measured, ms", "cold, ms", "median, ms", "p90, ms", "p99, ms", "tokens/s"),
            *("inside, ms", "total, ms", "share, %", "predicted", "from", "to", "measured", "error"),
        ),
        words=("share", "within"),
        orders=PLACES,
        texts=(
            r"nano-onnx on (\S+)",
            r"phantom maps: .*? per node",
            r"first token after .*? MB, of which",
            r": [\d,]+% off",
        ),
    ),
    screen(
        "Report",
        "report run.json copy.json --out page.html",
        "A profile beside a copy of itself, so that nothing differs.",
        numbers=("first token, ms", "tokens/s", "peak, MB", *MEDIANS),
        words=("device",),
        orders=PLACES,
    ),
    screen(
        "Report",
        "history",
        texts=(r"\d+-\d+-\d+T[\d:]+Z", r"│ device +│ (\S+)", r"│ (?:first token, ms|tokens/s|peak, MB) +│ [\d.,]+"),
    ),
    screen("Quantize", "quantize nano --recipe int8 --out nano-int8", numbers=("error",)),
    screen(
        "Quantize",
        "mix --calib triples.jsonl --samples 4 --megabytes 5 --out nano-mixed",
        "Which parts get four bits and which eight, by what rounding each of them does to four answers.",
        numbers=("MB", "predicted, nats", "measured, nats"),
        words=("scheme",),
        is_long=True,
    ),
    screen("Make and convert checkpoints", "init tiny --random --out tiny"),
    screen("Make and convert checkpoints", "convert tiny --out tiny-official"),
    screen("Training data", "data scenes --pictures 8 --out scenes"),
    screen("Training data", "data validate scenes/triples.jsonl"),
    screen(
        "Lint",
        "export nano --target jetson --weights int8 --max-context 256 --no-verify --out nano-jetson",
        numbers=("seconds",),
        texts=(r"kept in \d+( to \d+)? of",),
        is_long=True,
    ),
    screen("Lint", "lint nano-jetson", is_long=True),
    screen(
        "Fine-tune",
        "train po nano --data scenes/triples.jsonl --out trained --max-steps 2",
        "Two steps teach nothing; the command says so.",
        numbers=("before", "after step 1", "after step 2"),
        is_long=True,
    ),
    screen(
        "Fine-tune",
        "train draft nano --data scenes/triples.jsonl --out nano-draft --updates 2",
        "Two updates teach a draft layer as little.",
        numbers=("value",),
        is_long=True,
    ),
    screen(
        "Doctor",
        "doctor",
        "What is installed differs from machine to machine, so states and versions are hidden.",
        words=("value", "installed", "state", "missing"),
        is_long=True,
    ),
    screen("Mistakes", "run --model nano-onxn {What is it?}"),
    screen("Mistakes", "inspect scenes"),
    screen("Mistakes", "demo web scenes"),
    screen(
        "Mistakes",
        "data curate pairs.jsonl --out more.jsonl --endpoint http://localhost:9/v1 --model none --retries 0 --yes",
        "Nothing listens there; what was asked so far would be in the journal.",
    ),
    screen("Mistakes", "lint nano-onnx", "No rules are known for this target."),
    screen("Mistakes", "export nano --target onnx --weights int5 --out nano-int5"),
)

HEAD = f"""# Screens

What commands print about phantom-nano on a terminal of {WIDTH} columns, in the order in which they were run in one
folder; the help of every command, and screens of `models` and `plan`, are on the page of [commands](../commands.md).
`scripts/screens.py` runs the commands and writes this page, and a test compares both.

`{PLACEHOLDER}` stands for a digit or a letter that differs between runs, machines or trainings of phantom-nano: times,
memory, errors of rounding, versions, names of machines. Progress bars are not shown; they end before the result comes.
Only a command to paste may be longer than a line: it stays in one piece.
"""


@contextlib.contextmanager
def desk(folder: Path) -> Iterator[None]:
    """Run commands in a folder with the samples, on a terminal's width, with a history of its own."""
    shutil.copytree(SAMPLES, folder, dirs_exist_ok=True)
    shutil.copy(SAMPLES / PICTURE, folder / "scene.png")
    (folder / "pairs.jsonl").write_text('{"question": "Is it far?", "chosen": "yes"}\n', encoding="utf-8")
    own = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "PHANTOM_EDGE_HOME": str(folder / ".home")}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def shown(one: Screen) -> str:
    """What a command prints in the folder of ``desk``, stdout and stderr as they come. Ends where it fails oddly."""
    if one.words[0] == "report":
        shutil.copy("run.json", "copy.json")
    ran = CliRunner().invoke(app, list(one.words), prog_name="phantom-edge")
    is_mistake = one.chapter == "Mistakes"
    if (ran.exit_code in (1, 2)) != is_mistake or not ran.output.strip():
        raise SystemExit(f"{one.command} ended with {ran.exit_code}: {ran.output}") from ran.exception
    return "\n".join(line.rstrip() for line in ran.output.strip("\n").splitlines())


def on_page(text: str) -> dict[str, str]:
    """The screens of a page by their commands."""
    found = re.findall(r"^```text\n\$ ([^\n]*)\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE)
    return dict(found)


def page(screens: dict[str, str]) -> str:
    """The page, from screens by their commands."""
    parts, chapter = [HEAD], ""
    for one in SCREENS:
        if one.chapter != chapter:
            chapter = one.chapter
            parts.append(f"## {chapter}\n")
        if one.about:
            parts.append(f"{one.about}\n")
        parts.append("\n".join(["```text", f"$ {one.command}", screens[one.command], "```"]) + "\n")
    return "\n".join(parts)


def differences(one: Screen, new: str, old: str) -> list[str]:
    """Lines in which a screen differs from that of the page, and lines that do not fit."""
    before, after = (compared(text, one.varying) for text in (old, new))
    return [*faults(new, WIDTH), *unified_diff(before, after, "page", "now", lineterm="", n=1)]


def main() -> None:
    """Writes the page, or compares it."""
    check = is_check(__doc__)
    old = on_page(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else {}
    new, wrong = dict[str, str](), list[str]()
    with tempfile.TemporaryDirectory() as folder, desk(Path(folder)):
        for one in SCREENS:
            print(f"$ {one.command}", file=sys.stderr)
            text = shown(one)
            found = differences(one, text, old.get(one.command, ""))
            if found:
                wrong += [f"$ {one.command}", *found]
            new[one.command] = hidden(text, one.varying) if found else old[one.command]
    if not check:
        PAGE.write_text(page(new), encoding="utf-8")
    elif wrong or page(new) != PAGE.read_text(encoding="utf-8"):
        sys.exit("\n".join([*wrong, f"{PAGE.name} is out of date; run: python scripts/screens.py"]))


if __name__ == "__main__":
    main()
