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

from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import write_random
from phantom_edge.models.sizes import SIZES

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    page: page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
README = "\n".join(PAGES.values())
"""All pages, in the order in which their commands run: files that the README makes are there for the others."""

LINK = re.compile(r"\]\((?![a-z]+:)([^)#]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:\.\./)?(?:phantom_edge|export|quantize|benchmarks|scripts|tests|apps|docs)/[\w./-]*)`")

ALONE = ("Core ML", "ExecuTorch", "Jetson", "LiteRT", "Qualcomm", "Web")
"""Sections whose commands need nothing that others make."""

LONG = ("Core ML", "ExecuTorch", "LiteRT")
"""Those that take minutes; tests of the targets' command lines run in every suite."""

SHELL = set("|&;<>$`*~")
"""Whatever a shell takes for more than a letter, beside quotes."""


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
    """A folder as the README's reader has it: a photo, and checkpoints where the hub ids stand."""
    noise((200, 120), 60).save(tmp_path / "photo.jpg")
    shutil.copytree(ROOT / "apps" / "samples", tmp_path / "apps" / "samples")
    write_random(SIZES["tiny"], tmp_path / "checkpoint")
    convert(tmp_path / "checkpoint", tmp_path / "BK-Lee" / "Phantom-0.5B")
    convert(tmp_path / "checkpoint", tmp_path / "BK-Lee" / "Phantom-1.8B")
    return tmp_path


@pytest.mark.parametrize("program", [("-m", "benchmarks.tables"), ("scripts/readme.py",)])
def test_tables_are_up_to_date(program: tuple[str, ...]) -> None:
    command = [sys.executable, *program, "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_and_paths_exist(page: Path) -> None:
    dead = [link for link in LINK.findall(PAGES[page]) if not (page.parent / link).exists()]
    assert not dead + [path for path in PATH.findall(PAGES[page]) if not (ROOT / path).exists()]


def test_readme_is_short_and_links_every_page() -> None:
    text = PAGES[ROOT / "README.md"]
    assert len(text.splitlines()) <= 250
    assert {page.relative_to(ROOT).as_posix() for page in PAGES if page.parent.name == "docs"} <= set(
        LINK.findall(text)
    )


@pytest.mark.skipif(os.name != "posix", reason="the README's commands are for a POSIX shell")
@pytest.mark.parametrize(
    "section",
    [pytest.param(one, marks=pytest.mark.long if one in LONG else pytest.mark.slow) for one in (*ALONE, "the rest")],
)
def test_commands_run(section: str, desk: Path) -> None:
    """By a shell: the first of a section, the first of each verb, and what a shell takes apart. The rest in here."""
    if section == "Qualcomm":
        pytest.importorskip("onnxruntime_qnn", reason="Qualcomm's wheels are for Linux and Windows")
    if section == "LiteRT":
        pytest.importorskip("ai_edge_litert", reason="LiteRT (ai-edge-litert) is not installed")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found, known = commands(section), [one for name in (*ALONE, "the rest") for one in commands(name)]
    firsts = {found[0], *{one.split()[1]: one for one in reversed(known)}.values()}
    assert len(found) >= (3 if section in ALONE else 6)
    for command in found:
        short = command.replace("phantom-edge run", "phantom-edge run --max-new-tokens 3")
        short = short.replace("phantom-edge train po", "phantom-edge train po --max-steps 4")
        program, *arguments = shlex.split(short)
        if command not in firsts and program == "phantom-edge" and not SHELL & set(short):
            done = edge_inside(*arguments, cwd=desk)
        else:
            done = subprocess.run(
                ["bash", "-c", short],
                cwd=desk,
                env={**os.environ, "PATH": path},
                check=False,
                capture_output=True,
                text=True,
            )
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(("snippet", "printed"), list(zip(blocks("python"), ("tokens/s", "assistant"), strict=True)))
def test_snippets_run(snippet: str, printed: str, desk: Path) -> None:
    done = subprocess.run([sys.executable, "-c", snippet], cwd=desk, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
