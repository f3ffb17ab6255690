"""Kits for phones: Python, its C library, and the packages that run a bundle of target onnx.

Phones have no Python, and their C library is not the one of Linux wheels. A kit has both: Debian's CPython, glibc and
its dynamic loader, which is called with the program's name (``ld.so(8)``), and Linux wheels. Everything comes from
apt-get and pip; nothing is installed on this machine.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import sha256_of, whole_folder
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.profile.devices.remote import last
from phantom_edge.profile.home import home

ABOUT, RUN = "kit.json", "run"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Abi:
    """A processor: its names at Debian and in wheels, and its dynamic loader."""

    debian: str
    wheels: str
    loader: str


ABIS = {
    "arm64-v8a": Abi("arm64", "aarch64", "ld-linux-aarch64.so.1"),
    "x86_64": Abi("amd64", "x86_64", "ld-linux-x86-64.so.2"),
}
"""Processors by Android's name: phones, and the emulator on a PC."""

NEEDED = ("jinja2", "numpy", "onnxruntime", "pillow", "psutil", "threadpoolctl", "tokenizers", "wrapt")
"""Requirements of this package that run a bundle."""

BESIDE = ("annotated-types", "markupsafe", "typing-extensions", "typing-inspection")
"""Imported by those and by pydantic."""

LIBRARIES = re.compile(
    r"libc6|libgcc-s1|libstdc\+\+6|zlib1g|libexpat1|libffi\d|libbz2-1\.0|liblzma5|libssl3|libuuid1|libcrypt1"
    r"|(lib)?python3\.\d+-(minimal|stdlib)"
)
"""Debian packages that Python and wheels link to, of all dependencies, by the beginning of their names."""

GLIBC = range(17, 29)
"""Minor versions of glibc in names of suitable wheels; Debian's is newer."""

USELESS = re.compile(
    r"__pycache__|tests?|include|idlelib|tkinter|turtledemo|lib2to3|ensurepip|pydoc_data|config-.*"
    r"|.*\.(pyi|pyx|pxd|a|h|c|so\.debug)"
)
"""Names of files that no bundle needs to run."""

SCRIPT = """#!/system/bin/sh
# Python, by the C library that lies beside it.
here="${{0%/*}}"
export PYTHONHOME="$here" PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}$here/site" PYTHONUTF8=1 PYTHONNOUSERSITE=1
export HOME="$here/tmp" TMPDIR="$here/tmp"
export ORT_DISABLE_TELEMETRY=1  # nothing goes out, and ONNX Runtime 1.29 crashes where it lacks a system's programs
mkdir -p "$TMPDIR"
chmod 755 "$here/lib/{loader}"
exec "$here/lib/{loader}" --library-path "$here/lib" "$here/bin/python" "$@"
"""


@dataclass(frozen=True)
class About:
    """The document in a kit. ``seal`` is the hash of all its files."""

    schema_version: int
    abi: str
    python: str
    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    seal: str


@dataclass(frozen=True)
class Kit:
    """A kit on disk."""

    path: Path
    seal: str


def place_of(abi: str) -> Path:
    """Folder of a processor's kit."""
    return home() / "kits" / abi


def open_kit(abi: str) -> Kit:
    """Opens the kit for a processor. Raises EdgeError where there is none of this version of phantom-edge."""
    path, make = place_of(abi), f"make one: phantom-edge kit --abi {abi}"
    if not (path / ABOUT).is_file():
        raise EdgeError(f"there is no kit for {abi} here, which holds Python for the phone", make)
    try:
        about = from_json(About, parse_json((path / ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, WrongJson) as error:
        raise EdgeError(f"{path} is no kit ({type(error).__name__})", f"{make} --force") from error
    if (about.schema_version, about.abi, about.requirements) != (SCHEMA_VERSION, abi, requirements()):
        raise EdgeError(f"{path} is the kit of another version of phantom-edge", f"{make} --force")
    return Kit(path, about.seal)


def requirements() -> tuple[str, ...]:
    """Packages for pip to install, in the version ranges of this package."""
    asked = [Requirement(line) for line in requires("phantom-edge") or ()]
    ranges = {one.name: str(one.specifier) for one in asked if one.name in NEEDED}
    core = next(line for line in requires("pydantic") or () if line.startswith("pydantic-core"))  # it fits no other
    return (*(name + ranges.get(name, "") for name in NEEDED), *BESIDE, f"pydantic=={version('pydantic')}", core)


def seal_of(folder: Path) -> str:
    """Hash of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def finish(folder: Path, abi: str, python: str) -> About:
    """Writes a kit's document, after all other files."""
    packages = sorted(path.name.removesuffix(".dist-info") for path in folder.glob("site/*.dist-info"))
    about = About(SCHEMA_VERSION, abi, python, requirements(), tuple(packages), seal_of(folder))
    (folder / ABOUT).write_text(json.dumps(to_json(about), indent=1) + "\n", encoding="utf-8")
    return about


def build(out: Path, abi: str, begin: Progress, force: bool = False) -> About:
    """Builds a kit. Raises EdgeError where apt-get or pip is missing or fails."""
    if abi not in ABIS:
        raise EdgeError(f"--abi is '{abi}'", f"give one of: {', '.join(ABIS)}")
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(tool):
            raise EdgeError(
                f"there is no {tool} here, and the phone's Python is Debian's",
                f"make the kit on Debian, in a container for instance: phantom-edge kit --abi {abi} --out kit; "
                f"then copy it to {place_of(abi)}",
            )
    step = begin("making the kit", 4)
    with whole_folder(out, force=force, bytes_needed=400_000_000) as folder, tempfile.TemporaryDirectory() as name:
        desk = Path(name)
        apt = _Apt(desk, ABIS[abi])
        python = apt.python()
        step(1)
        root = apt.unpacked(python)
        step(1)
        _take(root, folder, ABIS[abi], python)
        step(1)
        _install(folder / "site", ABIS[abi], python)
        _strip(folder)
        (folder / RUN).write_text(SCRIPT.format(loader=ABIS[abi].loader), encoding="utf-8", newline="\n")
        about = finish(folder, abi, python)
        step(1)
    return about


class _Apt:
    """apt-get for another processor, with its own lists and cache in ``desk``."""

    def __init__(self, desk: Path, abi: Abi) -> None:
        self.desk, self.abi = desk, abi
        for folder in ("state/lists/partial", "cache/archives/partial", "debs"):
            (desk / folder).mkdir(parents=True)
        (desk / "status").touch()
        settings = {
            "Dir::State": desk / "state",
            "Dir::State::status": desk / "status",
            "Dir::Cache": desk / "cache",
            "APT::Architecture": abi.debian,
            "APT::Architectures": abi.debian,
        }
        self.options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        self._ran("apt-get", "update")

    def _ran(self, tool: str, *arguments: str) -> str:
        return _ran([tool, *self.options, *arguments], self.desk / "debs")

    def python(self) -> str:
        """The release's version of Python, for example 3.11."""
        found = re.search(r"python(3\.\d+)-minimal", self._ran("apt-cache", "depends", "python3-minimal"))
        if found is None:
            raise EdgeError("apt-cache has no python3-minimal", "build the kit on a system with Debian's apt sources")
        return found[1]

    def unpacked(self, python: str) -> Path:
        """Unpacks Python and its libraries into a folder laid out like a system."""
        wanted = (f"python{python}-minimal", f"libpython{python}-stdlib", "libstdc++6")
        kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        tree = self._ran("apt-cache", "depends", "--recurse", *(f"--no-{kind}" for kind in kinds), *wanted)
        names = {line for line in tree.splitlines() if line and not line[0].isspace() and LIBRARIES.match(line)}
        self._ran("apt-get", "download", *sorted(names))
        for package in sorted((self.desk / "debs").glob("*.deb")):
            _ran(["dpkg-deb", "-x", str(package), str(self.desk / "root")], self.desk)
        return self.desk / "root"


def _take(root: Path, folder: Path, abi: Abi, python: str) -> None:
    """Copies from a system: shared libraries by their link names, the loader among them; Python and its library."""
    (folder / "lib").mkdir()
    (folder / "bin").mkdir()
    for place in (f"lib/{abi.wheels}-linux-gnu", f"usr/lib/{abi.wheels}-linux-gnu"):
        for path in sorted((root / place).glob("*.so*")):
            if path.is_file() and not re.search(r"\.so\.\d+\.[\d.]+$", path.name):
                shutil.copy(path, folder / "lib" / path.name)
    shutil.copy(root / f"usr/bin/python{python}", folder / "bin/python")
    theirs = shutil.ignore_patterns("sitecustomize.py")  # a link to the system's settings
    shutil.copytree(root / f"usr/lib/python{python}", folder / f"lib/python{python}", ignore=theirs)


def _install(site: Path, abi: Abi, python: str) -> None:
    """Installs wheels for that processor and Python."""
    platforms = [f"manylinux_2_{minor}_{abi.wheels}" for minor in reversed(GLIBC)] + [f"manylinux2014_{abi.wheels}"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--implementation", "cp", "--python-version", python]
    command += [word for platform in platforms for word in ("--platform", platform)]
    _ran([*command, "--target", str(site), *requirements()], site.parent)


def _strip(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if USELESS.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _ran(command: list[str], folder: Path) -> str:
    """Returns a program's output. Raises EdgeError where it fails."""
    ran = subprocess.run(
        command, cwd=folder, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, errors="replace"
    )
    if ran.returncode:
        name = "pip" if command[1:3] == ["-m", "pip"] else command[0]
        raise EdgeError(
            f"{name} does not bring what a kit needs ({last(ran.stderr)})",
            "check the network, and try again",
        )
    return ran.stdout
