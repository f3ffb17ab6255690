"""Programs of READMEs and docs, with the packages that other languages need; where these cannot be had, tests skip."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from once import made_once
from registries import SHORT_LIVED, fetch

SUPPORT = Path(__file__).parent
EXPORT = SUPPORT.parents[1] / "export"
SHARED = EXPORT / "programs"
ANDROID = SUPPORT.parents[1] / "apps" / "android"
ANDROID_PAGE = SUPPORT.parents[1] / "docs" / "android.md"
PATIENCE = 600
"""Maximum seconds to install packages, or to compile."""


def javascript(place: Path, room: str) -> list[str]:
    """The command that runs a room's program in JavaScript, with its packages installed once in ``place``."""
    return ["node", str(scripts(place, room) / "answer.mjs")]


def scripts(place: Path, room: str) -> Path:
    """The folder with a room's programs in JavaScript and links to their packages, made once in ``place``."""
    own = EXPORT / f"targets/{room}/programs"
    package = SUPPORT / "javascript" / "package.json"
    sources = (*sorted(own.glob("*.mjs")), *sorted(own.glob("*.html")), *sorted(SHARED.glob("*.mjs")), package)

    def install(folder: Path) -> None:
        shutil.copy(package, folder)
        words = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
        fetch(words, folder, "the packages of a program in JavaScript")

    def gather(folder: Path) -> None:
        for one in sources:
            shutil.copy(one, folder)
        packages = made_once(place, "javascript-packages", install) / "node_modules"
        shutil.copytree(packages, folder / "node_modules", symlinks=True, copy_function=os.link)

    return _made_once(place, ("node", "npm"), sources, gather)


def kotlin(place: Path, room: str) -> list[str]:
    """The command that runs a room's program in Kotlin, compiled once in ``place``; Android's classes are stand-ins."""
    support = SUPPORT / "kotlin"
    on_android = () if room == "onnx" else (SHARED / "Bitmaps.kt", *sorted(support.glob("*.kt")))
    sources = (EXPORT / f"targets/{room}/programs/Answer.kt", SHARED / "Pictures.kt", SHARED / "Words.kt", *on_android)

    def compile_all(folder: Path) -> None:
        shutil.copy(support / "pom.xml", folder)
        (folder / "src").mkdir()
        for one in sources:
            shutil.copy(one, folder / "src")
        _compile(folder)

    folder = _made_once(place, ("java", "mvn"), (*sources, support / "pom.xml"), compile_all)
    classes = f"{folder / 'target/classes'}:{(folder / 'classpath').read_text()}"
    return ["java", *SHORT_LIVED, "-cp", classes, "AnswerKt"]


def kotlin_library(place: Path) -> Path:
    """The folder of Android's Kotlin library, compiled once in ``place`` for a JVM, with the Kotlin of docs/android.md.

    ``target/classes`` are its classes, ``classpath`` lists its libraries, the desktops' ONNX Runtime among them.
    """
    support, library = SUPPORT / "kotlin_library", ANDROID / "phantom/src/main"
    poms = (ANDROID / "pom.xml", support / "pom.xml")
    resources = (*library.glob("resources/*"), EXPORT / "targets/onnx/byte_products.onnx")
    sources = (*sorted(library.rglob("*.kt")), *sorted(support.glob("*.kt")))

    def compile_all(folder: Path) -> None:
        shutil.copy(support / "pom.xml", folder)
        for number, one in enumerate(sources):
            (folder / "src" / str(number)).mkdir(parents=True)  # some have the same name
            shutil.copy(one, folder / "src" / str(number))
        for number, block in enumerate(kotlin_blocks()):
            (folder / "src" / f"Page{number}.kt").write_text(block, encoding="utf-8")
        _compile(folder, [f"-D{name}={version}" for name, version in android_versions().items()])
        for one in resources:
            shutil.copy(one, folder / "target/classes")

    return _made_once(place, ("java", "mvn"), (*sources, *poms, *resources, ANDROID_PAGE), compile_all)


def kotlin_blocks() -> list[str]:
    """All Kotlin of docs/android.md, each a whole file."""
    return re.findall(r"```kotlin\n(.*?)```", ANDROID_PAGE.read_text(encoding="utf-8"), re.DOTALL)


def android_versions() -> dict[str, str]:
    """Versions of packages by the names of their properties in ``apps/android/pom.xml``."""
    text = (ANDROID / "pom.xml").read_text(encoding="utf-8")
    return dict(re.findall(r"<((?:kotlin|coroutines|onnxruntime|android)\.version)>([^<]+)</", text))


def _compile(folder: Path, options: Sequence[str] = ()) -> None:
    """Compiles a Maven project, and writes the file ``classpath``; skips where the registry does not bring it."""
    lists = ["dependency:build-classpath", "-DincludeScope=runtime", "-Dmdep.outputFile=classpath"]
    words = ["mvn", "-q", "-B", *options, *lists, "-Dkotlin.compiler.daemon=false", "compile"]
    fetch(words, folder, "Kotlin's compiler and the packages of a program")


def loaded(path: Path) -> ModuleType:
    """A program in Python as a module."""
    about = importlib.util.spec_from_file_location(path.stem, path)
    assert about is not None and about.loader is not None
    module = importlib.util.module_from_spec(about)
    about.loader.exec_module(module)
    return module


def answer_of(command: Sequence[str], bundle: Path, picture: Path, question: str) -> str:
    """Runs a program, and returns its answer."""
    words = [*command, str(bundle), str(picture), question]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout.removesuffix("\n")


def _made_once(place: Path, tools: Sequence[str], files: Sequence[Path], make: Callable[[Path], None]) -> Path:
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        pytest.skip(f"no {' and '.join(missing)} here")
    name = hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()[:16]
    return made_once(place, name, make)
