"""Installed packages and their clashes, by the standard library alone: a broken install can run this."""

import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from phantom_edge.foundation import huge_pages
from phantom_edge.foundation.versions import Clash, installed

if TYPE_CHECKING:
    from phantom_edge.export.targets.target import Target

PURPOSES = {
    "model": "checkpoints, with torch",
    "ort": "running ONNX bundles",
    "export": "making bundles",
    "scenes": "drawing scenes",
    "profile": "measuring bundles",
    "train": "training",
    "curate": "wrong answers from a language model",
    "ray": "data on a cluster",
    "sign": "signatures of bundles",
}
"""Extras by their purpose, without those of targets."""


def purposes() -> dict[str, str]:
    """Returns every extra's purpose; targets' extras are left out where the targets cannot be imported."""
    return PURPOSES | {one.extra: one.title for one in _targets() if one.extra not in PURPOSES}


def needed(extra: str) -> tuple[str, ...]:
    """Returns the extras that exporting needs, for a target of ``extra``: it, and those beside it."""
    return (extra, *dict.fromkeys(other for one in _targets() if one.extra == extra for other in one.beside))


def _targets() -> "Iterable[Target]":
    try:
        from phantom_edge.export.targets import TARGETS
    except ImportError:
        return ()
    return TARGETS.values()


IMPORTED = ("core", "model")
"""Extras whose packages are imported to check them."""

MODULES = {"pillow": "PIL", "pyyaml": "yaml"}
"""Import names that differ from the package's name."""


@dataclass(frozen=True)
class Package:
    """A package that the core or an extra requires.

    ``fits`` is None where it cannot be checked (``packaging`` itself is missing); ``fault`` is the import's error.
    """

    extra: str
    name: str
    wanted: str
    installed: str | None
    fits: bool | None = None
    fault: str = ""

    @property
    def state(self) -> str:
        """ok, missing, broken, or outside the range."""
        if self.installed is None:
            return "missing"
        if self.fault:
            return "broken"
        return "outside the range" if self.fits is False else "ok"


CLASHES = (
    Clash(
        {"optimum-onnx": ">=0", "optimum": ">=2.2"},
        "optimum-onnx pins optimum 2.1 and does not import beside transformers 5",
        "pip uninstall optimum-onnx (phantom-edge brings its own exporters)",
    ),
    Clash(
        {"torchvision": "<0.28", "torch": ">=2.13"},
        "torchvision belongs to an older torch; transformers imports it and fails",
        "pip uninstall torchvision (phantom-edge does not use it)",
    ),
)
"""Known clashes; each was observed or follows from the packages' own pins."""


@dataclass(frozen=True)
class Report:
    """Result of ``phantom-edge doctor``."""

    machine: dict[str, str]
    packages: list[Package]
    clashes: list[Clash]

    @property
    def is_ok(self) -> bool:
        """True where the core is complete, no model package is broken or outside its range, and nothing clashes."""
        return not self.clashes and not self._faulty()

    def _faulty(self) -> list[Package]:
        """Faulty packages; a missing model package is no fault, as bundles run without it."""
        return [
            p
            for p in self.packages
            if (p.extra == "core" and p.state != "ok") or (p.extra == "model" and p.state not in ("ok", "missing"))
        ]

    def remedies(self) -> list[str]:
        """Returns a line for each fault: the problem and the command that fixes it."""
        lines = []
        for package in self._faulty():
            if package.name == "phantom-edge":
                lines.append("phantom-edge runs from its sources and is not installed; run: pip install -e .")
                continue
            cause = f" ({package.fault})" if package.fault else ""
            lines.append(f"{package.name} is {package.state}{cause}; run: {_mend(package)}")
        return lines

    def document(self) -> dict[str, Any]:
        """Returns the document of ``--json``."""
        return {
            "machine": self.machine,
            "packages": [asdict(package) | {"state": package.state} for package in self.packages],
            "clashes": [asdict(clash) for clash in self.clashes],
            "ok": self.is_ok,
        }


def _mend(package: Package) -> str:
    absent = re.search(r"No module named '([\w-]+)", package.fault)
    if absent and absent[1] != MODULES.get(package.name, package.name.replace("-", "_")):
        return f"pip install {absent[1]}"  # the package itself is whole, its dependency is missing
    again = "--force-reinstall " if package.state == "broken" else ""
    return f"pip install {again}'{package.name}{package.wanted}'"


def examine() -> Report:
    """Check this installation; packages of core and model are imported, each in a process of its own."""
    machine = {"python": platform.python_version(), "system": platform.platform(), "executable": sys.executable}
    machine["huge pages"] = huge_pages.described()
    return Report(machine, packages(), clashes())


def packages() -> list[Package]:
    """Returns all requirements of our own metadata on this system, core first."""
    if installed("phantom-edge") is None:
        return [Package("core", "phantom-edge", "", None)]  # runs from its sources: there is no list to compare with
    wanted = _wanted(metadata.requires("phantom-edge") or ())
    imported = {name for extra, name, _ in wanted if extra in IMPORTED and installed(name) is not None}
    with ThreadPoolExecutor(4) as pool:
        faults = dict(zip(imported, pool.map(import_fault, imported), strict=True))
    found = []
    for extra, name, specifier in wanted:
        version = installed(name)
        fits = None if version is None else _fits(version, specifier)
        fault = faults.get(name, "") if extra in IMPORTED else ""
        found.append(Package(extra, name, specifier, version, fits, fault))
    return found


def _wanted(lines: Iterable[str]) -> list[tuple[str, str, str]]:
    """Returns extra, name and version range of all requirements; those of included extras count as an extra's own."""
    direct: dict[str, list[tuple[str, str]]] = {extra: [] for extra in ("core", *purposes())}
    brings: dict[str, set[str]] = {extra: set() for extra in direct}
    for line in lines:
        for extra, name, specifier in _read_requirement(line):
            if name == "phantom-edge":
                brings[extra].update(re.findall(r"[\w-]+", specifier))
            else:
                direct[extra].append((name, specifier))
    found = []
    for extra, own in direct.items():
        reached, todo = {extra}, list(brings[extra])
        while todo:
            if (more := todo.pop()) not in reached:
                reached.add(more)
                todo += brings.get(more, ())
        brought = [entry for other in direct if other in reached - {extra} for entry in direct[other]]
        found += [(extra, name, specifier) for name, specifier in dict.fromkeys([*own, *brought])]
    return found


def import_fault(name: str) -> str:
    """Returns the last line of the error that importing ``name`` gives, or "" if it can be imported."""
    module = MODULES.get(name, name.replace("-", "_"))
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import {module}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"its import ended with exit code {done.returncode}"


def clashes() -> list[Clash]:
    """Returns the known clashes among installed packages."""
    known = [*CLASHES, *(clash for one in _targets() for clash in one.clashes)]
    return [clash for clash in known if all(_matches(*package) for package in clash.packages.items())]


def _matches(name: str, specifier: str) -> bool:
    version = installed(name)
    return version is not None and _fits(version, specifier) is True


def _read_requirement(line: str) -> list[tuple[str, str, str]]:
    """Returns extra, name and version range of a line of metadata, once for each extra that requires it on this system.

    For our own package, which an extra names to include others, their names stand in place of a range.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError:  # it is on the list itself, so its absence shows; the ranges are then left unchecked
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        asked = re.findall(r"extra == ['\"]([\w-]+)", line) or ["core"]
        others = (re.findall(r"\[([^]]*)\]", line) or [""])[0] if name == "phantom-edge" else ""
        return [(extra, name, others) for extra in asked if extra == "core" or extra in purposes()]
    wanted = Requirement(line)
    if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
        extras = ["core"]
    else:
        extras = [extra for extra in purposes() if wanted.marker.evaluate({"extra": extra})]
    what = ",".join(sorted(wanted.extras)) if wanted.name == "phantom-edge" else str(wanted.specifier)
    return [(extra, wanted.name, what) for extra in extras]


def _fits(version: str, specifier: str) -> bool | None:
    """True where ``version`` is in the range; None where that cannot be checked."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return None
    return SpecifierSet(specifier, prereleases=True).contains(version)
