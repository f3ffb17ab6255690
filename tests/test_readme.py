"""README and docs are true: tables are those of the code and the benchmarks, commands and snippet run, links lead."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import edge_inside
from noise import noise

from benchmarks.own_triples import make
from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import write_random
from phantom_edge.models.sizes import SIZES

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    page: page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
README = "\n".join(text for page, text in PAGES.items() if page.name not in ("commands.md", "screens.md"))
"""All pages but those that scripts run, in the order in which their commands run: files of the README's are there for
the others."""

LINK = re.compile(r"\]\((?![a-z]+:)([^)#]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:\.\./)?(?:phantom_edge|export|quantize|benchmarks|scripts|tests|apps|docs)/[\w./-]*)`")

ALONE = ("Core ML", "ExecuTorch", "Jetson", "LiteRT", "Qualcomm", "Web")
"""Sections whose commands need nothing that others make."""

LONG = ("Core ML", "ExecuTorch", "LiteRT")
"""Those that take minutes; tests of the targets' command lines run in every suite."""

SHELL = set("|&;<>$`*~")
"""Whatever a shell takes for more than a letter, beside quotes."""

COMMAND = re.compile(r"(phantom-edge|pip|python3?|make|git|minisign|npm|mvn) ")
NOT_RUN = {
    r"git clone|python3 -m venv|pip install": "scripts/walk.py: they need another environment",
    r"make |python -m benchmarks|python scripts/": "what they run has tests of its own, or takes hours",
    r"minisign |phantom-edge (export|verify) .*--(sign|key) ": "tests/test_signature.py: they need a key",
    r"phantom-edge data (convert|curate) ": "tests/test_official.py and test_curate.py: a dataset, a language model",
    r"phantom-edge (train draft|export|run --model) .*draft": "tests/test_train_draft.py and test_drafts.py: it trains",
    r"phantom-edge profile .*--device android": "tests/test_profile_android.py: it needs a phone",
    r"phantom-edge demo web ": "tests/test_web_page.py: it serves until Ctrl-C",
    r"phantom-edge run --model nano-onnx --image photo.png ": "scripts/release.py: it is to run without torch",
    r"phantom-edge doctor": "tests/test_cli.py: what is installed decides its exit code",
}
"""Commands of blocks that are marked ``text``, and why no test runs them line by line."""

SHORTER = {
    "run": "--max-new-tokens 3",
    "eval": "--limit 12",
    "profile": "--repeats 1 --tokens 4",
    "train po": "--max-steps 2",
    "export nano --target litert --compute gpu": "--max-context 192 --max-tiles 1",
}
"""Flags that make a command of a page quick; those of its own come later, and count."""

MOST = {"pictures": 8, "samples": 4}
"""Largest numbers of these options."""

LIGHT = {"data", "inspect", "plan", "profile", "report", "history"}
"""Verbs that load no torch: their first command of a page starts in a second."""


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(section: str) -> list[str]:
    """Every phantom-edge command of a section's shell blocks, or of all that do not stand alone; comments off."""
    parts = [(part.partition("\n")[0], part) for part in re.split(r"^##? ", README, flags=re.MULTILINE)]
    assert {name for name, _ in parts} >= set(ALONE)
    chosen = [part for name, part in parts if (name == section if section in ALONE else name not in ALONE)]
    lines = [line.split("  #")[0].strip() for part in chosen for b in blocks("sh", part) for line in b.splitlines()]
    return [line for line in lines if "phantom-edge" in line and not line.startswith("git ")]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder as a reader has it: the samples of the clone, and a photo."""
    noise((200, 120), 60).save(tmp_path / "photo.jpg")
    shutil.copytree(ROOT / "apps" / "samples", tmp_path / "apps" / "samples")
    return tmp_path


@pytest.fixture
def full_desk(desk: Path) -> Path:
    """And checkpoints where the hub ids stand, and a few pictures of one's own."""
    write_random(SIZES["tiny"], desk / "checkpoint")
    convert(desk / "checkpoint", desk / "BK-Lee" / "Phantom-0.5B")
    convert(desk / "checkpoint", desk / "BK-Lee" / "Phantom-1.8B")
    make(desk / "lights" / "mixed" / "own", 0, 4)
    make(desk / "lights" / "kept", 4, 4)
    return desk


def shortened(command: str) -> str:
    """The command with less to do: few tokens, steps, questions, samples and pictures."""
    for verb, flags in SHORTER.items():
        command = re.sub(rf"phantom-edge {verb}\b", f"phantom-edge {verb} {flags}", command)
    return re.sub(
        r"--(pictures|samples) (\d+)", lambda found: f"--{found[1]} {min(int(found[2]), MOST[found[1]])}", command
    )


def without_page(words: tuple[str, ...]) -> tuple[str, ...]:
    """The command that does the same and writes no page."""
    place = words.index("--html") if "--html" in words else len(words)
    return words[:place] + words[place + 2 :]


class Names:
    """Results that several pages make by the same command under names of their own: made once, under the first.

    The first bundle for each target is proved, those after it are not.
    """

    def __init__(self) -> None:
        self.first: dict[str, str] = {}
        self.known: dict[tuple[str, ...], str] = {}
        self.proved: set[str] = set()

    def settled(self, words: list[str]) -> list[str] | None:
        """The command with the first names; None where the same was run already."""
        words = [self._renamed(word) for word in words]
        place = next((number + 1 for number, word in enumerate(words) if word in ("--out", "-o")), None)
        out = "" if place is None else words[place]
        key = tuple(word for number, word in enumerate(words) if number != place)
        if key in self.known:
            self.first[out] = self.known[key]
            return None
        self.known |= dict.fromkeys((key, without_page(key)), out)
        return [*words, *self._unproved(words)]

    def _unproved(self, words: list[str]) -> list[str]:
        if words[1] != "export":
            return []
        target = words[words.index("--target") + 1]
        if target in self.proved:
            return ["--no-verify"]
        self.proved.add(target)
        return []

    def _renamed(self, word: str) -> str:
        whole, slash, rest = word.partition("/")
        return f"{self.first.get(whole, whole)}{slash}{rest}"


@pytest.mark.parametrize("program", [("-m", "benchmarks.tables"), ("scripts/readme.py",)])
def test_tables_are_up_to_date(program: tuple[str, ...]) -> None:
    command = [sys.executable, *program, "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_and_paths_exist(page: Path) -> None:
    dead = [link for link in LINK.findall(PAGES[page]) if not (page.parent / link).exists()]
    assert not dead + [path for path in PATH.findall(PAGES[page]) if not (ROOT / path).exists()]


def test_what_is_not_run_says_why() -> None:
    lines = [line for block in blocks("text") for line in block.splitlines() if COMMAND.match(line)]
    assert len(lines) > 10
    assert not [line for line in lines if not any(re.match(one, line) for one in NOT_RUN)]
    assert not [one for one in NOT_RUN if not any(re.match(one, line) for line in lines)]


def test_readme_is_short_and_links_every_page() -> None:
    text = PAGES[ROOT / "README.md"]
    assert len(text.splitlines()) <= 200
    assert {page.relative_to(ROOT).as_posix() for page in PAGES if page.parent.name == "docs"} <= set(
        LINK.findall(text)
    )


@pytest.mark.skipif(os.name != "posix", reason="the commands of the pages are for a POSIX shell")
@pytest.mark.parametrize(
    "section", [pytest.param(one, marks=pytest.mark.long if one in LONG else pytest.mark.slow) for one in ALONE]
)
def test_commands_of_a_target_run(section: str, desk: Path) -> None:
    """On a page of its own, whose commands need nothing that others make."""
    if section == "Qualcomm":
        pytest.importorskip("onnxruntime_qnn", reason="Qualcomm's wheels are for Linux and Windows")
    if section == "LiteRT":
        pytest.importorskip("ai_edge_litert", reason="LiteRT (ai-edge-litert) is not installed")
    found = commands(section)
    assert len(found) >= 3
    for command in found:
        done = edge_inside(*shlex.split(shortened(command))[1:], cwd=desk)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the commands of the pages are for a POSIX shell")
def test_commands_run(full_desk: Path) -> None:
    """In the order of the pages. By a shell: the first of all, what a shell takes apart, and a light verb's first."""
    found, names, verbs = commands("the rest"), Names(), set[str]()
    assert len(found) > 30
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in found:
        short = shortened(command)
        words = names.settled(shlex.split(short))
        if words is None:
            continue
        is_apart = not verbs or SHELL & set(short) or words[1] in LIGHT - verbs
        verbs.add(words[1])
        if not is_apart:
            done = edge_inside(*words[1:], cwd=full_desk)
        else:
            done = subprocess.run(
                ["bash", "-c", short],
                cwd=full_desk,
                env={**os.environ, "PATH": path},
                check=False,
                capture_output=True,
                text=True,
            )
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(("snippet", "printed"), list(zip(blocks("python"), ("tokens/s", "assistant"), strict=True)))
def test_snippets_run(snippet: str, printed: str, full_desk: Path) -> None:
    done = subprocess.run([sys.executable, "-c", snippet], cwd=full_desk, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
